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
from units.files import UnitsFile
from units.runs import expand


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


def cooccurrence(units: UnitsFile, alignment: Mapping[str, Sequence[Segment]]) -> Cooccurrence:
    """Count (phone, unit) over the frames of all utterances that have both; frames outside any segment count as SIL.

    Raises:
        UserError: no utterance has both, or the units have no durations.
    """
    shared = [item for item in units.utterances if item.id in alignment]
    if not shared:
        raise UserError("units and alignment have no utterance id in common")
    labels: list[str] = []
    frames = []
    for item in shared:
        if item.durations is None:
            raise UserError(f"{item.id!r} has units without durations, which cannot be placed in time")
        frames.append(expand(item.units, item.durations))
        labels += frame_labels(alignment[item.id], item.n_frames, units.quantizer.frame_rate)
    phones, rows = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(phones), units.quantizer.k), dtype=np.int64)
    np.add.at(counts, (rows, np.concatenate(frames)), 1)
    return Cooccurrence(phones.tolist(), counts)


def summary(counts: Cooccurrence) -> dict[str, object]:
    """The measures, and the counts themselves, as plain values."""
    return {
        "pnmi": counts.pnmi,
        "phone_purity": counts.phone_purity,
        "cluster_purity": counts.cluster_purity,
        "frames": int(counts.counts.sum()),
        "phones": counts.phones,
        "counts": counts.counts.tolist(),
    }
