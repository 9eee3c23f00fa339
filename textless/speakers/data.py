"""Training data: crops of speakers, every speaker as often as any other.

The crops of a step depend on the seed and the step alone; they are drawn for all processes together and then sliced.
Every speed but 1 makes a further speaker of each: the formants move with the pitch, as in another throat.
"""

from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from textless.audio import io
from textless.audio.batches import pad
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Utterance, load_or_skip, read_manifest
from textless.distributed import World, shard_slice
from textless.errors import AudioError, UserError
from textless.progress import say
from textless.speakers.config import DataConfig

NOISY_SHARE = 0.5  # of the crops
FINEST_SPEED = 100  # speeds are ratios of integers up to this


@dataclass(frozen=True)
class Batch:
    """Padded crops."""

    waveforms: torch.Tensor  # (B, S)
    lengths: torch.Tensor  # (B,)
    speakers: torch.Tensor  # (B,), an index
    generators: list[np.random.Generator]  # of what is random about each crop after this

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        waveforms, lengths, speakers = (x.to(device) for x in (self.waveforms, self.lengths, self.speakers))
        return Batch(waveforms, lengths, speakers, self.generators)


@dataclass(frozen=True)
class Crop:
    """A stretch of a recording, in samples at 16 kHz as recorded, how it is played, and whose voice it then is."""

    recording: int
    start: int
    length: int
    speed: float
    speaker: int
    noise_db: float | None  # signal-to-noise ratio
    seed: int  # of the noise


