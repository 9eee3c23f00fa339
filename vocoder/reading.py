"""Read units and the recordings they belong to into a corpus. What cannot be used is counted and said."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Skipped, Utterance, load_or_skip, read_manifest
from textless.errors import UserError
from textless.progress import say, track
from textless.speakers.embeddings import Embeddings, mean_by_speaker, read_embeddings
from units.files import Units, UnitsFile, read_units
from units.identity import require_same
from vocoder.conditions import Conditions
from vocoder.config import hop_length
from vocoder.data import Cast, Corpus, Recording, fit
from vocoder.frames import expand_frames
from vocoder.intonation import Intonation, level_of, stream_pitch

NO_SPEAKER = "unknown"
SHORTEST_SECONDS = 0.1  # of a recording to learn from
SILENCE = 1e-3  # of full scale: a recording without a louder sample holds no speech


def load_corpus(
    units_path: Path,
    manifest_path: Path,
    *,
    memory_gb: float,
    conditions: Conditions | None = None,
    like: Corpus | None = None,
    shortest: float = SHORTEST_SECONDS,
    quiet: bool = False,
) -> Corpus:
    """Read a corpus.

    Args:
        units_path: a units file with durations.
        manifest_path: lists the recordings, under the same ids.
        memory_gb: recordings are read now and kept if all of them fit in this many gigabytes (as 16-bit samples).
        conditions: what the generator is told beside units (None: nothing).
        like: the training corpus, when this one is for validation: same quantizer, no other speakers.
        shortest: seconds that a recording lasts at least.
        quiet: say nothing (processes other than the first).

    Raises:
        UserError: no ids in common, no durations, another quantizer, units or pitch of other recordings, or nothing
            that can be used.
    """
    file, manifest = read_units(units_path), read_manifest(manifest_path)
    if like is not None:
        require_same(like.quantizer, file.quantizer, "the training corpus", str(units_path))
    asked = conditions or Conditions()
    stream = asked.bins_of(file, units_path)
    if like is not None and stream != like.pitch:
        raise UserError(f"{units_path} has pitch in other bins than the training units: use the same prosody.json")
    intonation = asked.intonation(file.quantizer.frame_rate)
    hop = hop_length(file.quantizer.frame_rate)
    pairs = _match(file, manifest, units_path, manifest_path)
    embeddings = None if like is not None or asked.embeddings is None else read_embeddings(asked.embeddings)
    vectors = embeddings.rows() if embeddings is not None else like.cast.embeddings if like is not None else {}
    reader = _Reader(
        manifest,
        hop,
        shortest,
        keep=sum(item.n_frames for item, _ in pairs) * hop * 2 <= memory_gb * 1e9,
        training=None if like is None else like.cast,
        vectors=None if asked.embeddings is None else vectors,
        intonation=intonation,
        bins=stream is not None and intonation is None,
    )
    found: list[Recording] = []
    contours: dict[str, np.ndarray] = {}
    skipped = Counter({"without a recording in the manifest": len(file.utterances) - len(pairs)})
    for item, source in track(pairs, "reading recordings"):
        try:
            recording, hertz = reader.read(item, source)
        except _UnusableError as error:
            skipped[str(error)] += 1
            continue
        found.append(recording)
        if hertz is not None:
            contours[item.id] = hertz
    reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.items() if count)
    if not found:
        raise UserError(f"{units_path}: nothing is left to use ({reasons})")
    if not quiet:
        say(f"{units_path.name}: {len(found)} utterances" + (f"; skipped {reasons}" if reasons else ""))
    cast = _cast(found, contours, asked, embeddings) if like is None else like.cast
    if intonation is not None:
        found = [_with_pitch(recording, intonation, contours, cast, asked) for recording in found]
    return Corpus(file.quantizer, manifest, found, cast, asked, stream)


class _UnusableError(Exception):
    """A recording is left out; the message completes "1 ..."."""


@dataclass(frozen=True)
class _Reader:
    """Makes recordings of what two files say of them."""

    manifest: Manifest
    hop: int
    shortest: float
    keep: bool  # waveforms in memory
    training: Cast | None  # the speakers and styles that there may be
    vectors: Mapping[str, torch.Tensor] | None  # embeddings by utterance or speaker, where they are wanted
    intonation: Intonation | None
    bins: bool  # pitch is in the units file

    def read(self, item: Units, source: Utterance) -> tuple[Recording, np.ndarray | None]:
        """The recording, not yet with raw pitch or codes, and its pitch in hertz where that is wanted.

        Raises:
            _UnusableError: it has to be left out.
        """
        speaker, style = source.speaker or NO_SPEAKER, source.extra.get("style", "")
        if item.n_frames == 0:
            raise _UnusableError("without units")
        if item.n_frames * self.hop < self.shortest * SAMPLE_RATE:
            raise _UnusableError(f"shorter than {self.shortest:g} s")
        if self.training is not None and speaker not in self.training.speakers:
            raise _UnusableError("of speakers that the training corpus lacks")
        if self.training is not None and self.training.styles and style not in self.training.styles:
            raise _UnusableError("of styles that the training corpus lacks")
        vector = None if self.vectors is None else self.vectors.get(item.id, self.vectors.get(speaker))
        if self.vectors is not None and vector is None:
            raise _UnusableError("without a speaker embedding")
        waveform = self._waveform(source)
        hertz = None if self.intonation is None else self.intonation.hertz(item, waveform)
        if self.intonation is not None and hertz is None:
            raise _UnusableError("without pitch in the store")
        frames = expand_frames(item.units, item.durations or [], stream_pitch(item) if self.bins else None)
        samples = None if waveform is None else fit(waveform, item, self.hop)
        kept = samples if self.keep else None
        return Recording(item, frames, speaker, source, kept, style, embedding=vector), hertz

    def _waveform(self, source: Utterance) -> torch.Tensor | None:
        """What is heard `(S,)`; None where it is read later."""
        if not self.keep and (self.intonation is None or not self.intonation.needs_audio):
            return None
        waveform = load_or_skip(self.manifest, source)
        if isinstance(waveform, Skipped):
            raise _UnusableError("whose recording cannot be used")
        if not bool((waveform.abs() > SILENCE).any()):
            raise _UnusableError("silent")
        return waveform


def _with_pitch(
    recording: Recording, intonation: Intonation, contours: Mapping[str, np.ndarray], cast: Cast, asked: Conditions
) -> Recording:
    level = cast.levels[recording.speaker]
    pitch = intonation.frames(contours[recording.units.id], level, len(recording.frames))
    frames = replace(recording.frames, pitch=pitch)
    return replace(recording, frames=frames, level=level if asked.pitch == "raw" else None)


def _cast(
    recordings: Sequence[Recording],
    contours: Mapping[str, np.ndarray],
    asked: Conditions,
    embeddings: Embeddings | None,
) -> Cast:
    """Who speaks in the recordings. A speaker without a voiced frame has the level of all."""
    speakers = {recording.units.id: recording.speaker for recording in recordings}
    names = sorted(set(speakers.values()))
    levels: dict[str, float] = {}
    if contours:
        everybody = level_of(contours.values())
        if everybody is None:
            raise UserError("no recording has a voiced frame: a vocoder with pitch has nothing to learn from")
        of_speaker: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for utterance_id, name in speakers.items():
            of_speaker[name].append(contours[utterance_id])
        own = {name: level_of(mine) for name, mine in of_speaker.items()}
        levels = {name: everybody if level is None else level for name, level in own.items()}
    vectors = {recording.units.id: recording.embedding for recording in recordings if recording.embedding is not None}
    styles = sorted({recording.style for recording in recordings}) if asked.styles else []
    encoder = None if embeddings is None else embeddings.encoder_sha256
    return Cast(names, levels, mean_by_speaker(vectors, speakers), styles, encoder)


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
