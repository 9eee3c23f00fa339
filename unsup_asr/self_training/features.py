"""Frames of many utterances end to end: normalised by utterance, projected, with windows of neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch

Normalisation = Literal["none", "mean", "variance"]


@dataclass(frozen=True)
class Frames:
    """Utterances one after the other.

    Attributes:
        values: `(T, D)` float32 of all utterances.
        edges: `(U + 1,)` where each begins, and the end.
    """

    values: np.ndarray
    edges: np.ndarray

    @classmethod
    def of(cls, sequences: Sequence[np.ndarray]) -> "Frames":
        """Join `(T, D)` of every utterance."""
        edges = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])])
        return cls(np.concatenate(sequences).astype(np.float32, copy=False), edges.astype(np.int64))

    def __len__(self) -> int:
        return len(self.values)

    def split(self, rows: np.ndarray) -> list[np.ndarray]:
        """What belongs to all frames `(T, ...)` → to the frames of every utterance."""
        return [rows[start:stop] for start, stop in pairwise(self.edges.tolist())]

    def neighbours(self, context: int) -> torch.Tensor:
        """`(T, 2 context + 1)` numbers of the frames around each, within its utterance: its edges are repeated."""
        utterance = np.repeat(np.arange(len(self.edges) - 1), np.diff(self.edges))
        first, last = self.edges[utterance, None], self.edges[utterance + 1, None] - 1
        around = np.arange(len(self.values))[:, None] + np.arange(-context, context + 1)
        return torch.from_numpy(np.clip(around, first, last))


@dataclass(frozen=True)
class FrontEnd:
    """What is done to the frames of an encoder before anything else sees them.

    Attributes:
        normalisation: by utterance: nothing, the mean taken away, or scaled to unit variance besides. It takes away
            much of speaker and channel.
        mean: `(D,)` of all normalised frames.
        components: `(d, D)` directions of most variance.
    """

    normalisation: Normalisation
    mean: np.ndarray
    components: np.ndarray

    @classmethod
    def fit(cls, sequences: Sequence[np.ndarray], normalisation: Normalisation, dim: int) -> "FrontEnd":
        """Find the directions in frames `(T, D)` of every utterance; d = min(dim, D)."""
        normal = np.concatenate([normalised(frames, normalisation) for frames in sequences])
        return cls(normalisation, *principal_components(normal, dim))

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Frames `(T, D)` of one utterance → `(T, d)` float32."""
        return (normalised(frames, self.normalisation) - self.mean) @ self.components.T


def normalised(frames: np.ndarray, how: Normalisation) -> np.ndarray:
    """Frames `(T, D)` of one utterance → float32, with mean 0 and variance 1 in every dimension, if so wanted."""
    frames = np.asarray(frames, dtype=np.float32)
    if how == "none" or not len(frames):
        return frames
    centred = frames - frames.mean(axis=0)
    return centred if how == "mean" else centred / np.maximum(centred.std(axis=0), 1e-5)


def principal_components(frames: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(D,)` of frames `(T, D)` and the `(d, D)` directions of most variance; d = min(dim, D), signs fixed."""
    mean = frames.mean(axis=0, dtype=np.float64)
    centred = frames - mean.astype(np.float32)
    _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    components = vectors.T[::-1][:dim]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    return mean.astype(np.float32), np.ascontiguousarray(components, dtype=np.float32)
