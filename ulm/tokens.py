"""What a unit LM calls a token: a unit, or a frequent string of units that a BPE model made one.

Whoever uses a model gives and gets units; only the network, its data and its cache see tokens.

The probability of an utterance under a model of BPE tokens is that of the one segmentation which the BPE chooses. The
utterance has others, whose probabilities would have to be added, so bits per unit are an upper bound: they may be
compared with those of a model of plain units, and are slightly unfair to the BPE. A prompt is segmented as if the
utterance ended there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np

from textless.errors import UserError
from ulm.vocabulary import Vocabulary
from units.bpe import UnitBPE
from units.files import Units
from units.identity import QuantizerIdentity


@dataclass(frozen=True)
class Tokenizer:
    """Units of a quantizer to tokens of a vocabulary, and back.

    Attributes:
        quantizer: of the units.
        bpe: makes the tokens; None: every unit is one.
        inert: see `Vocabulary`.
    """

    quantizer: QuantizerIdentity
    bpe: UnitBPE | None = None
    inert: int = 0

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Tokens, boundary and inert symbols."""
        return Vocabulary(self.identity.k, self.inert)

    @property
    def identity(self) -> QuantizerIdentity:
        """Of the tokens; without BPE that of the units."""
        return self.quantizer if self.bpe is None else self.bpe.tokens

    def encode(self, units: Sequence[int]) -> np.ndarray:
        """Units `(N,)` → tokens `(M,)`, M ≤ N.

        Raises:
            UserError: a unit that the quantizer does not have.
        """
        array = np.asarray(units, dtype=np.int64)
        if len(array) and not 0 <= array.min() <= array.max() < self.quantizer.k:
            wrong = int(array[(array < 0) | (array >= self.quantizer.k)][0])
            raise UserError(
                f"unit {wrong} is outside the vocabulary: units of {self.quantizer} lie in 0..{self.quantizer.k - 1}"
            )
        if self.bpe is None:
            return array
        return np.array(self.bpe.encode(Units("", array.tolist())).units, dtype=np.int64)

    def decode(self, tokens: Sequence[int]) -> list[int]:
        """Tokens `(M,)` → units `(N,)`."""
        if self.bpe is None:
            return list(tokens)
        return list(chain.from_iterable(self.bpe.pieces[token] for token in tokens))

    def per_unit(self, tokens: np.ndarray, log_probs: np.ndarray) -> np.ndarray:
        """Log probabilities of tokens and end `(M + 1,)` → of units and end `(N + 1,)`.

        All of a BPE token stands at its first unit, and its others have 0: sums over whole tokens are right, single
        values are not probabilities of units.
        """
        if self.bpe is None:
            return log_probs
        lengths = [len(self.bpe.pieces[token]) for token in tokens.tolist()]
        result = np.zeros(sum(lengths) + 1, dtype=log_probs.dtype)
        result[np.cumsum([0, *lengths])] = log_probs
        return result
