"""How well units name phones: co-occurrence, purities and PNMI (Hsu et al. 2021, HuBERT, section 4.3).

Counted over frames. With joint distribution p(phone, unit):

    phone purity    Σ_unit  max_phone p(phone, unit)   accuracy of naming each unit by its most frequent phone
    cluster purity  Σ_phone max_unit  p(phone, unit)
    PNMI            I(phone; unit) / H(phone)           share of the phones' uncertainty that the units remove

and what comes of writing the phone of a unit in its place, silence being one (as DiscoPhon does): the phone error rate
of the sequence without repetitions, and how well its changes find the boundaries of phones. A unit stands for its most
frequent phone (*many to one*), or for the one that the best assignment of units to phones gives it (*one to one*);
there, a unit without a phone is always wrong.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from textless.corpora.alignment import SILENCE, Segment, frame_labels
from textless.errors import UserError
from units.files import Units, UnitsFile
from units.runs import expand
from zerospeech_eval.assignment import best_assignment
from zerospeech_eval.detection import Detection
from zerospeech_eval.per import compare
from zerospeech_eval.segmentation import TOLERANCE, changes, count_hits, total

Naming = Literal["many-to-one", "one-to-one"]
SHORTEST_GAP = 0.01  # seconds between segments that are silence
NAMINGS: tuple[Naming, ...] = ("many-to-one", "one-to-one")


@dataclass(frozen=True)
class Cooccurrence:
    """Frame counts `(phones, K)`: rows in the order of `phones`."""

    phones: list[str]
    counts: np.ndarray

    @property
    def joint(self) -> np.ndarray:
        """p(phone, unit), `(phones, K)`."""
        return self.counts / self.counts.sum()

    @property
    def phone_purity(self) -> float:
        """Accuracy of naming each unit by its most frequent phone."""
        return float(self.joint.max(axis=0).sum())

    @property
    def cluster_purity(self) -> float:
        """Accuracy of naming each phone by its most frequent unit."""
        return float(self.joint.max(axis=1).sum())

    @property
    def pnmi(self) -> float:
        """Mutual information of phone and unit over the entropy of the phone; 0 where there is one phone only."""
        joint = self.joint
        phone = joint.sum(axis=1, keepdims=True)
        independent = phone * joint.sum(axis=0, keepdims=True)
        seen = joint > 0
        information = (joint[seen] * np.log(joint[seen] / independent[seen])).sum()
        uncertainty = -(phone[phone > 0] * np.log(phone[phone > 0])).sum()
        return float(information / uncertainty) if uncertainty > 0 else 0.0

    def names(self, naming: Naming) -> list[str]:
        """What each of the K units is called: a phone, or `unit 17` where it has none."""
        match naming:
            case "many-to-one":
                return [self.phones[row] for row in self.counts.argmax(axis=0)]
            case "one-to-one":
                names = [f"unit {unit}" for unit in range(self.counts.shape[1])]
                for phone, unit in zip(self.phones, best_assignment(self.counts).tolist(), strict=True):
                    if unit >= 0:
                        names[unit] = phone
                return names
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


def cooccurrence(units: UnitsFile, alignment: Mapping[str, Sequence[Segment]]) -> Cooccurrence:
    """Count (phone, unit) over the frames of all utterances that have both; frames outside any segment count as SIL.

    Raises:
        UserError: no utterance has both, or the units have no durations.
    """
    labels: list[str] = []
    frames = []
    for item in _shared(units, alignment):
        frames.append(_frames(item))
        labels += frame_labels(alignment[item.id], item.n_frames, units.quantizer.frame_rate)
    phones, rows = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(phones), units.quantizer.k), dtype=np.int64)
    np.add.at(counts, (rows, np.concatenate(frames)), 1)
    return Cooccurrence(phones.tolist(), counts)


def write_phones(
    units: UnitsFile,
    alignment: Mapping[str, Sequence[Segment]],
    names: Sequence[str],
    tolerance: float = TOLERANCE,
) -> Transcription:
    """Put a name in the place of every unit, and compare with the phones.

    Args:
        units: with durations.
        alignment: phones of the same utterances; others are left out.
        names: of the K units, see `Cooccurrence.names`.
        tolerance: of boundaries, in seconds.
    """
    edits = n_phones = 0
    boundaries = []
    for item in _shared(units, alignment):
        written = [names[unit] for unit in _frames(item)]
        phones, times = _phones(alignment[item.id], item.n_frames / units.quantizer.frame_rate)
        edits += compare(item.id, phones, _without_repetitions(written)).edits
        n_phones += len(phones)
        boundaries.append(count_hits(changes(written, units.quantizer.frame_rate), times, tolerance))
    return Transcription(edits, n_phones, total(boundaries))


def _shared(units: UnitsFile, alignment: Mapping[str, Sequence[Segment]]) -> list[Units]:
    shared = [item for item in units.utterances if alignment.get(item.id)]
    if not shared:
        raise UserError("units and alignment have no utterance id in common")
    return shared


def _frames(item: Units) -> np.ndarray:
    if item.durations is None:
        raise UserError(f"{item.id!r} has units without durations, which cannot be placed in time")
    return expand(item.units, item.durations)


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
            naming.replace("-", "_"): write_phones(units, alignment, counts.names(naming), tolerance).summary()
            for naming in NAMINGS
        },
        "tolerance": tolerance,
        "frames": int(counts.counts.sum()),
        "phones": counts.phones,
        "counts": counts.counts.tolist(),
    }
