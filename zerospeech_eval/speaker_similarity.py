"""Whose voice a resynthesis has: cosines of speaker embeddings, and the equal error rate of telling the speakers.

A voice is the direction of the mean embedding of a speaker's recordings: of the source, the originals; of the target of
a conversion, recordings given for it. A resynthesis claims the voice of its target, or without one of its source. The
equal error rate is over its trials with the claimed speaker and with every other one; the voices that it is tried with
are taken without the recording of its own id, so that a speaker with one recording cannot be tried, and is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textless.speakers.embeddings import mean_embedding
from textless.speakers.verification import equal_error_rate


@dataclass(frozen=True)
class Voice:
    """Embedding `(D,)` of a recording, and who speaks in it (None: not known)."""

    id: str
    speaker: str | None
    vector: torch.Tensor


@dataclass(frozen=True)
class Converted:
    """A recording, its resynthesis, and the voice that this should have (None: the same)."""

    original: Voice
    vector: torch.Tensor  # (D,), of the resynthesis
    target: str | None = None


@dataclass(frozen=True)
class Similarity:
    """Cosines of one resynthesis, −1 to 1."""

    to_original: float
    to_source: float
    to_target: float | None


@dataclass(frozen=True)
class Verification:
    """Equal error rate over trials, and how many recordings had no voice to be tried with."""

    eer: float | None  # 0 to 1; None where there are no trials of both kinds
    trials: int
    untried: int


class Voices:
    """Recordings by speaker; those of unknown speakers are left out."""

    def __init__(self, recordings: Sequence[Voice]) -> None:
        self._rows: dict[str, dict[str, torch.Tensor]] = {}
        for voice in recordings:
            if voice.speaker is not None:
                self._rows.setdefault(voice.speaker, {})[voice.id] = voice.vector
        self._means = {
            speaker: mean_embedding(torch.stack(list(rows.values()))) for speaker, rows in self._rows.items()
        }

    @property
    def speakers(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._rows)

    def of(self, speaker: str, *, without: str | None = None) -> torch.Tensor | None:
        """Voice `(D,)` of a speaker, without one recording; None if there is no other."""
        rows = self._rows.get(speaker, {})
        if without not in rows:
            return self._means.get(speaker)
        others = [vector for name, vector in rows.items() if name != without]
        return mean_embedding(torch.stack(others)) if others else None


def similarity(item: Converted, sources: Voices, targets: Voices) -> Similarity:
    """Cosines of a resynthesis to the original, to the source's voice and to the target's."""
    source = sources.of(item.original.speaker) if item.original.speaker is not None else None
    target = targets.of(item.target) if item.target is not None else None
    return Similarity(
        _cosine(item.vector, item.original.vector),
        _cosine(item.vector, item.original.vector if source is None else source),
        None if target is None else _cosine(item.vector, target),
    )


def verify(claims: Sequence[Voice], voices: Voices) -> Verification:
    """Try every recording with the voice of the speaker it claims, and with those of all others."""
    same, different = [], []
    untried = 0
    for claim in claims:
        own = voices.of(claim.speaker, without=claim.id) if claim.speaker is not None else None
        if own is None:
            untried += 1
            continue
        same.append(_cosine(claim.vector, own))
        others = (voices.of(speaker, without=claim.id) for speaker in voices.speakers if speaker != claim.speaker)
        different += [_cosine(claim.vector, other) for other in others if other is not None]
    eer = equal_error_rate(np.array(same), np.array(different)) if same and different else None
    return Verification(eer, len(same) + len(different), untried)


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(one @ other)
