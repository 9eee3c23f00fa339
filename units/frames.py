"""The frames a codebook is fitted to: a uniform sample of a corpus, streamed or in memory, shared among processes.

Frames are read in pieces of bounded length, so that neither a large corpus nor a long recording needs more memory.
Which frames belong to the sample, to a batch or to a subset depends on the seed and never on the number of processes.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F

from textless import distributed
from textless.errors import UserError
from units.assign import block_size
from units.normalisation import SpeakerNormaliser

PIECE = 2048  # frames read at a time
SPREAD = 8  # a sample is drawn from pieces that hold so many times more frames

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class Piece:
    """Rows `start` to `stop` of the sampled rows of an utterance; the first has the number `number` in the whole."""

    utterance: str
    start: int
    stop: int
    number: int

    @property
    def numbers(self) -> np.ndarray:
        """Numbers in the whole of its rows."""
        return np.arange(self.number, self.number + self.stop - self.start)


class StoredFrames:
    """Frames that are read whenever they are asked for, so that memory holds one batch of them.

    Args:
        features: the corpus, `(T, D)` an utterance.
        max_frames: if it holds more, so many are drawn uniformly without replacement (the share of every utterance
            is multivariate hypergeometric). None: all.
        seed: of that draw.
        normaliser: speaker normalisation.
        spherical: scale every frame to unit length.
        device: where frames are delivered.
    """

    def __init__(
        self,
        features: Mapping[str, np.ndarray],
        max_frames: int | None = None,
        seed: int = 0,
        *,
        normaliser: SpeakerNormaliser | None = None,
        spherical: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self._features = features
        self._seed = seed
        self._normaliser = normaliser
        self._spherical = spherical
        ids = list(features)
        counts = np.array([len(features[i]) for i in ids], dtype=np.int64)
        self._sampled = False
        if max_frames is not None and counts.sum() > max_frames:
            self._sampled = True
            counts = np.random.default_rng(seed).multivariate_hypergeometric(counts, max_frames, method="marginals")
        self._place = dict(zip(ids, enumerate(counts.tolist()), strict=True))  # id -> index, sampled rows
        self.total = int(counts.sum())
        self.dim = features[ids[0]].shape[1] if ids else 0
        self.pieces: list[Piece] = []
        number = 0
        for utterance_id, (_, count) in self._place.items():
            for start in range(0, count, PIECE):
                self.pieces.append(Piece(utterance_id, start, min(start + PIECE, count), number + start))
            number += count

    def read(self, piece: Piece) -> torch.Tensor:
        """Frames `(n, D)` of a piece, float32.

        Raises:
            UserError: they hold NaN or infinite values, or have another dimension than the first utterance's.
        """
        stored = self._features[piece.utterance]
        if stored.shape[1] != self.dim:
            raise UserError(f"{piece.utterance!r} has {stored.shape[1]} dimensions, other utterances have {self.dim}")
        if self._sampled:
            index, count = self._place[piece.utterance]
            rows = np.sort(np.random.default_rng([self._seed, index]).choice(len(stored), count, replace=False))
            frames = np.asarray(stored[rows[piece.start : piece.stop]], dtype=np.float32)
        else:
            frames = np.array(stored[piece.start : piece.stop], dtype=np.float32)
        if not np.isfinite(frames.sum(dtype=np.float64)):
            raise UserError(
                f"the features of {piece.utterance!r} hold NaN or infinite values: encode the recording again, or take "
                "it out of the manifest"
            )
        if self._normaliser is not None:
            frames = self._normaliser.moments(piece.utterance, stored).normalise(frames)
        _release(stored)
        tensor = torch.from_numpy(frames).to(self.device)
        return F.normalize(tensor, dim=1) if self._spherical else tensor

    def sample(self, count: int, seed: Sequence[int]) -> torch.Tensor:
        """At most `count` frames `(n, D)` drawn uniformly from pieces drawn uniformly, the same on every process."""
        generator = np.random.default_rng(seed)
        pieces: list[Piece] = []
        held = 0
        for index in generator.permutation(len(self.pieces)):
            if held >= SPREAD * count:
                break
            pieces.append(self.pieces[index])
            held += pieces[-1].stop - pieces[-1].start
        rows = np.sort(generator.choice(held, min(count, held), replace=False))
        drawn = torch.zeros(len(rows), self.dim, device=self.device)
        place = np.cumsum([0] + [piece.stop - piece.start for piece in pieces])
        for index in mine(range(len(pieces))):
            first, last = np.searchsorted(rows, place[index : index + 2])
            drawn[first:last] = self.read(pieces[index])[torch.from_numpy(rows[first:last] - place[index])]
        return distributed.total(drawn)  # a row is zero on all processes but one

    def blocks(self) -> Iterator[torch.Tensor]:
        """All frames of this process, in blocks `(n, D)`."""
        return ahead(self.read, mine(self.pieces))

    def plan(self, size: int, seed: Sequence[int]) -> list[list[Piece]]:
        """All pieces, of all processes, in a random order, cut into batches of about `size` frames."""
        batches: list[list[Piece]] = []
        filled = size
        for index in np.random.default_rng(seed).permutation(len(self.pieces)):
            if filled >= size:
                batches.append([])
                filled = 0
            batches[-1].append(self.pieces[index])
            filled += self.pieces[index].stop - self.pieces[index].start
        return batches

    def batches(self, plan: Iterable[Sequence[Piece]]) -> Iterator[list[torch.Tensor]]:
        """This process's frames of every batch of a plan."""
        return ahead(lambda batch: [self.read(piece) for piece in mine(batch)], plan)


