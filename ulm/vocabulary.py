"""What a unit LM reads and predicts: K units, and one boundary token that both begins and ends an utterance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Vocabulary:
    """Tokens 0..K-1 are the units; token K is the boundary."""

    k: int

    @property
    def boundary(self) -> int:
        """The token before the first unit and after the last."""
        return self.k

    @property
    def size(self) -> int:
        """K + 1."""
        return self.k + 1

    def document(self, units: Sequence[int]) -> np.ndarray:
        """Units `(N,)` → tokens `(N + 2,)`: boundary, units, boundary.

        All but the last are what the model reads, all but the first what it predicts.
        """
        return np.concatenate([[self.boundary], np.asarray(units, dtype=np.int64), [self.boundary]])
