"""Whether units change where phones (or words) do: precision, recall, F1 and R-value of boundaries.

A boundary is found if one of the reference lies within the tolerance, and each counts once. Begin and end of an
utterance are no boundaries. R-value (Räsänen, Laine & Altosaar 2009, "An improved speech segmentation quality measure:
the R-value") is lower for a segmentation that finds boundaries by having many: with the share of boundaries too many
o = found / reference − 1,

    R = 1 − (√((1 − recall)² + o²) + |recall − 1 − o| / √2) / 2
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textless.corpora.alignment import Segment
from units.files import UnitsFile
from units.phones import aligned

TOLERANCE = 0.02  # seconds
SLACK = 1e-6  # seconds: times are written in decimals


@dataclass(frozen=True)
class BoundaryScores:
    """How many boundaries were found, of how many there are, and of how many were set."""

    hits: int
    reference: int
    found: int

    @property
    def precision(self) -> float:
        """Share of the boundaries set that are right."""
        return self.hits / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the reference that is found."""
        return self.hits / self.reference if self.reference else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        both = self.found + self.reference
        return 2 * self.hits / both if both else 0.0

    @property
    def r_value(self) -> float:
        """1 for perfect boundaries; see the module."""
        over = self.found / self.reference - 1 if self.reference else float(self.found)
        return float(1 - (np.hypot(1 - self.recall, over) + abs(self.recall - 1 - over) / 2**0.5) / 2)


def boundary_scores(
    units: UnitsFile, alignment: Mapping[str, Sequence[Segment]], tolerance: float = TOLERANCE
) -> BoundaryScores:
    """Compare changes of unit with boundaries of segments, over all utterances that have both.

    Raises:
        UserError: no utterance has both, or the units have no durations.
    """
    scores = BoundaryScores(0, 0, 0)
    for item in aligned(units, alignment):
        found = np.cumsum(item.durations or [])[:-1] / units.quantizer.frame_rate
        reference = reference_boundaries(alignment[item.id], item.n_frames / units.quantizer.frame_rate)
        hits = match(found, reference, tolerance)
        scores = BoundaryScores(scores.hits + hits, scores.reference + len(reference), scores.found + len(found))
    return scores


def reference_boundaries(segments: Sequence[Segment], seconds: float) -> np.ndarray:
    """Times at which a segment begins or ends, ascending, within the utterance."""
    times = {time for segment in segments for time in (segment.start, segment.end)}
    return np.array(sorted(time for time in times if SLACK < time < seconds - SLACK))


def match(found: np.ndarray, reference: np.ndarray, tolerance: float) -> int:
    """Most pairs of a found and a reference boundary, each used once, that lie within the tolerance of each other."""
    i = j = hits = 0
    while i < len(found) and j < len(reference):
        difference = found[i] - reference[j]
        if abs(difference) <= tolerance + SLACK:
            hits, i, j = hits + 1, i + 1, j + 1
        elif difference < 0:
            i += 1
        else:
            j += 1
    return hits
