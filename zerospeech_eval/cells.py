"""Cells of an ABX task between two blocks of tokens: who meets whom, and how often A is nearer to X than B.

Tokens are named by their places in the plan. Rows of a matrix of distances are the places from `row_0` on, and X; its
columns are those from `column_0` on, and A and B.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from zerospeech_eval.plan import Buckets


@dataclass(frozen=True)
class Cells:
    """Counts of cells.

    Shape:
        roles: `(cells, 3)` int32: the buckets of a, b and x.
        counts: `(cells, 2)` int64: twice the triplets with d(x, a) < d(x, b) plus the ties; and all triplets.
    """

    roles: np.ndarray
    counts: np.ndarray

    @property
    def nbytes(self) -> int:
        """Memory taken."""
        return int(self.roles.nbytes + self.counts.nbytes)


def join_cells(parts: list[Cells]) -> Cells:
    """Put cells together, in the order of their buckets; counts of one cell in several parts add up."""
    roles = np.concatenate([np.zeros((0, 3), dtype=np.int32), *(part.roles for part in parts)])
    counts = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(part.counts for part in parts)])
    n = int(roles.max(initial=0)) + 1
    keys = (roles[:, 0] * np.int64(n) + roles[:, 1]) * n + roles[:, 2]  # n³ < 2⁶³ for two million buckets
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    if len(starts) == len(roles):
        return Cells(roles[order], counts[order])
    return Cells(roles[order][starts], np.add.reduceat(counts[order], starts, axis=0))


def find_meetings(buckets: Buckets, x_block: int, ab_block: int) -> np.ndarray:
    """Buckets (a, x) that some cell needs, `(n, 2)`, with x in one block and a in another."""
    b, edges = buckets, buckets.of_block
    x, ab = (edges[x_block], edges[x_block + 1]), (edges[ab_block], edges[ab_block + 1])
    return _find_meetings(b.partners, b.first_x, b.last_x, b.sides, *x, *ab)


@njit(cache=True, nogil=True)
def _find_meetings(
    partners: np.ndarray,
    first_x: np.ndarray,
    last_x: np.ndarray,
    sides: np.ndarray,
    x_from: int,
    x_to: int,
    ab_from: int,
    ab_to: int,
) -> np.ndarray:
    found = np.empty((16, 2), dtype=np.int64)
    count = 0
    for a in range(ab_from, ab_to):
        candidates = partners[first_x[a] : last_x[a]]
        for x in candidates[np.searchsorted(candidates, x_from) : np.searchsorted(candidates, x_to)]:
            if not (sides[a] != sides[x]).all():
                continue
            if count == len(found):
                larger = np.empty((2 * count, 2), dtype=np.int64)
                larger[:count] = found
                found = larger
            found[count, 0], found[count, 1] = a, x
            count += 1
    return found[:count]


def mark_pairs(buckets: Buckets, meetings: np.ndarray, row_0: int, column_0: int, wanted: np.ndarray) -> None:
    """Set `wanted[x, y]` where some cell compares x with y; `wanted` covers rows from `row_0` on, and columns."""
    _mark_pairs(meetings, buckets.bounds, buckets.places, buckets.first, buckets.last, row_0, column_0, wanted)


@njit(cache=True, nogil=True)
def _mark_pairs(
    meetings: np.ndarray,
    bounds: np.ndarray,
    places: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    row_0: int,
    column_0: int,
    wanted: np.ndarray,
) -> None:
    for a, x in meetings:
        columns = places[bounds[first[a]] : bounds[last[a]]]
        for row in places[bounds[x] : bounds[x + 1]]:
            if row_0 <= row < row_0 + len(wanted):
                for column in columns:
                    wanted[row - row_0, column - column_0] = True


def count_triplets(buckets: Buckets, meetings: np.ndarray, row_0: int, column_0: int, distances: np.ndarray) -> Cells:
    """Wins and triplets of the cells of all meetings, as far as X lies in the rows of `distances`."""
    roles, counts = _count_triplets(
        meetings, buckets.bounds, buckets.places, buckets.first, buckets.last, row_0, column_0, distances
    )
    return Cells(roles, counts)


@njit(cache=True, nogil=True)
def _count_triplets(
    meetings: np.ndarray,
    bounds: np.ndarray,
    places: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    row_0: int,
    column_0: int,
    distances: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    total = 0
    for a, _ in meetings:
        total += last[a] - first[a] - 1
    roles = np.empty((total, 3), dtype=np.int32)
    counts = np.zeros((total, 2), dtype=np.int64)
    values = np.empty(distances.shape[1])
    end = 0
    for a, x in meetings:
        begin = end
        for b in range(first[a], last[a]):
            if b != a:
                roles[end, 0], roles[end, 1], roles[end, 2] = a, b, x
                end += 1
        for row in places[bounds[x] : bounds[x + 1]]:
            if row_0 <= row < row_0 + len(distances):
                to_x = distances[row - row_0]
                _count_one(row, to_x, roles[begin:end], bounds, places, column_0, values, counts[begin:end])
    return roles, counts


@njit(cache=True, nogil=True)
def _count_one(
    x: int,
    to_x: np.ndarray,
    roles: np.ndarray,
    bounds: np.ndarray,
    places: np.ndarray,
    column_0: int,
    values: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Add the triplets of one X to the counts of some cells, which differ in B alone."""
    if not len(roles):
        return
    n_a = 0
    for place in places[bounds[roles[0, 0]] : bounds[roles[0, 0] + 1]]:
        if place != x:  # X itself is no A
            values[n_a] = to_x[place - column_0]
            n_a += 1
    to_a = values[:n_a]
    _sort(to_a)
    for cell in range(len(roles)):
        b = roles[cell, 1]
        n_b = bounds[b + 1] - bounds[b]
        to_b = values[n_a : n_a + n_b]
        for k in range(n_b):
            to_b[k] = to_x[places[bounds[b] + k] - column_0]
        _sort(to_b)
        counts[cell, 0] += _wins(to_a, to_b)
        counts[cell, 1] += n_a * n_b


@njit(cache=True, nogil=True)
def _sort(values: np.ndarray) -> None:
    if len(values) > 24:
        values.sort()
        return
    for i in range(1, len(values)):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value


@njit(cache=True, nogil=True)
def _wins(to_a: np.ndarray, to_b: np.ndarray) -> int:
    """Twice the pairs with a < b plus the pairs with a = b, of sorted values."""
    below, upto, wins = 0, 0, 0
    for a in to_a:
        while below < len(to_b) and to_b[below] < a:
            below += 1
        upto = max(upto, below)
        while upto < len(to_b) and to_b[upto] == a:
            upto += 1
        wins += 2 * (len(to_b) - upto) + (upto - below)
    return wins
