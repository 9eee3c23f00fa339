"""The frames of some tokens, ready to be compared: gathered, pooled where asked for, and known by keys."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from zerospeech_eval.datasets import Dataset
from zerospeech_eval.distances import FrameDistance, FrameTable, prepare, unit_vectors

Pooling = Literal["none", "mean", "hamming"]


@dataclass(frozen=True)
class Form:
    """What becomes of the frames of a token before they are compared.

    Args:
        pooling: one frame a token instead, the mean of its frames, plain or under a symmetric Hamming window.
        unit_length: scale frames to length 1 for every distance; Libri-light does so, angular needs it not.
    """

    pooling: Pooling = "none"
    unit_length: bool = False


@dataclass(frozen=True)
class TokenFrames:
    """Token i is `frames[bounds[i]:bounds[i + 1]]`."""

    frames: FrameTable
    bounds: np.ndarray


def gather(data: Dataset, tokens: np.ndarray, distance: FrameDistance, form: Form) -> TokenFrames:
    """Frames of tokens `(n,)` of the dataset, prepared for a distance."""
    bounds = np.append(0, np.cumsum(data.lengths[tokens]))
    frames = data.frames(tokens)
    if form.pooling != "none":
        frames, bounds = pool(frames, bounds, form.pooling), np.arange(len(tokens) + 1)
    if form.unit_length:
        frames = unit_vectors(frames)[0]
    return TokenFrames(prepare(frames, distance), bounds)


def pool(frames: np.ndarray, bounds: np.ndarray, pooling: Pooling) -> np.ndarray:
    """One frame a token, `(n, D)` float64: the mean of its frames, or that under a symmetric Hamming window."""
    lengths = np.diff(bounds)
    match pooling:
        case "mean":
            weights = np.ones(len(frames))
        case "hamming":
            weights = np.concatenate([np.hamming(length) for length in lengths])
        case _:
            raise ValueError(f"unknown pooling {pooling!r}")
    totals = np.add.reduceat(weights, bounds[:-1])
    return np.add.reduceat(frames * weights[:, None], bounds[:-1], axis=0) / totals[:, None]
