"""Boundaries found in time against true ones, within a tolerance: do units change where phones (or words) do?

Around every true boundary is a window of ± 20 ms; where two overlap they are cut in the middle, which belongs to the
earlier one. A window with a found boundary is a hit; further boundaries in it are false, and no boundary hits twice
(Räsänen et al. 2009, section 2.3). Begin and end of an utterance are no boundaries. Scores: `units.detection`.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from textless.corpora.alignment import Segment
from units.detection import Detection
from units.files import UnitsFile
from units.phones import aligned

TOLERANCE = 0.02  # seconds
SLACK = 1e-6  # seconds: times are written in decimals


def boundary_scores(
    units: UnitsFile, alignment: Mapping[str, Sequence[Segment]], tolerance: float = TOLERANCE
) -> Detection:
    """Compare changes of unit with boundaries of segments, over all utterances that have both.

    Raises:
        UserError: no utterance has both, or the units have no durations.
    """
    parts = []
    for item in aligned(units, alignment):
        found = np.cumsum(item.durations or [])[:-1] / units.quantizer.frame_rate
        reference = reference_boundaries(alignment[item.id], item.n_frames / units.quantizer.frame_rate)
        parts.append(count_hits(found, reference, tolerance))
    return total(parts)


def reference_boundaries(segments: Sequence[Segment], seconds: float) -> np.ndarray:
    """Times at which a segment begins or ends, ascending, within the utterance."""
    times = {time for segment in segments for time in (segment.start, segment.end)}
    return np.array(sorted(time for time in times if SLACK < time < seconds - SLACK))


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
