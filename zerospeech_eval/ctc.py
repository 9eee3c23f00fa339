"""Greedy decoding of CTC (Graves et al. 2006): the best output of every frame, repeats merged, blanks removed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zerospeech_eval.transcribers import Kind


@dataclass(frozen=True)
class CtcLabels:
    """What the outputs of a CTC model stand for.

    Attributes:
        tokens: of every output.
        blank: the output that separates.
        silent: further outputs that write nothing, such as the begin of a sentence.
        delimiter: the token between words, of models that spell words.
    """

    tokens: tuple[str, ...]
    blank: int
    silent: frozenset[int] = frozenset()
    delimiter: str | None = None

    @property
    def kind(self) -> Kind:
        """Words if the model separates them, else characters if all tokens are single ones, else phones."""
        if self.delimiter is not None:
            return "words"
        return "characters" if all(len(token) == 1 for token in self._written) else "phones"

    @property
    def symbols(self) -> frozenset[str] | None:
        """All that can be written; words can be any."""
        return None if self.delimiter is not None else frozenset(self._written)

    @property
    def _written(self) -> list[str]:
        return [t for output, t in enumerate(self.tokens) if output != self.blank and output not in self.silent]

    def decode(self, path: torch.Tensor) -> list[str]:
        """Tokens of the best outputs `(T,)` of an utterance."""
        outputs = path.unique_consecutive().tolist()
        tokens = [self.tokens[i] for i in outputs if i != self.blank and i not in self.silent]
        if self.delimiter is None:
            return tokens
        return "".join(" " if token == self.delimiter else token for token in tokens).split()


def read_labels(vocabulary: Sequence[str], *, blank: str, silent: Sequence[str], delimiter: str | None) -> CtcLabels:
    """Labels by their names; a delimiter that is not in the vocabulary is none."""
    return CtcLabels(
        tuple(vocabulary),
        vocabulary.index(blank),
        frozenset(index for index, token in enumerate(vocabulary) if token in silent),
        delimiter if delimiter in vocabulary else None,
    )
