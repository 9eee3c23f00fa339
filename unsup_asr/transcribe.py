"""Recordings → phones or words, with times in the recording as it is: the whole way from a file to a transcript.

As in training, silences are taken away before the encoder hears anything. What is left is heard in chunks, so that a
recording of any length needs the memory of some seconds; a chunk ends where there was a silence or, in speech that has
none for so long, at its quietest place.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from textless import distributed
from textless.audio import io
from textless.audio.batches import bucket
from textless.audio.detectors import Detector, load_detector
from textless.audio.manifest import id_of, read_manifest
from textless.audio.scan import scan
from textless.audio.vad import HOP, frame_levels
from textless.encoders.encoder import LayerEncoder, load_encoder
from textless.errors import AudioError, UserError
from textless.features.extract import samples_per_batch
from textless.progress import say, track
from textless.training.precision import Precision
from unsup_asr.decoding.build import DecoderSources, build_decoder
from unsup_asr.decoding.decoder import Decoder, DecodingOptions, Transcript
from unsup_asr.recognizers import Recognizer, load_recognizer

LONGEST_CHUNK = 20.0  # seconds
AT_ONCE = 32  # recordings
Piece = tuple[int, int]  # samples [start, stop) of a recording


@dataclass(frozen=True)
class Label:
    """A phone or a word, and where it lies in the recording, in seconds."""

    label: str
    start: float
    end: float


@dataclass
class Transcription:
    """What was heard in one recording.

    Attributes:
        id: path without extension, or the manifest's id.
        seconds: of the recording.
        speech_seconds: of what was taken to be speech in it.
        phones: without silences.
        words: of a lexicon; empty without one.
    """

    id: str
    seconds: float
    speech_seconds: float
    phones: list[Label] = field(default_factory=list)
    words: list[Label] = field(default_factory=list)


@dataclass(frozen=True)
class Chunk:
    """Stretches of one recording that are heard together."""

    waveform: torch.Tensor
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, waveform: torch.Tensor, pieces: Sequence[Piece]) -> "Chunk":
        """Stretches of a recording `(S,)`."""
        return cls(torch.cat([waveform[start:stop] for start, stop in pieces]), tuple(pieces))

    def seconds_in_recording(self, seconds: np.ndarray, *, are_ends: bool) -> np.ndarray:
        """Times in the chunk → times in the recording; an end at a seam is the end of what came before it."""
        lengths = np.array([stop - start for start, stop in self.pieces])
        before = np.cumsum(lengths) - lengths
        samples = np.clip(np.asarray(seconds) * io.SAMPLE_RATE, 0, lengths.sum())
        piece = np.searchsorted(before, samples, side="left" if are_ends else "right") - 1
        piece = np.clip(piece, 0, len(lengths) - 1)
        starts = np.array([start for start, _ in self.pieces])
        return (starts[piece] + samples - before[piece]) / io.SAMPLE_RATE


class Transcriber:
    """A recogniser with its encoder, its detector of speech and a decoder.

    Args:
        model: directory of a recogniser.
        sources: language model and lexicon, if any.
        options: of the search.
        vad: `energy`, `rvad`, `silero` or `none`: what took the silences of the training speech away.
        device: of the encoder.
        precision: of the encoder.

    Raises:
        UserError: something is missing, or the encoder of that name is not the one the recogniser was trained with.
    """

    def __init__(
        self,
        model: Path,
        sources: DecoderSources | None = None,
        options: DecodingOptions | None = None,
        *,
        vad: str = "energy",
        device: str = "auto",
        precision: Precision = "fp32",
    ) -> None:
        self.recognizer: Recognizer = load_recognizer(model)
        self.decoder: Decoder = build_decoder(
            self.recognizer, sources or DecoderSources(), options or DecodingOptions()
        )
        self._detect: Detector = load_detector(vad) if vad != "none" else lambda waveform: [(0, len(waveform))]
        where = distributed.select_device(device)
        self.encoder: LayerEncoder = load_encoder(self.recognizer.source.encoder, where, precision)
        if self.encoder.sha256 != self.recognizer.source.encoder_sha256:
            raise UserError(
                f"{self.recognizer.source.encoder} is {self.encoder.sha256[:12]} here, but {model} was trained with "
                f"{self.recognizer.source.encoder_sha256[:12]}: put the encoder back that it was trained with"
            )

    def __call__(self, waveforms: Sequence[tuple[str, torch.Tensor]]) -> list[Transcription]:
        """Ids and waveforms `(S,)` at 16 kHz → what was heard; batching changes nothing."""
        found: list[Transcription] = []
        chunks: list[tuple[Transcription, Chunk]] = []
        for name, waveform in waveforms:
            pieces = self._detect(waveform)
            kept = sum(stop - start for start, stop in pieces)
            found.append(Transcription(name, len(waveform) / io.SAMPLE_RATE, kept / io.SAMPLE_RATE))
            cut = (Chunk.of(waveform, group) for group in chunks_of(waveform, pieces, LONGEST_CHUNK))
            chunks += [(found[-1], chunk) for chunk in cut if len(chunk.waveform) >= self.encoder.min_samples]
        features: list[np.ndarray] = [np.empty(0)] * len(chunks)
        for batch in bucket([len(chunk.waveform) for _, chunk in chunks], samples_per_batch(self.encoder)):
            encoded = self.encoder.encode([chunks[index][1].waveform for index in batch])
            for index, frames in zip(batch, encoded, strict=True):
                features[index] = frames.numpy()
        posteriors = self.recognizer.posteriors(features)
        for (transcription, chunk), rows in zip(chunks, posteriors, strict=True):
            self._add(transcription, chunk, self.decoder(rows))
        return found

    def _add(self, transcription: Transcription, chunk: Chunk, heard: Transcript) -> None:
        names, silence = self.recognizer.phones, self.recognizer.silence
        said = heard.phones != (-1 if silence is None else silence)
        phones = [names[phone] for phone in heard.phones[said].tolist()]
        transcription.phones += self._labels(chunk, phones, heard.starts[said], heard.ends[said])
        if heard.words:
            transcription.words += self._labels(chunk, heard.words, heard.word_spans[:, 0], heard.word_spans[:, 1])

    def _labels(self, chunk: Chunk, names: Sequence[str], starts: np.ndarray, ends: np.ndarray) -> list[Label]:
        """Names with their frames in a chunk → with their times in the recording."""
        rate = self.recognizer.source.frame_rate
        begins = chunk.seconds_in_recording(starts / rate, are_ends=False).tolist()
        stops = chunk.seconds_in_recording(ends / rate, are_ends=True).tolist()
        return [Label(*label) for label in zip(names, begins, stops, strict=True)]


@dataclass
class Heard:
    """Counts of a whole call of `transcribe`; filled while it runs."""

    recordings: int = 0
    resampled: int = 0
    silent: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def say(self) -> None:
        """Tell what was out of the ordinary."""
        if self.resampled:
            say(f"{self.resampled} recordings of other sample rates were resampled to {io.SAMPLE_RATE} Hz")
        for names, what in (
            (self.skipped, "could not be read"),
            (self.silent, "hold no speech"),
            (self.empty, "hold speech in which nothing was recognised"),
        ):
            if names:
                say(f"{len(names)} recordings {what}: {'; '.join(names[:5])}{' ...' if len(names) > 5 else ''}")


def transcribe(paths: Sequence[Path], transcriber: Transcriber, heard: Heard) -> Iterator[Transcription]:
    """Yield what was heard in every recording, in order.

    Args:
        paths: audio files, folders of them, and manifests.
        transcriber: what hears.
        heard: receives counts.

    Raises:
        UserError: a path does not exist, two recordings have one id, or none of them can be used.
    """
    recordings = list(recordings_of(paths))
    repeated = [name for name, count in Counter(name for name, _ in recordings).items() if count > 1]
    if repeated:
        raise UserError(f"{len(repeated)} recordings share an id with another, first {repeated[0]!r}")
    loaded = track(_load(recordings, heard), "transcribing", len(recordings))
    while group := list(islice(loaded, AT_ONCE)):
        for transcription in transcriber(group):
            heard.recordings += 1
            if not transcription.speech_seconds:
                heard.silent.append(transcription.id)
            elif not transcription.phones:
                heard.empty.append(transcription.id)
            yield transcription
    if not heard.recordings:
        raise UserError(f"none of the {len(recordings)} recordings can be used; first: {heard.skipped[0]}")


def recordings_of(paths: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """Ids and files that audio files, folders and manifests name.

    Raises:
        UserError: there is no such file, or no audio in a folder.
    """
    for path in paths:
        if path.is_dir():
            manifest, _ = scan(path)
            yield from ((u.id, manifest.audio_path(u)) for u in manifest)
        elif path.suffix.lower() in {".tsv", ".txt"}:
            manifest = read_manifest(path)
            yield from ((u.id, manifest.audio_path(u)) for u in manifest)
        elif path.is_file():
            yield id_of(path.as_posix()), path
        else:
            raise UserError(f"no recording, folder or manifest: {path}")


def _load(recordings: Sequence[tuple[str, Path]], heard: Heard) -> Iterator[tuple[str, torch.Tensor]]:
    for name, path in recordings:
        try:
            waveform = io.load(path)
            heard.resampled += io.info(path).sample_rate != io.SAMPLE_RATE
        except AudioError as error:
            heard.skipped.append(str(error))
            continue
        yield name, waveform


def chunks_of(waveform: torch.Tensor, pieces: Sequence[Piece], longest: float) -> list[list[Piece]]:
    """Group stretches of speech of a waveform `(S,)` into chunks of at most so many seconds, in order.

    A stretch that is longer by itself is cut at its quietest place in the second half of what fits.
    """
    limit = round(longest * io.SAMPLE_RATE)
    groups: list[list[Piece]] = []
    size = limit + 1
    for piece in pieces:
        for start, stop in _short_pieces(waveform, piece, limit):
            if size + stop - start > limit:
                groups.append([])
                size = 0
            groups[-1].append((start, stop))
            size += stop - start
    return groups


def _short_pieces(waveform: torch.Tensor, piece: Piece, limit: int) -> Iterator[Piece]:
    start, stop = piece
    while stop - start > limit:
        earliest = start + limit // 2
        levels = frame_levels(waveform[earliest : start + limit])
        cut = min(earliest + int(levels.argmin()) * HOP + HOP // 2, start + limit)
        yield start, cut
        start = cut
    yield start, stop
