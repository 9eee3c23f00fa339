"""Runs of equal units: deduplication and its inverse."""

from collections.abc import Sequence

import numpy as np


def deduplicate(units: Sequence[int] | np.ndarray) -> tuple[list[int], list[int]]:
    """Collapse runs: units `(T,)` at frame rate → units `(N,)` and how many frames each lasted `(N,)`."""
    frames = np.asarray(units)
    if len(frames) == 0:
        return [], []
    starts = np.flatnonzero(np.concatenate([[True], frames[1:] != frames[:-1]]))
    return frames[starts].tolist(), np.diff(starts, append=len(frames)).tolist()


def expand(units: Sequence[int] | np.ndarray, durations: Sequence[int] | np.ndarray) -> np.ndarray:
    """Inverse of `deduplicate`: units `(N,)` and durations `(N,)` → units `(T,)` at frame rate."""
    return np.repeat(np.asarray(units, dtype=np.int64), np.asarray(durations, dtype=np.int64))
