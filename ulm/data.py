"""Batches of packed utterances, in an order that depends on the seed and the step alone.

The documents of a large corpus are divided in chunks, which are packed once and for all. An epoch is a random order of
chunks; so many at a time make a block, which is read into memory and whose rows are shuffled. So a step of any epoch
can be found without going through those before it, memory holds one block however large the corpus is, and the rows of
an update come from places all over the corpus. A corpus of one block at most is one chunk.

The batch of an update is formed for all processes together and then sliced, so the world size changes nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from textless.distributed import World, shard_slice
from textless.errors import UserError
from ulm.packing import Packing, pack
from ulm.vocabulary import Vocabulary

IGNORED = -100  # the target of padding: what cross_entropy leaves out
CHUNK_TOKENS = 1 << 18
BLOCK_CHUNKS = 32
ALONE = World()


class Documents(Protocol):
    """Tokens of a corpus in one line, boundary between documents: `b 5 3 b 8 1 4 b`.

    The place of a document is that of the boundary before it; it takes one place more than it has units, and what it
    reads begins there, what it predicts one place later.
    """

    boundary: int
    n_documents: int
    n_tokens: int  # to predict: units and ends

    def places(self, first: int, last: int) -> np.ndarray:
        """Places `(last - first + 1,)` of documents `first` to `last`; the number of documents stands for the end."""
        ...

    def first_at(self, places: np.ndarray) -> np.ndarray:
        """The first document at each place, or after it."""
        ...

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tokens at the places `start..stop - 1`."""
        ...


class DocumentsInMemory:
    """Tokens `(M,)` of every utterance; empty ones are left out.

    Raises:
        UserError: there is none.
    """

    def __init__(self, sequences: Sequence[np.ndarray], vocabulary: Vocabulary) -> None:
        kept = [sequence for sequence in sequences if len(sequence)]
        if not kept:
            raise UserError("the units file holds no units: nothing to train or validate on")
        self.boundary = vocabulary.boundary
        self.n_documents = len(kept)
        self._places = np.cumsum([0, *(len(sequence) + 1 for sequence in kept)])
        self.n_tokens = int(self._places[-1])
        dtype = np.min_scalar_type(vocabulary.boundary)
        self._tokens = np.full(self.n_tokens + 1, self.boundary, dtype=dtype)
        for place, sequence in zip(self._places, kept, strict=False):
            self._tokens[place + 1 : place + 1 + len(sequence)] = sequence

    def places(self, first: int, last: int) -> np.ndarray:
        """See `Documents`."""
        return self._places[first : last + 1]

    def first_at(self, places: np.ndarray) -> np.ndarray:
        """See `Documents`."""
        return np.searchsorted(self._places, places)

    def read(self, start: int, stop: int) -> np.ndarray:
        """See `Documents`."""
        return self._tokens[start:stop]


@dataclass(frozen=True)
class Batch:
    """Rows of packed utterances, `(B, T)` each."""

    tokens: torch.Tensor
    targets: torch.Tensor  # the next token; IGNORED on padding
    documents: torch.Tensor  # number of the utterance within its row; -1 on padding
    n_targets: int  # tokens to predict, in the rows of all processes

    def rows(self, start: int, stop: int, device: torch.device) -> "Batch":
        """Rows `start..stop` on a device."""
        fields = (self.tokens, self.targets, self.documents)
        tokens, targets, documents = (field[start:stop].to(device, non_blocking=True) for field in fields)
        return Batch(tokens, targets, documents, self.n_targets)


