"""k-means on frames in memory or streamed, on one process or many.

    lloyd      Lloyd's algorithm in memory. It begins on an even subset of the frames and goes on to larger ones, since
               the codes of a subset are nearly those of the whole (Newling & Fleuret 2016, nested mini-batches).
    minibatch  every code is the mean of the frames it has seen (Sculley 2010, "Web-scale k-means clustering"), half of
               them forgotten after every pass; for corpora that do not fit into memory.

Sums over frames are added over all processes, in float64, so that their number does not show. A code without frames
takes half of the code with the largest inertia. Fitting stops when the inertia improves no more; the codebook that
comes out is the one whose inertia was measured, on all frames.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from textless import distributed
from textless.errors import UserError
from units.assign import NearestCode, block_size
from units.config import KMeansConfig
from units.frames import LoadedFrames, StoredFrames
from units.seeding import seed_codebook

FRAMES_PER_CODE = 64  # in a subset, at least
SEEDING_FRAMES, SEEDING_FRAMES_PER_CODE = 1 << 14, 32  # the larger number is looked at for seeding
SUBSET_TOLERANCE = 10  # times the tolerance: how well a subset is fitted
ROUND = 64  # mini-batches, at most, between two looks at the inertia
PATIENCE = 2  # rounds without improvement
REMEMBERED = 0.5  # of the frames a code has seen, after a pass of mini-batches
NUDGE = 1e-2  # of a code's root mean squared distance: how far its halves are moved apart


@dataclass(frozen=True)
class KMeansResult:
    """A codebook `(K, D)`, float32, and how it came about.

    `inertia` is the mean squared distance a frame, `empty` how many codes no frame uses, `reassigned` how often a code
    without frames was put elsewhere, `steps` how often the codes were moved, `frames` how many were clustered.
    """

    codebook: np.ndarray
    inertia: float
    empty: int
    reassigned: int
    steps: int
    frames: int


@dataclass
class Progress:
    """Where a fit stands: everything that a stopped one needs to go on."""

    restart: int = 0
    stage: int = 0  # Lloyd: which subset; mini-batch: which pass
    step: int = 0  # Lloyd: iterations on it; mini-batch: batches of the pass
    steps: int = 0  # since the seeding
    rounds: int = 0  # iterations, or rounds of mini-batches, of all restarts
    reassigned: int = 0
    stale: int = 0  # rounds without improvement
    inertia: float = math.inf  # to improve on
    codebook: torch.Tensor | None = None
    seen: torch.Tensor | None = None  # (K,) frames behind each code, in mini-batches
    best: dict[str, Any] | None = None  # fields of the best KMeansResult so far

    def state_dict(self) -> dict[str, Any]:
        """All fields."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put all fields back."""
        vars(self).update(state)


@dataclass(frozen=True)
class Partition:
    """What the frames nearest to each code add up to, float64: sums `(K, D)`, counts and squared distances `(K,)`."""

    sums: torch.Tensor
    counts: torch.Tensor
    distances: torch.Tensor

    @classmethod
    def of_nothing(cls, codebook: torch.Tensor) -> "Partition":
        """No frames at all."""
        zeros = torch.zeros(len(codebook), dtype=torch.float64, device=codebook.device)
        return cls(torch.zeros_like(codebook, dtype=torch.float64), zeros, zeros)

    def __add__(self, other: "Partition") -> "Partition":
        return Partition(*(getattr(self, name) + value for name, value in vars(other).items()))

    @property
    def inertia(self) -> float:
        """Mean squared distance a frame."""
        return float(self.distances.sum() / self.counts.sum())

    @property
    def empty(self) -> torch.Tensor:
        """Indices of the codes without frames."""
        return (self.counts == 0).nonzero()[:, 0]


def fit_kmeans(
    stored: StoredFrames,
    config: KMeansConfig,
    *,
    progress: Progress | None = None,
    stopped: Callable[[Progress, float], bool] = lambda *_: False,
) -> KMeansResult | None:
    """Cluster frames; the best of `config.restarts` runs.

    Args:
        stored: the frames, all of which are used.
        config: how.
        progress: where to begin; it moves on with the fit.
        stopped: told the progress and the inertia after every step; fitting ends there if it says so.

    Returns:
        The codebook, or None if fitting was stopped.

    Raises:
        UserError: there are fewer distinct frames than codes, or frames that are not finite.
    """
    if stored.total == 0:
        raise UserError("there are no frames to cluster")
    progress = progress or Progress()
    loaded = LoadedFrames(stored) if config.method == "lloyd" else None
    while progress.restart < config.restarts:
        codebook = _seed(stored, config, progress.restart) if progress.codebook is None else progress.codebook
        progress.codebook = codebook.to(stored.device)
        steps = lloyd(loaded, config, progress) if loaded is not None else minibatch(stored, config, progress)
        for inertia in steps:
            progress.rounds += 1
            if stopped(progress, inertia):
                return None
        following = Progress(restart=progress.restart + 1, rounds=progress.rounds, best=progress.best)
        progress.load_state_dict(vars(following))
    assert progress.best is not None
    return KMeansResult(**{**progress.best, "codebook": progress.best["codebook"].cpu().numpy()})


def _seed(stored: StoredFrames, config: KMeansConfig, restart: int) -> torch.Tensor:
    frames = stored.sample(max(SEEDING_FRAMES, SEEDING_FRAMES_PER_CODE * config.k), [config.seed, restart, 0])
    return seed_codebook(frames, config.k, config.seeding, np.random.default_rng([config.seed, restart, 1]))


