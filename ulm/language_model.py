"""A trained unit LM of either kind: what it answers, where it is kept, how it is loaded.

A model directory is `model.safetensors` + `config.json`, of format "textless-unit-lm"; `kind` in the latter says
whether it is a Transformer or an n-gram model. Every verb that takes `--model DIR` takes both.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from textless.errors import UserError
from textless.progress import track
from textless.training.checkpoint import load_model, save_model
from ulm.config import ModelConfig
from ulm.likelihood import window_log_probs
from ulm.model import UnitTransformer
from ulm.ngram import NgramModel, NgramTable
from ulm.sampling import Sampling, sample, stream_key
from ulm.vocabulary import Vocabulary
from units.identity import QuantizerIdentity

FORMAT, VERSION = "textless-unit-lm", 1


class LanguageModel(Protocol):
    """Probabilities of unit sequences."""

    quantizer: QuantizerIdentity

    def log_probs(self, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192) -> list[np.ndarray]:
        """Units `(N,)` of every utterance → `(N + 1,)` natural logs: of every unit, and of the end after the last."""
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
    """

    def __init__(
        self,
        network: UnitTransformer,
        quantizer: QuantizerIdentity,
        context: int,
        units_per_second: float | None = None,
    ) -> None:
        self.network, self.quantizer, self.context = network, quantizer, context
        self.units_per_second = units_per_second
        self.vocabulary = Vocabulary(quantizer.k)

    def log_probs(self, sequences: Sequence[Sequence[int]], *, batch_tokens: int = 8192) -> list[np.ndarray]:
        """See `LanguageModel`; utterances longer than the context are read in windows, see `ulm.likelihood`."""
        return window_log_probs(self.network, self.vocabulary, self.context, sequences, batch_tokens)

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
            prompts: units `(N,)` each; an empty one stands for a new utterance.
            sampling: how to draw, and how much.
            n: samples of each prompt.
            ids: names of the prompts that, with the seed, decide the randomness; by default their numbers.
            batch_size: samples made at once; changes nothing but speed and memory.
        """
        names = [str(number) for number in range(len(prompts))] if ids is None else ids
        jobs = [(prompt, number) for prompt in range(len(prompts)) for number in range(n)]
        jobs.sort(key=lambda job: -len(prompts[job[0]]))
        results: list[list[list[int]]] = [[[] for _ in range(n)] for _ in prompts]
        starts = range(0, len(jobs), batch_size)
        for start in track(starts, "generating"):
            batch = jobs[start : start + batch_size]
            units = sample(
                self.network,
                self.vocabulary.boundary,
                self.context,
                [prompts[prompt] for prompt, _ in batch],
                [stream_key(sampling.seed, names[prompt], number) for prompt, number in batch],
                sampling,
            )
            for (prompt, number), continuation in zip(batch, units, strict=True):
                results[prompt][number] = continuation
        return results

    def save(self, directory: Path, **training: Any) -> None:  # noqa: ANN401
        """Write a model directory; `training` says which step it is of, and how good."""
        state = self.network.state_dict()
        if self.network.config.tied:
            del state["head.weight"]  # is embedding.weight, and safetensors stores no tensor twice
        save_model(
            directory,
            FORMAT,
            VERSION,
            state,
            kind="transformer",
            quantizer=self.quantizer.model_dump(),
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
            network = UnitTransformer(config, Vocabulary(quantizer.k).size)
            if config.tied:
                weights["head.weight"] = weights["embedding.weight"]
            network.load_state_dict(weights)
            return TransformerLanguageModel(
                network.to(device).eval(), quantizer, header["context"], header["units_per_second"]
            )
        case "ngram":
            tables = [
                NgramTable(*(weights[f"{m}.{name}"].numpy() for name in NgramTable.__dataclass_fields__))
                for m in range(1, header["order"] + 1)
            ]
            return NgramLanguageModel(NgramModel(quantizer.k, tables), quantizer)
        case kind:
            raise UserError(f"{directory} holds a unit LM of kind {kind!r}; this textless knows transformer and ngram")