class PackedUnits:
    """Every utterance once an epoch, in rows of `context` tokens, shuffled by seed and epoch.

    Args:
        documents: the corpus.
        context: tokens a row.
    """

    def __init__(self, documents: Documents, context: int) -> None:
        self.documents, self.context = documents, context
        edges = np.array([0, documents.n_documents])
        if documents.n_tokens > CHUNK_TOKENS * BLOCK_CHUNKS:
            every = np.arange(0, documents.n_tokens, CHUNK_TOKENS)
            edges = np.unique(np.append(documents.first_at(every), documents.n_documents))
        self._edges = edges  # documents at which chunks begin, and the end
        self._chunk_rows = np.array([self._packing(chunk)[1].n_rows for chunk in range(len(edges) - 1)])
        self._epoch: tuple[tuple[int, int], np.ndarray, np.ndarray] | None = None
        self._block: tuple[tuple[int, int, int], _Block] | None = None

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return int(self._chunk_rows.sum())

    def batch(self, step: int, n_rows: int, seed: int, here: World = ALONE) -> Batch:
        """This process's rows of update `step` (from 0): a walk through epoch after epoch, `n_rows` at a time."""
        walk = range(step * n_rows, (step + 1) * n_rows)
        return self._stack([self._row(seed, *divmod(index, self.n_rows)) for index in walk], here)

    def in_order(self, n_rows: int, here: World = ALONE) -> Iterator[Batch]:
        """Every row once, for validation, `n_rows` at a time over all processes."""
        for chunk, chunk_rows in enumerate(self._chunk_rows.tolist()):
            block = _Block([self._read(chunk)])
            for start in range(0, chunk_rows, n_rows):
                yield self._stack([block.row(row) for row in range(start, min(start + n_rows, chunk_rows))], here)

    def _row(self, seed: int, epoch: int, index: int) -> list[np.ndarray]:
        """Row `index` of an epoch, see `_Block.row`."""
        order, ends = self._plan(seed, epoch)
        number = int(np.searchsorted(ends, index, side="right"))
        if self._block is None or self._block[0] != (seed, epoch, number):
            self._block = None  # before the next one is read: memory holds one
            random = np.random.default_rng([seed, epoch, number])
            chosen = order[number * BLOCK_CHUNKS : (number + 1) * BLOCK_CHUNKS]
            self._block = (seed, epoch, number), _Block([self._read(chunk, random) for chunk in chosen], random)
        return self._block[1].row(index - (int(ends[number - 1]) if number else 0))

    def _plan(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the chunks in an epoch, and the rows up to the end of each of its blocks."""
        if self._epoch is None or self._epoch[0] != (seed, epoch):
            order = np.random.default_rng([seed, epoch]).permutation(len(self._chunk_rows))
            rows = np.add.reduceat(self._chunk_rows[order], np.arange(0, len(order), BLOCK_CHUNKS))
            self._epoch = (seed, epoch), order, np.cumsum(rows)
        return self._epoch[1:]

    def _packing(self, chunk: int) -> tuple[np.ndarray, Packing]:
        """Places of the documents of a chunk, and the rows they are packed in."""
        places = self.documents.places(*self._edges[chunk : chunk + 2].tolist())
        return places, pack(np.diff(places), self.context)

    def _read(self, chunk: int, random: np.random.Generator | None = None) -> tuple[np.ndarray, Packing]:
        """Tokens and rows of a chunk; with `random`, pieces of equal length trade places."""
        places, packing = self._packing(chunk)
        return self.documents.read(int(places[0]), int(places[-1]) + 1), packing.exchanged(
            random
        ) if random else packing

    def _stack(self, rows: list[list[np.ndarray]], here: World) -> Batch:
        """The rows of this process; those with fewer get one of padding, so that all take part in every exchange."""
        mine = shard_slice(rows, here.rank, here.size)
        shape = (-(-len(rows) // here.size), self.context)
        tokens = np.full(shape, self.documents.boundary, dtype=np.int64)
        targets = np.full(shape, IGNORED, dtype=np.int64)
        documents = np.full(shape, -1, dtype=np.int64)
        for row, pieces in enumerate(mine):
            place = 0
            for number, piece in enumerate(pieces):
                stop = place + len(piece) - 1
                tokens[row, place:stop], targets[row, place:stop] = piece[:-1], piece[1:]
                documents[row, place:stop] = number
                place = stop
        n_targets = sum(len(piece) - 1 for pieces in rows for piece in pieces)
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(documents), n_targets)


class _Block:
    """Some chunks in memory, and their rows together; with `random`, shuffled."""

    def __init__(self, chunks: list[tuple[np.ndarray, Packing]], random: np.random.Generator | None = None) -> None:
        self._chunks = chunks
        number = np.repeat(np.arange(len(chunks)), [packing.n_rows for _, packing in chunks])
        within = np.concatenate([np.arange(packing.n_rows) for _, packing in chunks])
        self._rows = np.stack([number, within], axis=1)  # (rows, 2)
        if random:
            random.shuffle(self._rows)

    def row(self, index: int) -> list[np.ndarray]:
        """Pieces of a row, each `(n + 1,)` tokens: all but the last are read, all but the first predicted."""
        chunk, row = self._rows[index]
        tokens, packing = self._chunks[chunk]
        pieces = packing.pieces(row)
        return [
            tokens[start : start + length + 1]
            for start, length in zip(packing.starts[pieces].tolist(), packing.lengths[pieces].tolist(), strict=True)
        ]
