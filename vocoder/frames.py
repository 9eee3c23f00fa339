"""Units at frame rate, where in its run each frame lies, and its pitch: what the generator reads.

Pitch comes in two forms (`ModelConfig.pitch`):

- raw: `(T, 2)` float32. Column 0 is the natural log of F0 less the speaker's mean over voiced frames, 0 where unvoiced;
  column 1 is 1 where voiced, else 0. `raw_pitch` makes it of what `units.prosody.NormalisedPitch` returns.
- bins: `(T,)` int64, 0..n_pitch_bins-1: the stream `f0` of a units file (`units prosody add`), or the codes of an F0
  quantizer repeated to the frame rate.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textless.audio.batches import pad
from units.runs import expand

N_FEATURES = 2


@dataclass(frozen=True)
class Frames:
    """One utterance, or a stretch of one, at the frame rate of its units; or, padded, a batch of them.

    Attributes:
        units: `(T,)` int64.
        features: `(T, 2)` float32: how far through its run the frame is, -1..1, and the log of the run's length.
        pitch: `(T, 2)` float32 or `(T,)` int64, see above; None for models without pitch.
        phase: `(T,)` float64: of the voice at the centre of each frame, in cycles (`harmonics.phases`), for stretches
            that are to fit what was synthesised before them; None: the first frame begins at 0.
    """

    units: torch.Tensor
    features: torch.Tensor
    pitch: torch.Tensor | None = None
    phase: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.units)

    def cut(self, start: int, stop: int) -> "Frames":
        """Frames start..stop-1. Features still describe the whole runs."""
        return self._each(lambda stream: stream[start:stop])

    def to(self, device: torch.device) -> "Frames":
        """The same frames on a device."""
        return self._each(lambda stream: stream.to(device))

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Frames":
        return Frames(**{name: change(stream) for name, stream in vars(self).items() if stream is not None})


def expand_frames(units: Sequence[int], durations: Sequence[int], pitch: torch.Tensor | None = None) -> Frames:
    """Deduplicated units and durations, `(N,)` each → `Frames` of the whole utterance, with its `pitch` `(T, ...)`."""
    lasting = np.asarray(durations, dtype=np.int64)
    ends = np.cumsum(lasting)
    length = np.repeat(lasting, lasting)  # (N,) -> (T,)
    index = np.arange(len(length)) - np.repeat(ends - lasting, lasting)
    progress = (2 * index + 1) / length - 1
    features = np.stack([progress, np.log(length) - math.log(2)], axis=1).astype(np.float32)  # two: a usual length
    if pitch is not None and len(pitch) != len(length):
        raise ValueError(f"{len(pitch)} frames of pitch beside {len(length)} of units")
    return Frames(torch.from_numpy(expand(units, durations)), torch.from_numpy(features), pitch)


def raw_pitch(values: np.ndarray) -> torch.Tensor:
    """Log F0 less the speaker's mean `(T,)`, NaN where unvoiced → raw pitch `(T, 2)`."""
    voiced = ~np.isnan(values)
    return torch.from_numpy(np.stack([np.nan_to_num(values), voiced], axis=1).astype(np.float32))


def retime(durations: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """Which frame to read for every frame, when runs that lasted `durations` are to last `new`, `(N,)` each → `(T',)`.

    Frames of one run are spread over its new length; what is read never belongs to another run.
    """
    before, after = np.asarray(durations, dtype=np.int64), np.asarray(new, dtype=np.int64)
    starts = np.repeat(np.cumsum(before) - before, after)
    index = np.arange(len(starts)) - np.repeat(np.cumsum(after) - after, after)
    return starts + (2 * index + 1) * np.repeat(before, after) // (2 * np.repeat(after, after))


def join_frames(items: Sequence[Frames]) -> Frames:
    """Stretches of one utterance, one after the other."""
    streams = {name: [value for item in items if (value := getattr(item, name)) is not None] for name in vars(items[0])}
    assert all(len(values) in (0, len(items)) for values in streams.values())
    return Frames(**{name: torch.cat(values) for name, values in streams.items() if values})


def pad_frames(items: Sequence[Frames]) -> tuple[Frames, torch.Tensor]:
    """Batch of `(B, T)` units, `(B, T, 2)` features and pitch, padded with zeros, and the lengths `(B,)` in frames."""
    units, lengths = pad([item.units for item in items])
    features, _ = pad([item.features for item in items])
    pitch = _pad_stream([item.pitch for item in items], "pitch")
    phase = _pad_stream([item.phase for item in items], "a phase")
    return Frames(units, features, pitch, phase), lengths


def _pad_stream(streams: Sequence[torch.Tensor | None], name: str) -> torch.Tensor | None:
    present = [stream for stream in streams if stream is not None]
    if present and len(present) < len(streams):
        raise ValueError(f"only {len(present)} of {len(streams)} utterances have {name}")
    return pad(present)[0] if present else None
