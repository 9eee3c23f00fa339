"""What a unit LM reads and predicts: K units, and one boundary token that both begins and ends an utterance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Vocabulary:
    """Tokens 0..K-1 are the units; token K is the boundary; the inert symbols come after it.

    Inert symbols are what an imported model has beside units and boundary (padding, unknown, text). They keep their
    place in the normaliser of its probabilities, so that these stay what they were, but are never read or generated.
    """

    k: int
    inert: int = 0

    @property
    def boundary(self) -> int:
        """The token before the first unit and after the last."""
        return self.k

    @property
    def size(self) -> int:
        """K + 1, and the inert symbols."""
        return self.k + 1 + self.inert

    def document(self, units: Sequence[int] | np.ndarray) -> np.ndarray:
        """Units `(N,)` → tokens `(N + 2,)`: boundary, units, boundary.

        All but the last are what the model reads, all but the first what it predicts.
        """
        return np.concatenate([[self.boundary], np.asarray(units, dtype=np.int64), [self.boundary]])
