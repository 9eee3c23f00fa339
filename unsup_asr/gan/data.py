"""Batches of speech and of text that have nothing to do with each other.

Which utterances and sentences make a batch, and where they are cut, is a function of the seed and the update alone.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from textless.audio.batches import mask


class Crops:
    """Sequences `(N, ...)` in random batches, each cut to `crop` places at random where it is longer.

    They lie in memory one after the other, and a batch is gathered at once: row by row, batches would take longer than
    small networks.

    Args:
        sequences: none of them empty.
        batch_size: sequences a batch.
        crop: places; None: whole sequences.
        seed: of the order and the cuts. Every sequence comes once an epoch. Other sequences of the same lengths are cut
            alike with the same seed.
    """

    def __init__(self, sequences: Sequence[np.ndarray], batch_size: int, crop: int | None, seed: int) -> None:
        self.batch_size, self.crop, self.seed = batch_size, crop, seed
        self._sizes = np.array([len(sequence) for sequence in sequences])
        assert self._sizes.min() > 0
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._all = torch.from_numpy(np.concatenate(list(sequences)))
        self._epoch: tuple[int, np.ndarray] | None = None

    def batch(self, update: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Padded with zeros `(B, T, ...)` and lengths `(B,)` of an update."""
        chosen = np.array([self._chosen(update * self.batch_size + row) for row in range(self.batch_size)])
        sizes, starts = self._sizes[chosen], self._starts[chosen]
        lengths = sizes if self.crop is None else np.minimum(sizes, self.crop)
        cuts = np.random.default_rng([self.seed, 1, update]).random(self.batch_size)
        begins = starts + (cuts * (sizes - lengths + 1)).astype(np.int64)
        place = np.arange(lengths.max())
        inside = torch.from_numpy(place < lengths[:, None])
        indices = torch.from_numpy(np.where(inside, begins[:, None] + place, 0))
        rows = self._all[indices]
        return rows.masked_fill_(~inside[(...,) + (None,) * (rows.ndim - 2)], 0), torch.from_numpy(lengths)

    def _chosen(self, place: int) -> int:
        epoch, index = divmod(place, len(self._sizes))
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(len(self._sizes))
        return int(self._epoch[1][index])


def one_hot(phones: torch.Tensor, lengths: torch.Tensor, n_phones: int) -> torch.Tensor:
    """Phones `(B, T)` → `(B, T, V)` float32, zero beyond the lengths `(B,)`."""
    return F.one_hot(phones, n_phones).float() * mask(lengths, phones.shape[1])[..., None]


def blurred(phones: torch.Tensor, lengths: torch.Tensor, deviation: float, generator: torch.Generator) -> torch.Tensor:
    """Distributions `(B, T, V)` with normal noise of a deviation in the first `lengths` `(B,)` places."""
    if not deviation:
        return phones
    noise = torch.randn(phones.shape, generator=generator, device=phones.device)
    return phones + deviation * noise * mask(lengths, phones.shape[1])[..., None]
