"""Crops of utterances with their labels, in an order that depends on the seed and the step alone.

Every epoch walks through the whole corpus: an utterance longer than the crop gives as many crops as its length asks
for, spread over it at places that move from epoch to epoch.
Crops of similar length share a batch. The batch of an update is formed for all
processes together and then sliced, and a resumed run finds its place by the step.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from textless.audio import io
from textless.audio.batches import bucket, pad
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Skipped, Utterance, load_or_skip
from textless.config import Config
from textless.distributed import World, shard_slice
from textless.errors import AudioError, UserError
from textless.pretraining.objective import Batch
from textless.progress import say
from textless.training.seeds import mixed_seed

READ_AHEAD = 2  # batches
NO_LABEL = -1
LABEL_SLACK = 0.05  # seconds by which labels may end before or after the audio


class CropConfig(Config):
    """How utterances are cut and batched."""

    seconds: float = Field(default=15.6, gt=0)  # longest crop
    batch_seconds: float = Field(default=87.5, gt=0)  # of an update, over all processes
    min_seconds: float = Field(default=0.5, gt=0)  # shorter recordings are left out
    cache_gb: float = Field(default=4.0, ge=0)  # decoded recordings kept in memory, a process


@dataclass(frozen=True)
class Targets:
    """Labels for predictive objectives: of every utterance, integers in 0..k-1 at `frame_rate` Hz."""

    labels: Mapping[str, np.ndarray]
    k: int
    frame_rate: float
    source: str  # for messages


@dataclass(frozen=True)
class Crop:
    """A stretch of an utterance, in samples at 16 kHz."""

    utterance: int
    start: int
    length: int


class Crops:
    """Batches of crops.

    Args:
        manifest: the corpus.
        targets: label sets; every utterance that is used must be in each.
        config: sizes.
        grid: samples that starts of crops are multiples of (a whole number of frames of encoder and labels).
        seed: of the order.

    Raises:
        UserError: labels are missing or are not as long as the audio, or no utterance is long enough.
    """

    def __init__(
        self, manifest: Manifest, targets: Sequence[Targets], config: CropConfig, grid: int, seed: int
    ) -> None:
        self._manifest, self._targets, self._config, self._grid, self._seed = manifest, targets, config, grid, seed
        shortest = config.min_seconds * SAMPLE_RATE
        with ThreadPoolExecutor() as pool:
            lengths = list(pool.map(lambda u: _length(manifest, u), manifest))
        used = [(u, n) for u, n in zip(manifest, lengths, strict=True) if n >= shortest]
        if not used:
            raise UserError(f"no recording of the manifest lasts {config.min_seconds} s or longer: nothing to train on")
        if len(used) < len(manifest):
            say(f"{len(manifest) - len(used)} recordings are unreadable or under {config.min_seconds} s: left out")
        self._utterances, self._lengths = [u for u, _ in used], [n for _, n in used]
        for target in targets:
            _check_labels(self._utterances, self._lengths, target)
        speakers = {speaker: index for index, speaker in enumerate(dict.fromkeys(u.voice for u in self._utterances))}
        self._speakers = [speakers[u.voice] for u in self._utterances]
        self._crop = max(grid, int(config.seconds * SAMPLE_RATE) // grid * grid)
        self._cache: dict[int, torch.Tensor] = {}
        self._cached_bytes = 0
        self._epoch: tuple[int, list[list[Crop]]] | None = None
        self._pool = ThreadPoolExecutor(READ_AHEAD)
        self._ahead: dict[tuple[int, World], Future[list[tuple[Crop, torch.Tensor]]]] = {}
        self.skipped: set[str] = set()
        self.n_batches = len(self._batches(0))

    @property
    def hours(self) -> float:
        """Audio in the corpus."""
        return sum(self._lengths) / SAMPLE_RATE / 3600

    def batch(self, step: int, here: World) -> Batch:
        """This process's share of the crops of update `step` (from 0); the next ones are read meanwhile."""
        for later in range(step, step + READ_AHEAD + 1):
            if (later, here) not in self._ahead:
                self._ahead[later, here] = self._pool.submit(self._read, later, here)
        rows = self._ahead.pop((step, here)).result()
        if not rows and not self.skipped:
            raise UserError(
                f"an update of {self._config.batch_seconds} s has fewer crops than there are processes ({here.size}): "
                "raise data.batch_seconds or lower data.seconds"
            )
        if not rows:
            raise UserError(f"none of the recordings of step {step} can be read; first: {next(iter(self.skipped), '')}")
        waveforms, lengths = pad([waveform for _, waveform in rows])
        labels = tuple(self._cut_labels(target, [crop for crop, _ in rows]) for target in self._targets)
        speakers = torch.tensor([self._speakers[crop.utterance] for crop, _ in rows])
        generator = torch.Generator().manual_seed(mixed_seed(self._seed, step, here.rank))
        return Batch(waveforms, lengths, speakers, labels, generator)

    def _read(self, step: int, here: World) -> list[tuple[Crop, torch.Tensor]]:
        epoch, index = divmod(step, self.n_batches) if step else (0, 0)
        crops = shard_slice(self._batches(epoch)[index], here.rank, here.size)
        rows = ((crop, self._waveform(crop.utterance)) for crop in crops)
        return [(crop, w[crop.start : crop.start + crop.length].float() / 32768) for crop, w in rows if w is not None]

    def _waveform(self, index: int) -> torch.Tensor | None:
        """A whole recording as int16, from memory where it fits."""
        found = self._cache.get(index)
        if found is None:
            utterance = self._utterances[index]
            loaded = load_or_skip(self._manifest, utterance)
            if isinstance(loaded, Skipped):
                self.skipped.add(f"{loaded.path}: {loaded.reason}")
                return None
            found = (loaded * 32768).round().clamp(-32768, 32767).short()
            if self._cached_bytes + 2 * len(found) <= self._config.cache_gb * (1 << 30):
                self._cache[index] = found
                self._cached_bytes += 2 * len(found)
        return found

    def _batches(self, epoch: int) -> list[list[Crop]]:
        if self._epoch is None or self._epoch[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            crops = [c for i, n in enumerate(self._lengths) for c in self._spread(i, n, generator)]
            most = int(self._config.batch_seconds * SAMPLE_RATE)
            batches = bucket([c.length for c in crops], most, seed=int(generator.integers(1 << 62)))
            self._epoch = epoch, [[crops[i] for i in batch] for batch in batches]
        return self._epoch[1]

    def _spread(self, utterance: int, n_samples: int, generator: np.random.Generator) -> list[Crop]:
        """Crops of an utterance: as many as could cover it, each at random in its own share of the possible places."""
        if n_samples <= self._crop:
            return [Crop(utterance, 0, n_samples)]
        count = -(-n_samples // self._crop)
        room = n_samples - self._crop
        places = (np.arange(count) + generator.random(count)) / count * room
        return [Crop(utterance, int(place) // self._grid * self._grid, self._crop) for place in places]

    def _cut_labels(self, target: Targets, crops: Sequence[Crop]) -> torch.Tensor:
        """Labels `(B, T)` of crops, -1 where an utterance's labels end before its audio."""
        hop = SAMPLE_RATE / target.frame_rate
        longest = max(crop.length for crop in crops)
        cut = np.full((len(crops), int(longest / hop)), NO_LABEL, dtype=np.int64)
        for row, crop in enumerate(crops):
            labels = target.labels[self._utterances[crop.utterance].id]
            first = round(crop.start / hop)
            piece = labels[first : first + int(crop.length / hop)]
            cut[row, : len(piece)] = piece
        return torch.from_numpy(cut)


def _length(manifest: Manifest, utterance: Utterance) -> int:
    """Samples at 16 kHz, from the file's header; 0 where it cannot be read."""
    try:
        header = io.info(manifest.audio_path(utterance))
    except AudioError:
        return 0
    return header.n_samples * SAMPLE_RATE // header.sample_rate


def _check_labels(utterances: Sequence[Utterance], lengths: Sequence[int], target: Targets) -> None:
    missing = [u.id for u in utterances if u.id not in target.labels]
    if missing:
        raise UserError(
            f"{target.source} has no labels for {len(missing)} utterances of the manifest, first {missing[0]!r}"
        )
    for utterance, n_samples in zip(utterances, lengths, strict=True):
        labels = target.labels[utterance.id]
        expected = n_samples * target.frame_rate / SAMPLE_RATE
        if abs(len(labels) - expected) > LABEL_SLACK * target.frame_rate + 1:
            raise UserError(
                f"{target.source}: {utterance.id!r} has {len(labels)} labels, but its audio lasts {expected:.0f}: "
                "the units are of other recordings, or of another frame rate"
            )
        if len(labels) and int(labels.max()) >= target.k:
            raise UserError(f"{target.source}: {utterance.id!r} has the label {labels.max()}, but K is {target.k}")
