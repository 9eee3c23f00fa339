"""What is comparable between speech and text that do not belong together: which symbols stand near which, and where.

Two symbols `lag` places apart make a skip-gram; the position of a symbol in its sentence, in equal parts, is the other
statistic (Wang et al. 2023, "Unsupervised speech recognition with n-skipgram and positional unigram matching",
https://arxiv.org/abs/2310.02382).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Statistics:
    """Of a set of sequences over K symbols.

    Attributes:
        joint: `(L, K, K)`: of two places 1..L apart, the share that hold symbols a and b.
        positions: `(P, K)`: of each part of the sentences, the share of every symbol.
    """

    joint: np.ndarray
    positions: np.ndarray


def statistics(sequences: Sequence[np.ndarray], k: int, *, lags: int, parts: int) -> Statistics:
    """Count symbols 0..k-1 in sequences `(N,)`; pairs do not cross their ends."""
    present = [np.asarray(sequence, dtype=np.int64) for sequence in sequences if len(sequence)]
    lengths = np.array([len(sequence) for sequence in present], dtype=np.int64)
    symbols = np.concatenate(present) if present else np.empty(0, dtype=np.int64)
    length = np.repeat(lengths, lengths)
    place = np.arange(len(symbols)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    joint = np.stack([_joint(symbols, place, lag, k) for lag in range(1, lags + 1)])
    part = place * parts // np.maximum(length, 1)
    positions = np.bincount(part * k + symbols, minlength=parts * k).reshape(parts, k)
    return Statistics(joint, positions / np.maximum(positions.sum(axis=1, keepdims=True), 1))


def _joint(symbols: np.ndarray, place: np.ndarray, lag: int, k: int) -> np.ndarray:
    later = np.flatnonzero(place >= lag)
    counts = np.bincount(symbols[later - lag] * k + symbols[later], minlength=k * k).reshape(k, k)
    return counts / max(1, counts.sum())


def stretch(sequences: Sequence[np.ndarray], share: float, seed: int) -> list[np.ndarray]:
    """Sequences in which a share of the symbols stands twice, as a phone gives more than one segment now and then."""
    random = np.random.default_rng(seed)
    return [np.repeat(sequence, 1 + (random.random(len(sequence)) < share)) for sequence in sequences]
