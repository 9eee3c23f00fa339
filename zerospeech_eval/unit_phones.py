"""How well units name phones: PNMI and purities (`units.phones`), and what comes of reading units as phones.

That is to write the phone of a unit in its place, silence being one (as DiscoPhon does): the phone error rate of the
sequence without repetitions, and how well its changes find the boundaries of phones. A unit stands for its most
frequent phone (*many to one*), or for the one that the best assignment of units to phones gives it (*one to one*);
there, a unit without a phone is always wrong.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from textless.corpora.alignment import SILENCE, Segment
from units.boundaries import TOLERANCE, changes, count_hits, total
from units.detection import Detection
from units.files import UnitsFile
from units.phones import Cooccurrence, aligned, cooccurrence
from units.runs import expand
from zerospeech_eval.assignment import best_assignment
from zerospeech_eval.token_errors import compare

Naming = Literal["many-to-one", "one-to-one"]
SHORTEST_GAP = 0.01  # seconds between segments that are silence
NAMINGS: tuple[Naming, ...] = ("many-to-one", "one-to-one")


def names(found: Cooccurrence, naming: Naming) -> list[str]:
    """What each of the K units is called: a phone, or `unit 17` where it has none."""
    match naming:
        case "many-to-one":
            return [found.labels[row] for row in found.counts.argmax(axis=0)]
        case "one-to-one":
            called = [f"unit {unit}" for unit in range(found.counts.shape[1])]
            for phone, unit in zip(found.labels, best_assignment(found.counts).tolist(), strict=True):
                if unit >= 0:
                    called[unit] = phone
            return called
        case _:
            raise ValueError(f"unknown naming {naming!r}")


@dataclass(frozen=True)
class Transcription:
    """Phones written in the place of units: edits to the true ones, of how many, and boundaries found."""

    edits: int
    n_phones: int
    boundary: Detection

    @property
    def error_rate(self) -> float:
        """Edits by true phones."""
        return self.edits / self.n_phones

    def summary(self) -> dict[str, float | None]:
        """The scores."""
        return {
            "phone_error_rate": self.error_rate,
            **{f"boundary_{name}": value for name, value in self.boundary.summary().items()},
            "boundary_r_value": self.boundary.r_value,
        }


def write_phones(
    units: UnitsFile,
    alignment: Mapping[str, Sequence[Segment]],
    called: Sequence[str],
    tolerance: float = TOLERANCE,
) -> Transcription:
    """Put a name in the place of every unit, and compare with the phones.

    Args:
        units: with durations.
        alignment: phones of the same utterances; others are left out.
        called: names of the K units, see `names`.
        tolerance: of boundaries, in seconds.
    """
    edits = n_phones = 0
    boundaries = []
    for item in aligned(units, alignment):
        written = [called[unit] for unit in expand(item.units, item.durations or [])]
        phones, times = _phones(alignment[item.id], item.n_frames / units.quantizer.frame_rate)
        edits += compare(item.id, phones, _without_repetitions(written)).edits
        n_phones += len(phones)
        boundaries.append(count_hits(changes(written, units.quantizer.frame_rate), times, tolerance))
    return Transcription(edits, n_phones, total(boundaries))


def _phones(segments: Sequence[Segment], end: float) -> tuple[list[str], np.ndarray]:
    """Phones from 0 to `end` without repetitions, and the times between them, `(phones - 1,)`; gaps are silence."""
    labels: list[str] = []
    starts: list[float] = []
    reached = 0.0
    for segment in (*segments, Segment(end, end, SILENCE)):
        spans = [(reached, SILENCE)] if segment.start - reached > SHORTEST_GAP else []
        spans += [(segment.start, segment.label)] if segment.end > segment.start else []
        for start, label in spans:
            if labels[-1:] != [label]:
                labels.append(label)
                starts.append(start)
        reached = segment.end
    return labels, np.array(starts[1:])


def _without_repetitions(names: Sequence[str]) -> list[str]:
    return [name for name, _ in itertools.groupby(names)]


def summary(
    units: UnitsFile, alignment: Mapping[str, Sequence[Segment]], tolerance: float = TOLERANCE
) -> dict[str, object]:
    """All measures, and the counts themselves, as plain values."""
    counts = cooccurrence(units, alignment)
    return {
        "pnmi": counts.pnmi,
        "phone_purity": counts.phone_purity,
        "cluster_purity": counts.cluster_purity,
        **{
            naming.replace("-", "_"): write_phones(units, alignment, names(counts, naming), tolerance).summary()
            for naming in NAMINGS
        },
        "tolerance": tolerance,
        "frames": int(counts.counts.sum()),
        "phones": counts.labels,
        "counts": counts.counts.tolist(),
    }