def lloyd(frames: LoadedFrames, config: KMeansConfig, progress: Progress) -> Iterator[float]:
    """Lloyd's algorithm on growing subsets; yields the inertia after every iteration."""
    strides = [s for s in frames.STRIDES if s == 1 or frames.total // s >= FRAMES_PER_CODE * config.k]
    while True:
        assert progress.codebook is not None
        last_stage = progress.stage == len(strides) - 1
        partition = divide(frames.blocks(strides[progress.stage]), progress.codebook)
        tolerance = config.tolerance * (1 if last_stage else SUBSET_TOLERANCE)
        improves = progress.inertia - partition.inertia > tolerance * partition.inertia
        done = progress.step == config.iterations or not (improves or len(partition.empty))
        if done and last_stage:
            _finish(progress, partition)
            return
        _move(progress, partition)
        _settle(progress, config, partition)
        if done:
            progress.stage, progress.step, progress.inertia = progress.stage + 1, 0, math.inf
        else:
            progress.step, progress.inertia = progress.step + 1, partition.inertia
        yield partition.inertia


def minibatch(frames: StoredFrames, config: KMeansConfig, progress: Progress) -> Iterator[float]:
    """Mini-batches, in another random order every pass; yields the inertia of every round of them."""
    assert progress.codebook is not None
    seen = torch.zeros(config.k, dtype=torch.float64) if progress.seen is None else progress.seen
    progress.seen = seen.to(frames.device)
    while progress.stage < config.iterations and progress.stale < PATIENCE:
        plan = frames.plan(config.batch_frames, [config.seed, progress.restart, 2, progress.stage])
        size = math.ceil(len(plan) / math.ceil(len(plan) / ROUND))  # rounds of a pass are equally long
        batches = plan[progress.step : progress.step + size]
        heard = Partition.of_nothing(progress.codebook)
        for batch in frames.batches(batches):
            partition = divide(batch, progress.codebook)
            _move(progress, partition)
            heard += partition
        _settle(progress, config, heard)
        progress.step += len(batches)
        if progress.step == len(plan):
            progress.stage, progress.step = progress.stage + 1, 0
            progress.seen *= REMEMBERED
        if heard.inertia < (1 - config.tolerance) * progress.inertia:
            progress.stale, progress.inertia = 0, heard.inertia
        else:
            progress.stale += 1
        yield heard.inertia
    _finish(progress, divide(frames.blocks(), progress.codebook))


def divide(frames: Iterable[torch.Tensor], codebook: torch.Tensor) -> Partition:
    """Give every frame of the blocks `(n, D)`, of all processes, to its nearest code `(K, D)`."""
    nearest, device = NearestCode(codebook), codebook.device
    # A CPU adds the frames of a block in order; CUDA does not, and float64 hides it.
    within = torch.float64 if device.type == "cuda" else torch.float32
    sums = torch.zeros_like(codebook, dtype=torch.float64)
    counts, distances = (torch.zeros(len(codebook), dtype=torch.float64, device=device) for _ in range(2))
    for piece in frames:
        for block in piece.split(block_size(device)):
            labels, scores = nearest.approximate(block)
            sums += torch.zeros_like(codebook, dtype=within).index_add_(0, labels, block.to(within))
            counts += torch.bincount(labels, minlength=len(codebook))
            squared = (scores + torch.linalg.vector_norm(block, dim=1).square()).clamp_min(0)
            distances.index_add_(0, labels, squared.double())
    return Partition(distributed.total(sums), distributed.total(counts), distributed.total(distances))


def _move(progress: Progress, partition: Partition) -> None:
    """Move codes to the means of the partition's frames, and of those that they have seen before."""
    assert progress.codebook is not None
    weight = partition.counts
    if progress.seen is not None:
        progress.seen = weight = progress.seen + partition.counts
    change = partition.sums - partition.counts[:, None] * progress.codebook
    progress.codebook = (progress.codebook + change / weight.clamp_min(1)[:, None]).float()
    progress.steps += 1


def _settle(progress: Progress, config: KMeansConfig, partition: Partition) -> None:
    """Give codes without frames half of the widest codes, and put all on the sphere where they belong there."""
    assert progress.codebook is not None
    codebook, empty = progress.codebook, partition.empty
    if len(empty):
        filled = config.k - len(empty)
        order = partition.distances.argsort(descending=True, stable=True)[:filled]
        widest = order[torch.arange(len(empty), device=order.device) % filled]
        generator = np.random.default_rng([config.seed, progress.restart, 3, progress.steps])
        direction = torch.from_numpy(generator.standard_normal((len(empty), codebook.shape[1]))).to(codebook.device)
        width = (partition.distances[widest] / partition.counts[widest]).sqrt()[:, None]
        apart = (NUDGE * width * F.normalize(direction, dim=1)).float()
        codebook[empty] = codebook[widest] + apart
        codebook[widest] -= apart
        if progress.seen is not None:
            progress.seen[widest] /= 2
            progress.seen[empty] = progress.seen[widest]
        progress.reassigned += len(empty)
    progress.codebook = F.normalize(codebook, dim=1) if config.spherical else codebook


def _finish(progress: Progress, partition: Partition) -> None:
    """Keep the codebook if it is the best so far."""
    if progress.best is None or partition.inertia < progress.best["inertia"]:
        progress.best = {
            "codebook": progress.codebook,
            "inertia": partition.inertia,
            "empty": len(partition.empty),
            "reassigned": progress.reassigned,
            "steps": progress.steps,
            "frames": int(partition.counts.sum()),
        }
