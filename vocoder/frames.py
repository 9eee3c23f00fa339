"""Units at frame rate, and where in its run each frame lies: what the generator reads."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textless.audio.batches import pad
from units.runs import expand

N_FEATURES = 2


@dataclass(frozen=True)
class Frames:
    """One utterance, or a stretch of one, at the frame rate of its units.

    Attributes:
        units: `(T,)` int64.
        features: `(T, 2)` float32: how far through its run the frame is, -1..1, and the log of the run's length.
    """

    units: torch.Tensor
    features: torch.Tensor

    def __len__(self) -> int:
        return len(self.units)

    def cut(self, start: int, stop: int) -> "Frames":
        """Frames start..stop-1. Features still describe the whole runs."""
        return Frames(self.units[start:stop], self.features[start:stop])

    def to(self, device: torch.device) -> "Frames":
        """The same frames on a device."""
        return Frames(self.units.to(device), self.features.to(device))


def expand_frames(units: Sequence[int], durations: Sequence[int]) -> Frames:
    """Deduplicated units and durations, `(N,)` each → `Frames` of the whole utterance."""
    lasting = np.asarray(durations, dtype=np.int64)
    ends = np.cumsum(lasting)
    length = np.repeat(lasting, lasting)  # (N,) -> (T,)
    index = np.arange(len(length)) - np.repeat(ends - lasting, lasting)
    progress = (2 * index + 1) / length - 1
    features = np.stack([progress, np.log(length) - math.log(2)], axis=1).astype(np.float32)  # two: a usual length
    return Frames(torch.from_numpy(expand(units, durations)), torch.from_numpy(features))


def pad_frames(items: Sequence[Frames]) -> tuple[Frames, torch.Tensor]:
    """Batch of `(B, T)` units and `(B, T, 2)` features, padded with zeros, and the lengths `(B,)` in frames."""
    units, lengths = pad([item.units for item in items])
    features, _ = pad([item.features for item in items])
    return Frames(units, features), lengths
