"""Boundaries found in time against true ones, within a tolerance (Räsänen et al., 2009, section 2.3).

Around every true boundary is a window of ± 20 ms; where two overlap they are cut in the middle, which belongs to the
earlier one. A window with a found boundary is a hit; further boundaries in it are false. No boundary hits twice.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from zerospeech_eval.detection import Detection

TOLERANCE = 0.02  # seconds


def count_hits(found: np.ndarray, true: np.ndarray, tolerance: float = TOLERANCE) -> Detection:
    """Compare the boundaries of a recording.

    Args:
        found: `(N,)` seconds.
        true: `(M,)` seconds.
        tolerance: seconds; times are rounded to milliseconds, so that its ends are exact.
    """
    here, there = (np.unique(np.rint(1000 * np.asarray(times)).astype(np.int64)) for times in (found, true))
    reach = round(1000 * tolerance)
    first, last = there - reach, there + reach
    middle = (there[:-1] + there[1:]) // 2
    last[:-1] = np.minimum(last[:-1], middle)
    first[1:] = np.maximum(first[1:], middle + 1)
    hits = np.searchsorted(here, last, "right") > np.searchsorted(here, first, "left")
    return Detection(int(hits.sum()), len(here), len(there))


def total(parts: Iterable[Detection]) -> Detection:
    """Of a corpus: the sums of its recordings."""
    counts = [(part.hits, part.found, part.true) for part in parts]
    hits, found, true = map(sum, zip(*counts, strict=True))
    return Detection(hits, found, true)


def changes(labels: Sequence[object], frame_rate: float) -> np.ndarray:
    """Times at which the label of a frame differs from the one before, in seconds, `(N,)`."""
    differ = [i for i in range(1, len(labels)) if labels[i] != labels[i - 1]]
    return np.array(differ, dtype=np.float64) / frame_rate
