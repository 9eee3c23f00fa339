"""Utterances packed in rows of `context` tokens, in an order that depends on the seed and the step alone.

A row holds whole utterances where they fit (best-fit decreasing, Ding et al. 2024, "Fewer truncations improve language
modeling"): cutting a stream of utterances at every `context` tokens would take their beginning from half of them.
Only what is longer than `context` is cut, and its later pieces begin without a boundary, as the windows of scoring do.

The batch of an update is formed for all processes together and then sliced, so the world size changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textless.errors import UserError
from ulm.vocabulary import Vocabulary

IGNORED = -100  # the target of padding: what cross_entropy leaves out


@dataclass(frozen=True)
class Batch:
    """Rows of packed utterances, `(B, T)` each."""

    tokens: torch.Tensor
    targets: torch.Tensor  # the next token; IGNORED on padding
    documents: torch.Tensor  # number of the utterance within its row; -1 on padding

    def rows(self, start: int, stop: int, device: torch.device) -> "Batch":
        """Rows `start..stop` on a device."""
        fields = (self.tokens, self.targets, self.documents)
        return Batch(*(field[start:stop].to(device, non_blocking=True) for field in fields))

    @property
    def n_targets(self) -> int:
        """Tokens to predict."""
        return int((self.targets != IGNORED).sum())


class PackedUnits:
    """Every utterance once an epoch, in rows of `context` tokens, shuffled by seed and epoch.

    Args:
        sequences: units `(N,)` of every utterance.
        vocabulary: adds the boundaries.
        context: tokens a row.

    Raises:
        UserError: no utterance holds a unit.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], vocabulary: Vocabulary, context: int) -> None:
        documents = [vocabulary.document(sequence) for sequence in sequences if len(sequence)]
        if not documents:
            raise UserError("the units file holds no units: nothing to train or validate on")
        self.context, self.boundary = context, vocabulary.boundary
        self._tokens = np.concatenate(documents)
        self._pieces = _cut(np.array([len(document) for document in documents]), context)
        self._rows = _pack(self._pieces[:, 1], context)
        self._epoch: tuple[tuple[int, int], list[np.ndarray]] | None = None

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return len(self._rows)

    def batch(self, step: int, n_rows: int, seed: int) -> Batch:
        """The rows of update `step` (from 0): a walk through epoch after epoch, `n_rows` at a time."""
        walk = range(step * n_rows, (step + 1) * n_rows)
        return self._stack([self._shuffled(seed, index // self.n_rows)[index % self.n_rows] for index in walk])

    def in_order(self, n_rows: int) -> list[Batch]:
        """Every row once, for validation."""
        starts = range(0, self.n_rows, n_rows)
        return [self._stack(self._rows[start : start + n_rows]) for start in starts]

    def _shuffled(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Rows of an epoch: pieces of equal length trade places, then the rows are shuffled."""
        if self._epoch is None or self._epoch[0] != (seed, epoch):
            random = np.random.default_rng([seed, epoch])
            lengths = self._pieces[:, 1]
            exchange = np.empty(len(lengths), dtype=np.int64)
            exchange[np.argsort(lengths, kind="stable")] = np.lexsort((random.random(len(lengths)), lengths))
            order = random.permutation(self.n_rows)
            self._epoch = (seed, epoch), [exchange[self._rows[row]] for row in order]
        return self._epoch[1]

    def _stack(self, rows: Sequence[np.ndarray]) -> Batch:
        shape = (len(rows), self.context)
        tokens = np.full(shape, self.boundary, dtype=np.int64)
        targets = np.full(shape, IGNORED, dtype=np.int64)
        documents = np.full(shape, -1, dtype=np.int64)
        for row, pieces in enumerate(rows):
            place = 0
            for number, piece in enumerate(pieces):
                start, length = self._pieces[piece]
                tokens[row, place : place + length] = self._tokens[start : start + length]
                targets[row, place : place + length] = self._tokens[start + 1 : start + 1 + length]
                documents[row, place : place + length] = number
                place += length
        return Batch(torch.from_numpy(tokens), torch.from_numpy(targets), torch.from_numpy(documents))


def _cut(lengths: np.ndarray, context: int) -> np.ndarray:
    """Documents of so many tokens, one after the other → `(pieces, 2)`: first input token, number of inputs.

    A document of n tokens has n - 1 inputs (the last is only predicted); pieces are at most `context` inputs long.
    """
    inputs = lengths - 1
    counts = -(-inputs // context)
    document = np.repeat(np.arange(len(lengths)), counts)
    within = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = (np.cumsum(lengths) - lengths)[document] + within * context
    return np.stack([starts, np.minimum(context, inputs[document] - within * context)], axis=1)


def _pack(lengths: np.ndarray, context: int) -> list[np.ndarray]:
    """Best-fit decreasing: the longest piece first, each into the fullest row that still has room for it.

    The rooms that some row has left are the bits of one integer, so the best fit is its lowest bit from `length` up.
    """
    rows: list[list[int]] = []
    open_rows: dict[int, list[int]] = {}  # room left -> rows
    rooms = 0
    for piece in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[piece])
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                rooms &= ~(1 << room)
            rows[row].append(piece)
        else:
            row, room = len(rows), context
            rows.append([piece])
        if room > length:
            open_rows.setdefault(room - length, []).append(row)
            rooms |= 1 << (room - length)
    return [np.array(row, dtype=np.int64) for row in rows]
