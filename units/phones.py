"""How well units name phones: co-occurrence, purities and PNMI (Hsu et al. 2021, HuBERT, section 4.3).

Counted over frames. With joint distribution p(phone, unit):

    phone purity    Σ_unit  max_phone p(phone, unit)   accuracy of naming each unit by its most frequent phone
    cluster purity  Σ_phone max_unit  p(phone, unit)
    PNMI            I(phone; unit) / H(phone)           share of the phones' uncertainty that the units remove
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from textless.corpora.alignment import Segment, frame_labels
from textless.errors import UserError
from units.files import Units, UnitsFile
from units.ngrams import entropy
from units.runs import expand


@dataclass(frozen=True)
class Cooccurrence:
    """Frame counts `(labels, K)`: rows in the order of `labels` (phones, say, or speakers)."""

    labels: list[str]
    counts: np.ndarray

    @property
    def phone_purity(self) -> float:
        """Accuracy of naming each unit by its most frequent phone."""
        return float(self.counts.max(axis=0).sum() / self.counts.sum())

    @property
    def cluster_purity(self) -> float:
        """Accuracy of naming each phone by its most frequent unit."""
        return float(self.counts.max(axis=1).sum() / self.counts.sum())

    @property
    def information(self) -> float:
        """Mutual information of label and unit, in bits."""
        rows, columns = entropy(self.counts.sum(axis=1)), entropy(self.counts.sum(axis=0))
        return max(rows + columns - entropy(self.counts.ravel()), 0.0)

    @property
    def pnmi(self) -> float:
        """Mutual information of phone and unit over the entropy of the phone; 0 where there is one phone only."""
        uncertainty = entropy(self.counts.sum(axis=1))
        return self.information / uncertainty if uncertainty > 0 else 0.0


def cooccurrence(units: UnitsFile, alignment: Mapping[str, Sequence[Segment]]) -> Cooccurrence:
    """Count (phone, unit) over the frames of all utterances that have both; frames outside any segment count as SIL.

    Raises:
        UserError: no utterance has both, or the units have no durations.
    """
    rows: dict[str, np.ndarray] = {}
    for item in aligned(units, alignment):
        labels = np.array(frame_labels(alignment[item.id], item.n_frames, units.quantizer.frame_rate), dtype=np.str_)
        frames = expand(item.units, item.durations or [])
        for phone in np.unique(labels).tolist():
            counts = np.bincount(frames[labels == phone], minlength=units.quantizer.k)
            rows[phone] = rows[phone] + counts if phone in rows else counts
    return Cooccurrence(sorted(rows), np.stack([rows[phone] for phone in sorted(rows)]))


def aligned(units: UnitsFile, alignment: Mapping[str, Sequence[Segment]]) -> list[Units]:
    """The utterances that an alignment knows.

    Raises:
        UserError: there are none, or their units have no durations.
    """
    shared = [item for item in units.utterances if item.id in alignment and item.units]
    if not shared:
        raise UserError("units and alignment have no utterance id in common")
    untimed = next((item.id for item in shared if item.durations is None), None)
    if untimed is not None:
        raise UserError(f"{untimed!r} has units without durations, which cannot be placed in time")
    return shared
