"""Documents cut into pieces of at most `context` tokens, and the pieces packed in rows of `context`.

A row holds whole utterances where they fit (best-fit decreasing, Ding et al. 2024, "Fewer truncations improve language
modeling"): cutting a stream of utterances at every `context` tokens would take their beginning from half of them.
Only what is longer than `context` is cut, and its later pieces begin without a boundary, as the windows of scoring do.
"""

from dataclasses import dataclass, replace

import numba
import numpy as np


@dataclass(frozen=True)
class Packing:
    """Rows of pieces: the pieces of row r are `order[ends[r - 1] : ends[r]]`."""

    starts: np.ndarray  # (pieces,) place of the first token
    lengths: np.ndarray  # (pieces,) tokens
    order: np.ndarray  # (pieces,) piece numbers, row after row
    ends: np.ndarray  # (rows,) in `order`

    @property
    def n_rows(self) -> int:
        """Rows in all."""
        return len(self.ends)

    def pieces(self, row: int) -> np.ndarray:
        """Numbers of the pieces of a row."""
        return self.order[self.ends[row - 1] if row else 0 : self.ends[row]]

    def exchanged(self, random: np.random.Generator) -> "Packing":
        """The same rows, after pieces of equal length have traded places."""
        exchange = np.empty(len(self.lengths), dtype=np.int64)
        shuffled = np.lexsort((random.random(len(self.lengths)), self.lengths))
        exchange[np.argsort(self.lengths, kind="stable")] = shuffled
        return replace(self, order=exchange[self.order])


def pack(lengths: np.ndarray, context: int) -> Packing:
    """Pack documents of so many tokens `(documents,)`, which lie one after the other."""
    starts, pieces = cut(lengths, context)
    longest_first = np.argsort(-pieces, kind="stable")
    rows, n_rows = _best_fit(pieces[longest_first], context)
    by_row = np.argsort(rows, kind="stable")
    return Packing(starts, pieces, longest_first[by_row], np.cumsum(np.bincount(rows, minlength=n_rows)))


def cut(lengths: np.ndarray, context: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents of so many tokens → start and length of every piece `(pieces,)`."""
    counts = -(-lengths // context)
    document = np.repeat(np.arange(len(lengths)), counts)
    within = np.arange(len(document)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = (np.cumsum(lengths) - lengths)[document] + within * context
    return starts, np.minimum(context, lengths[document] - within * context)


@numba.njit(nogil=True, cache=True)
def _best_fit(lengths: np.ndarray, context: int) -> tuple[np.ndarray, int]:
    """Row of every piece `(pieces,)`, longest first: the fullest row that still has room for it, else a new one.

    Rows of equal room are a linked list, the newest first.
    """
    newest = np.full(context + 1, -1)  # row of each room
    older = np.empty(len(lengths), dtype=np.int64)  # next row of the same room
    rows = np.empty(len(lengths), dtype=np.int64)
    n_rows = 0
    for piece in range(len(lengths)):
        length = lengths[piece]
        room = length
        while room <= context and newest[room] < 0:
            room += 1
        if room > context:
            row, room = n_rows, context
            n_rows += 1
        else:
            row = newest[room]
            newest[room] = older[row]
        rows[piece] = row
        left = room - length
        if left > 0:
            older[row] = newest[left]
            newest[left] = row
    return rows, n_rows