class LoadedFrames:
    """This process's share of stored frames, held in memory (the device's).

    The frames whose number in the whole is a multiple of `STRIDES[0]` come first, then those of `STRIDES[1]`, and so
    on: an even subset of the corpus is a slice.
    """

    STRIDES = (64, 16, 4, 1)

    def __init__(self, stored: StoredFrames) -> None:
        self.total, self.dim = stored.total, stored.dim
        pieces = mine(stored.pieces)
        levels = [self._levels(piece.numbers) for piece in pieces]
        sizes = sum((np.bincount(level, minlength=len(self.STRIDES)) for level in levels), np.zeros(1, dtype=int))
        self._ends = np.cumsum(sizes)
        filled = self._ends - sizes
        self._rows = torch.empty(int(self._ends[-1]), self.dim, device=stored.device)
        for level, frames in zip(levels, ahead(stored.read, pieces), strict=True):
            order = torch.from_numpy(np.argsort(level, kind="stable")).to(stored.device)
            parts = frames[order].split(np.bincount(level, minlength=len(self.STRIDES)).tolist())
            for index, part in enumerate(parts):
                self._rows[filled[index] : filled[index] + len(part)] = part
                filled[index] += len(part)

    def _levels(self, numbers: np.ndarray) -> np.ndarray:
        """For every frame, the index of the coarsest stride that its number is a multiple of."""
        return np.argmax([numbers % stride == 0 for stride in self.STRIDES], axis=0)

    def blocks(self, stride: int) -> Iterable[torch.Tensor]:
        """Every frame whose number is a multiple of a stride of `STRIDES`, in blocks `(n, D)`."""
        return self._rows[: self._ends[self.STRIDES.index(stride)]].split(block_size(self._rows.device))


def stream(features: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """All utterances with their features `(T, D)`, one after the other; none stays in memory."""
    for utterance_id, stored in features.items():
        yield utterance_id, stored
        _release(stored)


def mine(items: Sequence[T]) -> Sequence[T]:
    """This process's share."""
    if not torch.distributed.is_initialized():
        return items
    return items[torch.distributed.get_rank() :: torch.distributed.get_world_size()]


def ahead(read: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Yield `read(item)` for every item; the next is read by a thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[T]] = deque()
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _release(array: np.ndarray) -> None:
    """Give back the pages of a memory map, which would otherwise count as this process's memory for ever."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
