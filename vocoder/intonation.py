"""The pitch of recordings in the form that a generator reads, and the level of each speaker.

    hertz at frame rate --level of the speaker taken off--> raw pitch --F0 quantizer--> codes

A level is the mean of log F0 over the voiced frames of a speaker. What is left is intonation, which can be given to
another speaker: the generator adds the level of whoever speaks.
"""

from collections.abc import Iterable

import numpy as np
import torch

from textless.errors import UserError
from textless.features.store import FeatureStore
from units.files import Units
from units.pitch import PitchTracker
from units.prosody import STREAM
from vocoder.f0_quantizer import F0Quantizer
from vocoder.frames import raw_pitch

TOLERANCE_SECONDS = 0.1  # by which trackers and encoders may differ at the end of a recording


def tracker_at(frame_rate: float) -> PitchTracker:
    """A tracker whose frames are those of units; raises `UserError` for rates it cannot have."""
    if frame_rate != round(frame_rate):
        raise UserError(f"pitch cannot be tracked at {frame_rate:g} Hz: the vocoder of such units goes without pitch")
    return PitchTracker(round(frame_rate))


class Intonation:
    """Turns recordings into what a generator with pitch reads.

    Attributes:
        rate: frames a second at which pitch is tracked.
        needs_audio: whether pitch is tracked here, not read from a store.
    """

    def __init__(
        self, frame_rate: float, store: FeatureStore | None = None, quantizer: F0Quantizer | None = None
    ) -> None:
        """Read `store`, or track; give raw pitch, or the codes of `quantizer`, at `frame_rate`.

        Raises:
            UserError: the store holds something else than pitch at the frame rate that is needed, or the quantizer was
                fitted to another tracker's pitch.
        """
        self.frame_rate = frame_rate
        self.rate = frame_rate if quantizer is None else quantizer.frame_rate
        self.quantizer = quantizer
        self.needs_audio = store is None
        self._store = store
        self._tracker = tracker_at(self.rate) if store is None else None
        source = tracker_at(self.rate).sha256()
        if store is not None:
            header = store.header
            if not header.encoder.startswith("pitch@") or header.frame_rate != self.rate:
                raise UserError(
                    f"{store.directory} holds {header.encoder}, pitch at {self.rate:g} Hz is needed: make it with "
                    f"`textless units prosody pitch --frame-rate {self.rate:g}`"
                )
            source = header.encoder_sha256
        if quantizer is not None and quantizer.pitch_sha256 != source:
            raise UserError(
                "the F0 quantizer was fitted to the pitch of a tracker with other settings; fit it again, or give the "
                "pitch store it was fitted to"
            )

    def hertz(self, item: Units, waveform: torch.Tensor | None) -> np.ndarray | None:
        """Pitch `(T,)` of an utterance at `rate`, 0 where unvoiced; None if the store lacks it.

        Args:
            item: its units; pitch is made as long as they are.
            waveform: `(S,)`, where `needs_audio`.

        Raises:
            UserError: the store has pitch of another length.
        """
        if self._tracker is not None:
            assert waveform is not None
            found = self._tracker.track(waveform)
        else:
            assert self._store is not None
            if item.id not in self._store:
                return None
            found = self._store[item.id][:, 0]
        wanted = round(item.n_frames * self.rate / self.frame_rate)
        if abs(len(found) - wanted) > TOLERANCE_SECONDS * self.rate + 1:
            raise UserError(
                f"{item.id}: its units last {item.n_frames / self.frame_rate:.2f} s but its pitch "
                f"{len(found) / self.rate:.2f} s; they were made from different recordings"
            )
        return np.pad(found[:wanted], (0, max(0, wanted - len(found))))

    def track(self, waveform: torch.Tensor) -> np.ndarray:
        """Pitch `(T,)` of any recording `(S,)` in hertz at `rate`, 0 where unvoiced."""
        return tracker_at(self.rate).track(waveform)

    def frames(self, hertz: np.ndarray, level: float, n_frames: int) -> torch.Tensor:
        """Pitch in hertz `(T,)` of a speaker of this level → raw pitch `(n_frames, 2)`, or codes `(n_frames,)`."""
        logs = np.full(len(hertz), np.nan)
        logs[hertz > 0] = np.log(hertz[hertz > 0], dtype=np.float64) - level
        pitch = raw_pitch(logs)
        if self.quantizer is None:
            return pitch
        codes = self.quantizer.encode(pitch)
        # The code that covers the middle of each frame of units.
        middles = (torch.arange(n_frames) + 0.5) * (self.rate / self.frame_rate / self.quantizer.shrink)
        return codes[middles.long().clamp(max=len(codes) - 1)]


def level_of(contours: Iterable[np.ndarray]) -> float | None:
    """Mean log F0 over the voiced frames of contours in hertz; None if nothing is voiced."""
    total, count = 0.0, 0
    for hertz in contours:
        voiced = hertz[hertz > 0]
        total += float(np.log(voiced, dtype=np.float64).sum())
        count += len(voiced)
    return total / count if count else None


def stream_pitch(item: Units) -> torch.Tensor:
    """The stream `f0` of a units file, at frame rate, `(T,)`."""
    return torch.from_numpy(np.repeat(np.asarray(item.streams[STREAM], dtype=np.int64), item.durations or 1))
