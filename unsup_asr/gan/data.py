"""Batches of speech and of text that have nothing to do with each other.

Which utterances and sentences make a batch, and where they are cut, is a function of the seed and the update alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textless.audio.batches import pad


class Crops:
    """Sequences `(N, ...)` in random batches, each cut to `crop` places at random where it is longer.

    Args:
        sequences: none of them empty.
        batch_size: sequences a batch.
        crop: places; None: whole sequences.
        seed: of the order and the cuts. Every sequence comes once an epoch.
    """

    def __init__(self, sequences: Sequence[np.ndarray], batch_size: int, crop: int | None, seed: int) -> None:
        self.sequences, self.batch_size, self.crop, self.seed = sequences, batch_size, crop, seed
        self._epoch: tuple[int, np.ndarray] | None = None

    def batch(self, update: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Padded `(B, T, ...)` and lengths `(B,)` of an update."""
        walk = range(update * self.batch_size, (update + 1) * self.batch_size)
        cuts = np.random.default_rng([self.seed, 1, update]).random(self.batch_size)
        rows = [self._cut(self._sequence(place), cut) for place, cut in zip(walk, cuts, strict=True)]
        return pad([torch.from_numpy(np.ascontiguousarray(row)) for row in rows])

    def _sequence(self, place: int) -> np.ndarray:
        epoch, index = divmod(place, len(self.sequences))
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.sequences))
        return self.sequences[self._epoch[1][index]]

    def _cut(self, sequence: np.ndarray, cut: float) -> np.ndarray:
        if self.crop is None or len(sequence) <= self.crop:
            return sequence
        start = int(cut * (len(sequence) - self.crop + 1))
        return sequence[start : start + self.crop]


def one_hot(phones: torch.Tensor, lengths: torch.Tensor, n_phones: int) -> torch.Tensor:
    """Phones `(B, T)` → `(B, T, V)` float32, zero beyond the lengths `(B,)`."""
    inside = torch.arange(phones.shape[1], device=phones.device) < lengths[:, None]
    return F.one_hot(phones, n_phones).float() * inside[..., None]
