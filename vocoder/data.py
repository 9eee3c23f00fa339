"""Training data: short segments of recordings, with the units they were encoded to and what else the generator is told.

Frame i of the units stands for the samples [i·hop, (i+1)·hop), so segments are cut at frame boundaries. Which
segments make the batch of a step is a function of the seed and the step alone: nothing has to be saved to continue a
run, and any number of processes shares out the same batches.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Utterance
from textless.errors import UserError
from units.files import Stream, Units
from units.identity import QuantizerIdentity
from vocoder.conditions import Conditions
from vocoder.config import hop_length
from vocoder.frames import Frames, pad_frames
from vocoder.voices import Voices

# Encoders drop up to a window at the end; a larger difference means units of another recording.
TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class Recording:
    """One utterance: its units, at both rates, and who speaks how; the waveform, or where to read it."""

    units: Units
    frames: Frames
    speaker: str
    source: Utterance
    waveform: torch.Tensor | None  # (S,) int16, S = hop × frames; None: read when needed
    style: str = ""
    level: float | None = None  # of the speaker, where pitch is raw
    embedding: torch.Tensor | None = None  # (E,), where speakers are embeddings

    def runs(self, start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Deduplicated units touched by the frames start..stop-1, and their whole durations, `(N,)` each."""
        assert self.units.durations is not None
        ends = np.cumsum(self.units.durations)
        first, last = np.searchsorted(ends, [start, stop - 1], side="right")
        inside = slice(int(first), int(last) + 1)
        return torch.tensor(self.units.units[inside]), torch.tensor(self.units.durations[inside])


@dataclass(frozen=True)
class Batch:
    """Padded segments. Frames `(B, T)` and `lengths` `(B,)`; runs `(B, N)` and `run_lengths` `(B,)`."""

    frames: Frames
    lengths: torch.Tensor
    voices: Voices
    waveform: torch.Tensor  # (B, T × hop) float32
    units: torch.Tensor
    durations: torch.Tensor
    run_lengths: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, frames=self.frames.to(device), voices=self.voices.to(device), **moved)


@dataclass(frozen=True)
class Cast:
    """Who speaks in a corpus, and how: names, and what is known of each; validation keeps that of the training corpus.

    Attributes:
        speakers: names, sorted.
        levels: mean log F0 of every speaker, where pitch was read.
        embeddings: mean embedding `(E,)` of every speaker, where embeddings were read.
        styles: names, sorted, where styles were read.
        speaker_encoder: hash of what made the embeddings.
    """

    speakers: list[str]
    levels: Mapping[str, float] = field(default_factory=dict)
    embeddings: Mapping[str, torch.Tensor] = field(default_factory=dict)
    styles: list[str] = field(default_factory=list)
    speaker_encoder: str | None = None

    def voices(self, recordings: Sequence[Recording]) -> Voices:
        """Voices of a batch."""
        embeddings = [recording.embedding for recording in recordings if recording.embedding is not None]
        levels = [recording.level for recording in recordings if recording.level is not None]
        indices = [self.speakers.index(recording.speaker) for recording in recordings]
        return Voices(
            torch.stack(embeddings) if embeddings else torch.tensor(indices),
            torch.tensor([self.styles.index(recording.style) for recording in recordings]) if self.styles else None,
            torch.tensor(levels) if levels else None,
        )


class Corpus:
    """Recordings with units, and the batches they make."""

    def __init__(
        self,
        quantizer: QuantizerIdentity,
        manifest: Manifest,
        recordings: list[Recording],
        cast: Cast,
        conditions: Conditions,
        pitch: Stream | None = None,
    ) -> None:
        self.quantizer = quantizer
        self.manifest = manifest
        self.recordings = recordings
        self.cast = cast
        self.conditions = conditions
        self.pitch = pitch  # declaration of bins
        self.hop = hop_length(quantizer.frame_rate)

    @property
    def seconds(self) -> float:
        """Amount of speech."""
        return sum(len(recording.frames) for recording in self.recordings) / self.quantizer.frame_rate

    def segments(self, epoch: int, size: int, seed: int) -> list[tuple[int, int]]:
        """One pass over the corpus in random order: (recording, first frame) of segments of `size` frames.

        A recording gives as many segments as fit, spread over it with random starts. The number of segments is the
        same in every epoch.
        """
        generator = np.random.default_rng((seed, epoch))
        found = []
        for index, recording in enumerate(self.recordings):
            count = max(1, round(len(recording.frames) / size))
            room = max(0, len(recording.frames) - size)
            starts = (np.arange(count) + generator.random(count)) / count * (room + 1)
            found += [(index, int(start)) for start in starts]
        return [found[i] for i in generator.permutation(len(found))]

    def batches(self, first_step: int, size: int, batch_size: int, seed: int) -> Iterator[list[tuple[int, int]]]:
        """The segments of the batches from `first_step` on, without end; those of one epoch flow into the next."""
        per_epoch = len(self.segments(0, size, seed))
        epoch, skip = divmod(first_step * batch_size, per_epoch)
        waiting = self.segments(epoch, size, seed)[skip:]
        while True:
            while len(waiting) < batch_size:
                epoch += 1
                waiting += self.segments(epoch, size, seed)
            yield waiting[:batch_size]
            waiting = waiting[batch_size:]

    def collate(self, segments: Sequence[tuple[int, int]], size: int | None) -> Batch:
        """Cut segments of at most `size` frames (None: to the end) and pad them."""
        cuts = []
        for index, start in segments:
            recording = self.recordings[index]
            end = len(recording.frames)
            cuts.append((recording, start, end if size is None else min(end, start + size)))
        frames, lengths = pad_frames([recording.frames.cut(start, stop) for recording, start, stop in cuts])
        waveform, _ = pad([self._samples(*cut) for cut in cuts])
        runs = [recording.runs(start, stop) for recording, start, stop in cuts]
        units, run_lengths = pad([run[0] for run in runs])
        durations, _ = pad([run[1] for run in runs])
        voices = self.cast.voices([recording for recording, _, _ in cuts])
        return Batch(frames, lengths, voices, waveform, units, durations, run_lengths)

    def whole(self, max_frames: int) -> list[list[tuple[int, int]]]:
        """All recordings, whole, in padded batches of at most `max_frames`, for validation."""
        lengths = [len(recording.frames) for recording in self.recordings]
        return [[(index, 0) for index in indices] for indices in bucket(lengths, max_frames)]

    def _samples(self, recording: Recording, start: int, stop: int) -> torch.Tensor:
        waveform = recording.waveform
        if waveform is None:
            waveform = fit(self.manifest.load(recording.source), recording.units, self.hop)
        return waveform[start * self.hop : stop * self.hop].float() / 32768


def fit(waveform: torch.Tensor, item: Units, hop: int) -> torch.Tensor:
    """Waveform `(S,)` as 16-bit samples, cut or zero-padded to `hop` samples a frame."""
    n_samples = item.n_frames * hop
    if abs(len(waveform) - n_samples) > TOLERANCE_SECONDS * SAMPLE_RATE + hop:
        lengths = f"{n_samples / SAMPLE_RATE:.2f} s but its recording {len(waveform) / SAMPLE_RATE:.2f} s"
        raise UserError(
            f"{item.id}: its units last {lengths}; the units were made from another file: encode this manifest again"
        )
    samples = (waveform[:n_samples] * 32768).round().clamp(-32768, 32767).to(torch.int16)
    return torch.nn.functional.pad(samples, (0, n_samples - len(samples)))
