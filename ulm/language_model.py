"""A trained unit LM of either kind: what it answers, where it is kept, how it is loaded.

A model directory is `model.safetensors` + `config.json`, of format "textless-unit-lm"; `kind` in the latter says
whether it is a Transformer or an n-gram model. Every verb that takes `--model DIR` takes both. A Transformer over BPE
tokens has its BPE in `bpe/`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from textless.errors import UserError
from textless.progress import track
from textless.training.checkpoint import load_model, save_model
from ulm.beams import BeamSearch, search
from ulm.config import ModelConfig
from ulm.continuation import draw
from ulm.half import halved
from ulm.likelihood import window_log_probs
from ulm.model import UnitTransformer
from ulm.reader import Reader
from ulm.sampling import Sampling, stream_key
from ulm.tokens import Tokenizer
from ulm.vocabulary import Vocabulary
from units.bpe import UnitBPE, load_bpe, save_bpe
from units.identity import QuantizerIdentity, require_same
from units.kneser_ney import NgramModel, NgramTable

FORMAT, VERSION = "textless-unit-lm", 1
BPE_NAME = "bpe"


class LanguageModel(Protocol):
    """Probabilities of unit sequences."""

    quantizer: QuantizerIdentity

    def log_probs(self, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192) -> list[np.ndarray]:
        """Units `(N,)` of every utterance → `(N + 1,)` natural logs: of every unit, and of the end after the last.

        A model of BPE tokens gives each token's at its first unit, and 0 at the others: see `ulm.tokens`.
        """
        ...

    def score(self, sequences: Sequence[Sequence[int]], *, eos: bool = False, batch_tokens: int = 8192) -> np.ndarray:
        """Natural log of the probability of every utterance `(utterances,)`; with `eos`, also that it ends there."""
        ...


class _Scores:
    """The sum that both kinds of model score by."""

    def score(
        self: LanguageModel, sequences: Sequence[Sequence[int]], *, eos: bool = False, batch_tokens: int = 8192
    ) -> np.ndarray:
        """Natural log of the probability of every utterance `(utterances,)`; with `eos`, also that it ends there."""
        logs = self.log_probs(sequences, batch_tokens=batch_tokens)
        return np.array([(row if eos else row[:-1]).sum(dtype=np.float64) for row in logs])


class TransformerLanguageModel(_Scores):
    """A Transformer with what it was trained on.

    Args:
        network: its weights may go on changing.
        quantizer: of the units it was trained on.
        context: tokens of a training row.
        units_per_second: of its training data, where durations were known.
        bpe: makes the tokens it reads of units; None: it reads units.
        inert: symbols of an imported model beside units and boundary, see `Vocabulary`.
    """

    def __init__(
        self,
        network: UnitTransformer,
        quantizer: QuantizerIdentity,
        context: int,
        units_per_second: float | None = None,
        *,
        bpe: UnitBPE | None = None,
        inert: int = 0,
    ) -> None:
        self.network, self.quantizer, self.context = network, quantizer, context
        self.units_per_second = units_per_second
        self.tokenizer = Tokenizer(quantizer, bpe, inert)
        self.stride: int | None = None  # of the windows that scoring reads, see `ulm.likelihood`

    @property
    def vocabulary(self) -> Vocabulary:
        """Of its tokens."""
        return self.tokenizer.vocabulary

    def log_probs(self, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192) -> list[np.ndarray]:
        """See `LanguageModel`; utterances longer than the context are read in windows, see `ulm.likelihood`."""
        tokens = [self.tokenizer.encode(sequence) for sequence in sequences]
        logs = window_log_probs(self.network, self.vocabulary, self.context, tokens, batch_tokens, self.stride)
        return [self.tokenizer.per_unit(*pair) for pair in zip(tokens, logs, strict=True)]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        n: int = 1,
        ids: Sequence[str] | None = None,
        batch_size: int = 64,
    ) -> list[list[list[int]]]:
        """`n` continuations of every prompt (units, possibly none), without the prompt itself.

        Args:
            prompts: units `(N,)` each; an empty one stands for a new utterance. One that is longer than the context is
                read from its last half context or more on, as scoring would do.
            sampling: how to draw, and how much.
            n: samples of each prompt.
            ids: names of the prompts that, with the seed, decide the randomness; by default their numbers.
            batch_size: samples made at once; changes nothing but speed and memory.

        Raises:
            UserError: a unit outside the vocabulary.
        """
        names = [str(number) for number in range(len(prompts))] if ids is None else ids
        tokens = [self.tokenizer.encode(prompt).tolist() for prompt in prompts]
        jobs = [(prompt, number) for prompt in range(len(prompts)) for number in range(n)]
        jobs.sort(key=lambda job: -len(tokens[job[0]]))
        results: list[list[list[int]]] = [[[] for _ in range(n)] for _ in prompts]
        for start in track(range(0, len(jobs), batch_size), "generating"):
            batch = jobs[start : start + batch_size]
            keys = [stream_key(sampling.seed, names[prompt], number) for prompt, number in batch]
            for said in self._draw([tokens[prompt] for prompt, _ in batch], keys, sampling):
                for row, units in said:
                    prompt, number = batch[row]
                    results[prompt][number] += units
        return results

    def stream(self, prompt: Sequence[int], sampling: Sampling, *, prompt_id: str = "0") -> Iterator[int]:
        """The units of one continuation as they come: those that `generate` gives the first sample of `prompt_id`."""
        key = stream_key(sampling.seed, prompt_id, 0)
        for said in self._draw([self.tokenizer.encode(prompt).tolist()], [key], sampling):
            for _, units in said:
                yield from units

    def _draw(
        self, prompts: Sequence[Sequence[int]], keys: Sequence[int], sampling: Sampling
    ) -> Iterator[list[tuple[int, list[int]]]]:
        reader = Reader(self.network, self.vocabulary, self.context, prompts, sampling.max_units)
        return draw(reader, self.tokenizer, prompts, keys, sampling)

    def search(
        self, prompts: Sequence[Sequence[int]], plan: BeamSearch, *, n: int = 1, batch_size: int = 64
    ) -> list[list[list[int]]]:
        """The `n` best continuations of every prompt that beam search finds, best first, without the prompt itself.

        There are fewer where the vocabulary and `max_units` do not make as many. Arguments are those of `generate`;
        a batch has `batch_size` beams of whole prompts, and those of one at least.

        Raises:
            UserError: a unit outside the vocabulary.
        """
        if not 1 <= n <= plan.beams:
            raise ValueError(f"the {n} best of {plan.beams} beams: 1 ≤ n ≤ beams is needed")
        tokens = [self.tokenizer.encode(prompt).tolist() for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda prompt: -len(tokens[prompt]))
        results: list[list[list[int]]] = [[] for _ in prompts]
        at_once = max(1, batch_size // plan.beams)
        for start in track(range(0, len(order), at_once), "searching"):
            batch = order[start : start + at_once]
            rows = [tokens[prompt] for prompt in batch for _ in range(plan.beams)]
            reader = Reader(self.network, self.vocabulary, self.context, rows, plan.max_units)
            found = search(reader, self.vocabulary.boundary, plan, [not tokens[prompt] for prompt in batch])
            for prompt, hypotheses in zip(batch, found, strict=True):
                units = [self.tokenizer.decode(hypothesis.tokens) for hypothesis in hypotheses[:n]]
                results[prompt] = [continuation[: plan.max_units] for continuation in units]
        return results

    def in_bfloat16(self) -> "TransformerLanguageModel":
        """The same model with the matrix products of its layers in bfloat16: see `ulm.half`."""
        other = copy.copy(self)
        other.network = halved(self.network)
        return other

    def save(self, directory: Path, weights: Mapping[str, torch.Tensor] | None = None, **training: Any) -> None:  # noqa: ANN401
        """Write a model directory.

        Args:
            directory: made where there is none.
            weights: those of the network, where it has only a part of them (`fully_shard`).
            training: which step they are of, how good, and the like.
        """
        state = dict(self.network.state_dict() if weights is None else weights)
        if self.network.config.tied:
            del state["head.weight"]  # is embedding.weight, and safetensors stores no tensor twice
        bpe = self.tokenizer.bpe
        if bpe is not None:
            save_bpe(bpe, directory / BPE_NAME)
        save_model(
            directory,
            FORMAT,
            VERSION,
            state,
            kind="transformer",
            quantizer=self.quantizer.model_dump(),
            tokens=None if bpe is None else bpe.tokens.model_dump(),
            inert=self.tokenizer.inert,
            model=self.network.config.model_dump(),
            context=self.context,
            units_per_second=self.units_per_second,
            training=training,
        )


class NgramLanguageModel(_Scores):
    """An n-gram model with the quantizer of the units it counted."""

    def __init__(self, ngrams: NgramModel, quantizer: QuantizerIdentity) -> None:
        self.ngrams, self.quantizer = ngrams, quantizer

    def log_probs(self, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192) -> list[np.ndarray]:  # noqa: ARG002
        """See `LanguageModel`."""
        return self.ngrams.log_probs(sequences)

    def save(self, directory: Path) -> None:
        """Write a model directory."""
        state = {
            f"{m}.{name}": torch.from_numpy(array)
            for m, table in enumerate(self.ngrams.tables, 1)
            for name, array in vars(table).items()
        }
        quantizer = self.quantizer.model_dump()
        save_model(directory, FORMAT, VERSION, state, kind="ngram", quantizer=quantizer, order=self.ngrams.order)


def load_language_model(
    directory: Path, device: torch.device | str = "cpu"
) -> TransformerLanguageModel | NgramLanguageModel:
    """Load a model of either kind.

    Raises:
        UserError: there is no model, or it is damaged or of a kind this version does not know.
    """
    header, weights = load_model(directory, FORMAT, VERSION)
    quantizer = QuantizerIdentity.parse(header.get("quantizer", {}), str(directory))
    match header.get("kind"):
        case "transformer":
            config = ModelConfig.parse(header["model"], str(directory))
            bpe, inert = _load_bpe(directory, header.get("tokens")), header.get("inert", 0)
            network = UnitTransformer(config, Tokenizer(quantizer, bpe, inert).vocabulary.size, inert)
            if config.tied:
                weights["head.weight"] = weights["embedding.weight"]
            network.load_state_dict(weights)
            return TransformerLanguageModel(
                network.to(device).eval(),
                quantizer,
                header["context"],
                header["units_per_second"],
                bpe=bpe,
                inert=inert,
            )
        case "ngram":
            tables = [
                NgramTable(*(weights[f"{m}.{name}"].numpy() for name in NgramTable.__dataclass_fields__))
                for m in range(1, header["order"] + 1)
            ]
            return NgramLanguageModel(NgramModel(quantizer.k, tables), quantizer)
        case kind:
            raise UserError(f"{directory} holds a unit LM of kind {kind!r}; this textless knows transformer and ngram")


def _load_bpe(directory: Path, tokens: dict[str, Any] | None) -> UnitBPE | None:
    """The BPE that a model was trained with."""
    if tokens is None:
        return None
    bpe = load_bpe(directory / BPE_NAME)
    require_same(QuantizerIdentity.parse(tokens, str(directory)), bpe.tokens, str(directory), str(directory / BPE_NAME))
    return bpe
