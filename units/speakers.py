"""How much of the speaker is left in units: who uses which, and how well an utterance's units tell who spoke.

The probe is multinomial naive Bayes on counts of deduplicated units, with one pseudo-count a unit, cross-validated:
utterance i of a speaker is tested by a model that has not seen utterances i, i + 5, i + 10, ... of anybody.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from textless.errors import UserError
from units.files import UnitsFile
from units.ngrams import entropy
from units.phones import Cooccurrence

FOLDS = 5


@dataclass(frozen=True)
class SpeakerStatistics:
    """Units by speaker: counts over frames, `probe_accuracy` against `chance` (always the most frequent speaker)."""

    counts: Cooccurrence
    utterances: int
    probe_accuracy: float
    chance: float

    @property
    def divergences(self) -> dict[str, float]:
        """How far every speaker's distribution of units is from everybody's, in bits (Kullback–Leibler)."""
        everybody = self.counts.counts.sum(axis=0)
        result = {}
        for speaker, row in zip(self.counts.labels, self.counts.counts, strict=True):
            used = row > 0
            expected = everybody[used] / everybody.sum()
            result[speaker] = float(-entropy(row) - (row[used] / row.sum() * np.log2(expected)).sum())
        return result


def speaker_statistics(units: UnitsFile, speakers: Mapping[str, str]) -> SpeakerStatistics:
    """Statistics of the utterances whose speaker is known.

    Raises:
        UserError: fewer than two speakers have two utterances with units.
    """
    k = units.quantizer.k
    known = [item for item in units.utterances if item.id in speakers and item.units]
    names = sorted({speakers[item.id] for item in known})
    number = {name: index for index, name in enumerate(names)}
    labels = np.array([number[speakers[item.id]] for item in known], dtype=np.int64)
    if (np.bincount(labels) > 1).sum() < 2:
        raise UserError("a speaker probe needs two speakers with two utterances each; does the manifest name speakers?")
    said: Counter[int] = Counter()
    folds = np.empty(len(known), dtype=np.int64)
    for index, speaker in enumerate(labels.tolist()):
        folds[index] = said[speaker] % FOLDS
        said[speaker] += 1
    frames = np.zeros((len(names), k), dtype=np.int64)
    by_fold = np.zeros((FOLDS, len(names), k))
    for item, label, part in zip(known, labels, folds, strict=True):
        np.add.at(frames[label], item.units, item.durations or 1)
        np.add.at(by_fold[part, label], item.units, 1)
    right = 0
    for fold in range(FOLDS):
        training = by_fold.sum(axis=0) - by_fold[fold] + 1
        likelihood = np.log(training / training.sum(axis=1, keepdims=True))
        heard = np.bincount(labels[folds != fold], minlength=len(names))
        prior = np.log(np.maximum(heard, 1e-9) / max(heard.sum(), 1))
        for index in np.flatnonzero(folds == fold).tolist():
            right += int((prior + likelihood[:, known[index].units].sum(axis=1)).argmax() == labels[index])
    return SpeakerStatistics(
        Cooccurrence(names, frames), len(known), right / len(known), float(np.bincount(labels).max() / len(known))
    )
