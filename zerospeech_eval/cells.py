"""Cells of an ABX task: counting triplets, and the score that is a mean of means of cells."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from textless.files import atomic_write
from zerospeech_eval.datasets import Dataset
from zerospeech_eval.task import ContextMode, SpeakerMode


class Cell(NamedTuple):
    """One cell: A and B from `speaker`, X from `x_speaker`; `error` is the share of triplets where X is nearer to B."""

    context: str
    speaker: str
    x_speaker: str
    a: str
    b: str
    error: float
    triplets: int


@dataclass(frozen=True)
class Score:
    """Result of a task in one speaker mode.

    Shape:
        context, speaker, x_speaker, a, b: `(cells,)` codes into the names of the dataset.
        wins: `(cells,)` twice the number of triplets with d(x, a) < d(x, b), plus the number of ties.
        triplets: `(cells,)`.
    """

    mode: SpeakerMode
    context_mode: ContextMode
    data: Dataset
    context: np.ndarray
    speaker: np.ndarray
    x_speaker: np.ndarray
    a: np.ndarray
    b: np.ndarray
    wins: np.ndarray
    triplets: np.ndarray

    def __len__(self) -> int:
        return len(self.wins)

    @property
    def errors(self) -> np.ndarray:
        """Error rate of every cell, `(cells,)`, 0 to 1."""
        return 1 - self.wins / (2 * self.triplets)

    @property
    def n_triplets(self) -> int:
        """Triplets of all cells."""
        return int(self.triplets.sum())

    @property
    def value(self) -> float:
        """Error rate, 0 to 1: mean over contexts (and X speakers, jointly), then speakers, then ordered phone pairs."""
        return float(self._by_pair()[1].mean())

    @property
    def phone_pairs(self) -> dict[tuple[str, str], float]:
        """Error rate of every ordered pair of phones (a, b), 0 to 1."""
        keys, errors = self._by_pair()
        names = self.data.phones
        return {(names[a], names[b]): float(error) for (a, b), error in zip(keys.T, errors, strict=True)}

    def _by_pair(self) -> tuple[np.ndarray, np.ndarray]:
        keys, errors = _means(np.stack([self.a, self.b, self.speaker]), self.errors)
        return _means(keys[:2], errors)

    @property
    def cells(self) -> Iterator[Cell]:
        """Every cell with its names."""
        data = self.data
        columns = (self.context, self.speaker, self.x_speaker, self.a, self.b, self.errors, self.triplets)
        for context, speaker, x, a, b, error, n in zip(*(column.tolist() for column in columns), strict=True):
            context_name = "any" if self.context_mode == "any" else data.contexts[context]
            yield Cell(context_name, data.speakers[speaker], data.speakers[x], data.phones[a], data.phones[b], error, n)

    def write_csv(self, path: Path) -> None:
        """Write a line for every cell."""
        with atomic_write(path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(Cell._fields)
            writer.writerows(self.cells)


def _means(keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the values that share a key; keys are columns, and come back sorted."""
    order = np.lexsort(keys[::-1])
    keys, values = keys[:, order], values[order]
    starts = np.flatnonzero(np.diff(keys, axis=1, prepend=-1).any(axis=0))
    counts = np.diff(np.append(starts, len(values)))
    return keys[:, starts], np.add.reduceat(values, starts) / counts


@dataclass(frozen=True)
class Buckets:
    """Tokens in a row, sorted by speaker and phone: bucket k is tokens `bounds[k]:bounds[k + 1]`."""

    bounds: np.ndarray
    phone: np.ndarray
    speaker: np.ndarray


def count_triplets(distances: np.ndarray, x: Buckets, ab: Buckets, needed: np.ndarray) -> np.ndarray:
    """Wins and triplets of every cell with X from some tokens, A and B from others.

    Args:
        distances: `(n, m)` from X tokens to A and B tokens.
        x: buckets of the rows.
        ab: buckets of the columns.
        needed: `(X buckets, speakers)`: whether the bucket is X for A and B of the speaker.

    Returns:
        `(cells, 6)`: speaker, X speaker, a, b, wins, triplets; codes are those of the buckets.
    """
    a_bucket, x_bucket = np.nonzero((ab.phone[:, None] == x.phone) & needed[:, ab.speaker].T)
    first = np.searchsorted(ab.speaker, ab.speaker[a_bucket], side="left")
    last = np.searchsorted(ab.speaker, ab.speaker[a_bucket], side="right")
    base = np.concatenate([[0], np.cumsum(last - first - 1)])
    table = np.zeros((base[-1], 6), dtype=np.int64)
    table[:, 0] = np.repeat(ab.speaker[a_bucket], np.diff(base))
    table[:, 1] = np.repeat(x.speaker[x_bucket], np.diff(base))
    table[:, 2] = np.repeat(ab.phone[a_bucket], np.diff(base))
    roles = np.stack([a_bucket, x_bucket, first, last, base[:-1]], axis=1)
    _fill(table, distances, roles, x.bounds, x.speaker, ab.bounds, ab.speaker, ab.phone)
    return table


@njit(cache=True, nogil=True)
def _fill(
    table: np.ndarray,
    distances: np.ndarray,
    roles: np.ndarray,
    x_bounds: np.ndarray,
    x_speaker: np.ndarray,
    bounds: np.ndarray,
    speaker: np.ndarray,
    phone: np.ndarray,
) -> None:
    """B, wins and triplets of the cells of every (A bucket, X bucket): one for each other bucket of A's speaker."""
    values = np.empty(distances.shape[1])
    for a, x, first, last, base in roles:
        same_speaker = x_speaker[x] == speaker[a]
        for row in range(x_bounds[x], x_bounds[x + 1]):
            n_a = 0
            for column in range(bounds[a], bounds[a + 1]):
                if not (same_speaker and column - bounds[a] == row - x_bounds[x]):  # X itself is no A
                    values[n_a] = distances[row, column]
                    n_a += 1
            to_a = values[:n_a]
            _sort(to_a)
            cell = base
            for b in range(first, last):
                if b != a:
                    to_b = values[n_a : n_a + bounds[b + 1] - bounds[b]]
                    to_b[:] = distances[row, bounds[b] : bounds[b + 1]]
                    _sort(to_b)
                    table[cell, 3] = phone[b]
                    table[cell, 4] += _wins(to_a, to_b)
                    table[cell, 5] += n_a * len(to_b)
                    cell += 1


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
