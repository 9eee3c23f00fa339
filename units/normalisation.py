"""Speaker normalisation: fewer codes are spent on who speaks.

Every dimension of a speaker's features gets zero mean and unit variance before it meets a codebook. The statistics are
those of all frames of the speaker in the corpus, the same at fitting and at encoding. An utterance whose speaker is not
known is its own speaker.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from textless.audio.manifest import Manifest
from textless.progress import say

FLOOR = 1e-5  # under the variance, where a dimension is constant
ROWS = 4096  # at a time, so that a long recording needs no more memory than a short one


@dataclass(frozen=True)
class Moments:
    """Number of frames, and sum and sum of squares `(D,)` of every dimension, float64."""

    count: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray) -> "Moments":
        """Of frames `(T, D)`."""
        moments = cls(0, np.zeros(frames.shape[1]), np.zeros(frames.shape[1]))
        for start in range(0, len(frames), ROWS):
            rows = np.asarray(frames[start : start + ROWS], dtype=np.float64)
            moments += cls(len(rows), rows.sum(axis=0), np.square(rows).sum(axis=0))
        return moments

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def normalise(self, frames: np.ndarray) -> np.ndarray:
        """Frames `(T, D)` less the mean, over the standard deviation, float32."""
        mean = self.total / max(self.count, 1)
        variance = self.squares / max(self.count, 1) - np.square(mean)
        scale = 1 / np.sqrt(np.maximum(variance, FLOOR))
        return ((frames - mean) * scale).astype(np.float32)


def known_speakers(manifest: Manifest | None, ids: Collection[str]) -> dict[str, str]:
    """Speaker of every utterance that has one; says how many of `ids` have none."""
    speakers = {utterance.id: utterance.speaker for utterance in manifest or () if utterance.speaker}
    unknown = sum(utterance_id not in speakers for utterance_id in ids)
    if unknown:
        say(f"{unknown} of {len(ids)} utterances have no speaker in a manifest: each counts as its own")
    return speakers


def speaker_moments(features: Iterable[tuple[str, np.ndarray]], speakers: Mapping[str, str]) -> dict[str, Moments]:
    """Moments of every speaker over a stream of (utterance id, features); utterances without a speaker are left out."""
    found: dict[str, Moments] = {}
    for utterance_id, frames in features:
        speaker = speakers.get(utterance_id)
        if speaker is not None:
            moments = Moments.of(frames)
            found[speaker] = found[speaker] + moments if speaker in found else moments
    return found


class SpeakerNormaliser:
    """Knows the speaker of every utterance, and the moments of every speaker."""

    def __init__(self, moments: Mapping[str, Moments], speakers: Mapping[str, str]) -> None:
        self._moments = moments
        self._speakers = speakers

    def moments(self, utterance_id: str, features: np.ndarray) -> Moments:
        """Moments of the speaker of an utterance; of its own features `(T, D)` where the speaker is not known."""
        speaker = self._speakers.get(utterance_id)
        return Moments.of(features) if speaker is None else self._moments[speaker]
