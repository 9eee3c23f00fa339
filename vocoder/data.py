"""Training data: short segments of recordings, with the units they were encoded to.

Frame i of the units stands for the samples [i·hop, (i+1)·hop), so segments are cut at frame boundaries. Which
segments make the batch of a step is a function of the seed and the step alone: nothing has to be saved to continue a
run, and any number of processes shares out the same batches.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Skipped, Utterance, load_or_skip, read_manifest
from textless.errors import UserError
from textless.progress import say, track
from units.files import Units, UnitsFile, read_units
from units.identity import QuantizerIdentity, require_same
from vocoder.config import hop_length
from vocoder.frames import Frames, expand_frames, pad_frames

NO_SPEAKER = "unknown"
# Encoders drop up to a window at the end; a larger difference means units of another recording.
TOLERANCE_SECONDS = 0.1


@dataclass(frozen=True)
class Recording:
    """One utterance: its units, at both rates, and its speaker; the waveform, or where to read it."""

    units: Units
    frames: Frames
    speaker: str
    source: Utterance
    waveform: torch.Tensor | None  # (S,) int16, S = hop × frames; None: read when needed

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
    speakers: torch.Tensor  # (B,) indices
    waveform: torch.Tensor  # (B, T × hop) float32
    units: torch.Tensor
    durations: torch.Tensor
    run_lengths: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, torch.Tensor)}
        return replace(self, frames=self.frames.to(device), **moved)


class Corpus:
    """Recordings with units, and the batches they make."""

    def __init__(self, quantizer: QuantizerIdentity, manifest: Manifest, recordings: list[Recording]) -> None:
        self.quantizer = quantizer
        self.manifest = manifest
        self.recordings = recordings
        self.hop = hop_length(quantizer.frame_rate)

    @property
    def speakers(self) -> list[str]:
        """Names of all speakers, sorted."""
        return sorted({recording.speaker for recording in self.recordings})

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

    def collate(self, segments: Sequence[tuple[int, int]], size: int | None, speakers: Sequence[str]) -> Batch:
        """Cut segments of at most `size` frames (None: to the end) and pad them; `speakers` gives the indices."""
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
        indices = torch.tensor([speakers.index(recording.speaker) for recording, _, _ in cuts])
        return Batch(frames, lengths, indices, waveform, units, durations, run_lengths)

    def whole(self, max_frames: int) -> list[list[tuple[int, int]]]:
        """All recordings, whole, in padded batches of at most `max_frames`, for validation."""
        lengths = [len(recording.frames) for recording in self.recordings]
        return [[(index, 0) for index in indices] for indices in bucket(lengths, max_frames)]

    def _samples(self, recording: Recording, start: int, stop: int) -> torch.Tensor:
        waveform = recording.waveform
        if waveform is None:
            waveform = _fit(self.manifest.load(recording.source), recording.units, self.hop)
        return waveform[start * self.hop : stop * self.hop].float() / 32768


def load_corpus(
    units_path: Path, manifest_path: Path, *, memory_gb: float, like: Corpus | None = None, quiet: bool = False
) -> Corpus:
    """Read units and the recordings they belong to. What cannot be used is counted and said.

    Args:
        units_path: a units file with durations.
        manifest_path: lists the recordings, under the same ids.
        memory_gb: recordings are read now and kept if all of them fit in this many gigabytes (as 16-bit samples).
        like: the training corpus, when this one is for validation: same quantizer, no other speakers.
        quiet: say nothing (processes other than the first).

    Raises:
        UserError: no ids in common, no durations, another quantizer, or units of other recordings.
    """
    file, manifest = read_units(units_path), read_manifest(manifest_path)
    if like is not None:
        require_same(like.quantizer, file.quantizer, "the training corpus", str(units_path))
    hop = hop_length(file.quantizer.frame_rate)
    pairs = _match(file, manifest, units_path, manifest_path)
    keep = sum(item.n_frames for item, _ in pairs) * hop * 2 <= memory_gb * 1e9
    recordings, skipped = [], Counter({"without a recording in the manifest": len(file.utterances) - len(pairs)})
    for item, source in track(pairs, "reading recordings"):
        speaker = source.speaker or NO_SPEAKER
        waveform = load_or_skip(manifest, source) if keep else None
        if item.n_frames == 0:
            skipped["without units"] += 1
        elif like is not None and speaker not in like.speakers:
            skipped["of speakers that the training corpus lacks"] += 1
        elif isinstance(waveform, Skipped):
            skipped["whose recording cannot be used"] += 1
        else:
            samples = None if waveform is None else _fit(waveform, item, hop)
            recordings.append(
                Recording(item, expand_frames(item.units, item.durations or []), speaker, source, samples)
            )
    if not recordings:
        raise UserError(f"{units_path}: no utterance can be used ({_reasons(skipped)})")
    if not quiet:
        reasons = _reasons(skipped)
        say(f"{units_path.name}: {len(recordings)} utterances" + (f"; skipped {reasons}" if reasons else ""))
    return Corpus(file.quantizer, manifest, recordings)


def _match(file: UnitsFile, manifest: Manifest, units_path: Path, manifest_path: Path) -> list[tuple[Units, Utterance]]:
    sources = {utterance.id: utterance for utterance in manifest}
    pairs = [(item, sources[item.id]) for item in file.utterances if item.id in sources]
    if not pairs:
        examples = [repr(items[0].id) if items else "nothing" for items in (file.utterances, manifest.utterances)]
        raise UserError(
            f"{units_path} and {manifest_path} share no utterance id ({examples[0]} and {examples[1]}, for example): "
            "give the manifest that the units were encoded from"
        )
    untimed = [item.id for item, _ in pairs if item.durations is None]
    if untimed:
        raise UserError(
            f"{units_path}: {len(untimed)} utterances have no durations, first {untimed[0]!r}; a vocoder learns from "
            "encoded recordings, whose units have them, not from generated units"
        )
    return pairs


def _reasons(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in skipped.items() if count)


def _fit(waveform: torch.Tensor, item: Units, hop: int) -> torch.Tensor:
    """Waveform `(S,)` as 16-bit samples, cut or zero-padded to `hop` samples a frame."""
    n_samples = item.n_frames * hop
    if abs(len(waveform) - n_samples) > TOLERANCE_SECONDS * SAMPLE_RATE + hop:
        lengths = f"{n_samples / SAMPLE_RATE:.2f} s but its recording {len(waveform) / SAMPLE_RATE:.2f} s"
        raise UserError(
            f"{item.id}: its units last {lengths}; the units were made from another file: encode this manifest again"
        )
    samples = (waveform[:n_samples] * 32768).round().clamp(-32768, 32767).to(torch.int16)
    return torch.nn.functional.pad(samples, (0, n_samples - len(samples)))