class SpeakerCorpus:
    """Recordings by speaker, and the batches they make.

    Raises:
        UserError: there are fewer than two speakers.
    """

    def __init__(self, config: DataConfig, seed: int) -> None:
        self._config, self._seed = config, seed
        shortest = round(config.min_seconds * SAMPLE_RATE)
        self._sources: list[tuple[Manifest, Utterance]] = []
        self._lengths: list[int] = []
        by_speaker: dict[str, list[int]] = {}
        self.left_out: Counter[str] = Counter()
        for manifest in map(read_manifest, config.manifest):
            for utterance in manifest:
                if utterance.speaker is None:
                    self.left_out["without a speaker"] += 1
                elif (length := _length(manifest, utterance)) < shortest:
                    self.left_out[f"unreadable or shorter than {config.min_seconds:g} s"] += 1
                else:
                    by_speaker.setdefault(utterance.speaker, []).append(len(self._sources))
                    self._sources.append((manifest, utterance))
                    self._lengths.append(length)
        if len(by_speaker) < 2:
            counts = "".join(f"; {n} recordings are {why}" for why, n in self.left_out.items())
            raise UserError(
                f"{', '.join(map(str, config.manifest))}: {len(by_speaker)} speakers have usable recordings, and it "
                f"takes two to tell apart; the manifest needs a column `speaker`{counts}"
            )
        self.speakers = sorted(by_speaker)
        self._recordings = [by_speaker[speaker] for speaker in self.speakers]
        self._cache: dict[int, torch.Tensor] = {}
        self._cached_bytes = 0
        self._pool = ThreadPoolExecutor(1)
        self._ahead: dict[int, Future[Batch]] = {}

    @property
    def n_voices(self) -> int:
        """Speakers, counted anew at every speed."""
        return len(self.speakers) * len(self._config.speeds)

    @property
    def hours(self) -> float:
        """Audio as recorded."""
        return sum(self._lengths) / SAMPLE_RATE / 3600

    def batch(self, step: int, size: int, here: World) -> Batch:
        """This process's share of the `size` crops of an update (from 0); the next is made meanwhile."""
        for later in (step, step + 1):
            if later not in self._ahead:
                self._ahead[later] = self._pool.submit(self._make, later, size, here)
        return self._ahead.pop(step).result()

    def crops(self, step: int, size: int) -> list[Crop]:
        """The crops of an update: as many of every voice as of any other, as far as they go."""
        generator = np.random.default_rng([self._seed, step])
        config, n_voices = self._config, self.n_voices
        seconds = generator.uniform(*config.seconds)
        rounds = [generator.permutation(n_voices) for _ in range(-(-size // n_voices))]
        found = []
        for voice in np.concatenate(rounds)[:size].tolist():
            speaker, speed = voice % len(self.speakers), config.speeds[voice // len(self.speakers)]
            recording = int(generator.choice(self._recordings[speaker]))
            length = min(self._lengths[recording], round(seconds * speed * SAMPLE_RATE))
            start = int(generator.integers(self._lengths[recording] - length + 1))
            noise_db = float(generator.uniform(*config.noise_db))
            noisy = generator.random() < NOISY_SHARE
            seed = int(generator.integers(1 << 62))
            found.append(Crop(recording, start, length, speed, voice, noise_db if noisy else None, seed))
        return found

    def _make(self, step: int, size: int, here: World) -> Batch:
        crops = shard_slice(self.crops(step, size), here.rank, here.size)
        generators = [np.random.default_rng(crop.seed) for crop in crops]
        waveforms, lengths = pad([self._cut(*pair) for pair in zip(crops, generators, strict=True)])
        return Batch(waveforms, lengths, torch.tensor([crop.speaker for crop in crops]), generators)

    def _cut(self, crop: Crop, generator: np.random.Generator) -> torch.Tensor:
        waveform = self._waveform(crop.recording)[crop.start : crop.start + crop.length].float() / 32768
        ratio = Fraction(crop.speed).limit_denominator(FINEST_SPEED)
        waveform = io.resample(waveform, ratio.numerator, ratio.denominator)
        if crop.noise_db is None:
            return waveform
        noise = torch.from_numpy(generator.standard_normal(len(waveform), dtype=np.float32))
        return waveform + noise * waveform.square().mean().sqrt() * 10 ** (-crop.noise_db / 20)

    def _waveform(self, index: int) -> torch.Tensor:
        """A whole recording as int16, from memory where it fits."""
        found = self._cache.get(index)
        if found is None:
            manifest, utterance = self._sources[index]
            found = (manifest.load(utterance) * 32768).round().clamp(-32768, 32767).short()
            if self._cached_bytes + 2 * len(found) <= self._config.cache_gb * (1 << 30):
                self._cache[index] = found
                self._cached_bytes += 2 * len(found)
        return found


def _length(manifest: Manifest, utterance: Utterance) -> int:
    """Samples at 16 kHz, from the file's header; 0 where it cannot be read."""
    try:
        header = io.info(manifest.audio_path(utterance))
    except AudioError:
        return 0
    return header.n_samples * SAMPLE_RATE // header.sample_rate


def load_known(path: Path, min_seconds: float) -> tuple[list[torch.Tensor], list[str]]:
    """Waveforms and speakers of a manifest's usable recordings, for validation; says how many are left out.

    Raises:
        UserError: no speaker has two recordings, or there is only one speaker: nothing can be verified.
    """
    manifest = read_manifest(path)
    waveforms, speakers = [], []
    for utterance in manifest:
        waveform = load_or_skip(manifest, utterance) if utterance.speaker is not None else None
        if isinstance(waveform, torch.Tensor) and len(waveform) >= min_seconds * SAMPLE_RATE:
            waveforms.append(waveform)
            speakers.append(str(utterance.speaker))
    counts = Counter(speakers)
    if len(counts) < 2 or max(counts.values()) < 2:
        raise UserError(
            f"{path}: {len(waveforms)} usable recordings of {len(counts)} speakers; the equal error rate needs two "
            "speakers, and one of them with two recordings"
        )
    if len(waveforms) < len(manifest):
        say(f"{len(manifest) - len(waveforms)} recordings of {path} are unreadable, short or without speaker: left out")
    return waveforms, speakers
