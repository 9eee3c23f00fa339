"""Language models of text, which judge what generated speech says.

    DIR         an n-gram model of `textless eval train-text-lm`: interpolated modified Kneser-Ney over words, phones or
                characters
    arpa:FILE   an n-gram model of KenLM, SRILM or Kaldi, over words or phones
    hf:DIR      a causal language model of Hugging Face (GPT-2, OPT, Llama, ...), extra `hf`

Perplexities of different models do not compare. This module owns the n-gram model's folder, `textless-text-lm`:
`model.safetensors` with the tables, and `config.json` with the order and the tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from textless.distributed import select_device
from textless.errors import UserError
from textless.files import require
from textless.training.checkpoint import load_model, save_model
from units.arpa import read_arpa
from units.kneser_ney import NgramModel, NgramTable
from zerospeech_eval.names import listed

FORMAT, VERSION = "textless-text-lm", 1
UNKNOWN = "<unk>"  # stands for all tokens that have no number
Unit = Literal["words", "characters"]


@dataclass(frozen=True)
class Likelihood:
    """Natural log of the probability of a text, and how many tokens of the model were predicted."""

    log_prob: float
    tokens: int


class TextLM(Protocol):
    """Probabilities of texts."""

    name: str

    def score(self, texts: Sequence[str]) -> list[Likelihood]:
        """Likelihood of every text, words (or phones) separated by spaces. Company changes none."""
        ...


class NgramTextLM:
    """An n-gram model over what stands between spaces (words, phones) or over characters, the space among them.

    The first token is predicted from the beginning of the text, and the end counts as a token. Tokens that were not in
    the training text count as `<unk>`, which has the probability that smoothing leaves for one that never occurred.

    Args:
        ngrams: over the numbers of the symbols.
        symbols: tokens 0..K-1, `<unk>` among them unless none may be unknown.
        unit: what tokens are of a text.
        name: for reports.
    """

    def __init__(self, ngrams: NgramModel, symbols: Sequence[str], unit: Unit, name: str) -> None:
        assert ngrams.k == len(symbols)
        self.ngrams, self.symbols, self.unit, self.name = ngrams, list(symbols), unit, name
        self._number = {symbol: index for index, symbol in enumerate(symbols)}

    @classmethod
    def fit(cls, texts: Sequence[str], order: int, unit: Unit = "words", name: str = "n-gram") -> "NgramTextLM":
        """Count and smooth.

        Raises:
            UserError: no text has a token.
        """
        split = [tokens for text in texts if (tokens := tokens_of(text, unit))]
        if not split:
            raise UserError("no text to learn from: all are empty")
        symbols = [*sorted({token for tokens in split for token in tokens} - {UNKNOWN}), UNKNOWN]
        number = {symbol: index for index, symbol in enumerate(symbols)}
        ngrams = NgramModel.fit([[number[token] for token in tokens] for tokens in split], len(symbols), order)
        return cls(ngrams, symbols, unit, name)

    def score(self, texts: Sequence[str]) -> list[Likelihood]:
        """See `TextLM`.

        Raises:
            UserError: most tokens are unknown, or any where there is no `<unk>`.
        """
        split = [tokens_of(text, self.unit) for text in texts]
        unknown = [token for tokens in split for token in tokens if token not in self._number]
        total = sum(map(len, split))
        if 2 * len(unknown) > total or (unknown and UNKNOWN not in self._number):
            raise UserError(
                f"{len(unknown)} of {total} {self.unit} are unknown to {self.name}: "
                f"{listed(dict.fromkeys(unknown), 3)}; train a language model on text of the same {self.unit}"
            )
        others = self._number.get(UNKNOWN, -1)
        logs = self.ngrams.log_probs([[self._number.get(token, others) for token in tokens] for tokens in split])
        return [Likelihood(float(row.sum()), len(row)) for row in logs]

    def save(self, directory: Path) -> None:
        """Write the folder."""
        state = {
            f"{m}.{name}": torch.from_numpy(np.ascontiguousarray(array))
            for m, table in enumerate(self.ngrams.tables, 1)
            for name, array in vars(table).items()
        }
        order = self.ngrams.order
        save_model(directory, FORMAT, VERSION, state, order=order, unit=self.unit, symbols=self.symbols)

    @classmethod
    def load(cls, directory: Path) -> "NgramTextLM":
        """Read what `save` wrote.

        Raises:
            UserError: there is no such model, or it is damaged.
        """
        header, weights = load_model(require(directory, "text language model"), FORMAT, VERSION)
        tables = [
            NgramTable(*(weights[f"{m}.{name}"].numpy() for name in NgramTable.__dataclass_fields__))
            for m in range(1, header["order"] + 1)
        ]
        symbols = header["symbols"]
        return cls(NgramModel(len(symbols), tables), symbols, header["unit"], str(directory))


def tokens_of(text: str, unit: Unit) -> list[str]:
    """What stands between spaces, or all characters with single spaces between words."""
    words = text.split()
    return words if unit == "words" else list(" ".join(words))


def load_text_lm(spec: str | Path, device: torch.device | str = "auto") -> TextLM:
    """The language model that a specification names, see the module.

    Raises:
        UserError: there is none, it is damaged, or it needs an extra that is missing.
    """
    kind, _, name = str(spec).partition(":")
    match kind:
        case "hf":
            from zerospeech_eval.huggingface_text_lm import HuggingFaceTextLM

            return HuggingFaceTextLM(Path(name), select_device(str(device)))
        case "arpa":
            return NgramTextLM(*read_arpa(Path(name)), "words", str(spec))
        case _:
            return NgramTextLM.load(Path(spec))
