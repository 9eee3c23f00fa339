"""The result of an ABX task: an error rate that is a mean of means of cells, and what it is made of."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from zerospeech_eval.cells import Cells
from zerospeech_eval.datasets import Dataset
from zerospeech_eval.task import Levels, Task


class Part(NamedTuple):
    """Error rate of some cells, 0 to 1, and how many cells and triplets it rests on."""

    error: float
    cells: int
    triplets: int


@dataclass(frozen=True)
class Score:
    """Cells of a task.

    Shape:
        columns: codes `(cells,)` of the labels of every cell: `a`, `b`, and those of `Task.cell_columns`.
        wins: `(cells,)` twice the number of triplets with d(x, a) < d(x, b), plus the number of ties.
        triplets: `(cells,)`.
    """

    task: Task
    data: Dataset
    columns: Mapping[str, np.ndarray]
    wins: np.ndarray
    triplets: np.ndarray

    def __len__(self) -> int:
        return len(self.wins)

    @cached_property
    def errors(self) -> np.ndarray:
        """Error rate of every cell, `(cells,)`, 0 to 1."""
        return 1 - self.wins / (2 * self.triplets)

    @property
    def n_triplets(self) -> int:
        """Triplets of all cells."""
        return int(self.triplets.sum())

    @cached_property
    def value(self) -> float:
        """Error rate, 0 to 1, averaged level by level as the task says, then over ordered pairs (a, b)."""
        return self.collapse(self.task.levels)

    def collapse(self, levels: Levels) -> float:
        """Error rate, 0 to 1, averaged in another order: see `Task.levels`."""
        return float(self._by_pair(levels)[1].mean())

    def _by_pair(self, levels: Levels) -> tuple[np.ndarray, np.ndarray]:
        columns, errors = dict(self.columns), self.errors
        rest = tuple(set(columns) - {"a", "b"}.union(*levels))
        for level in (*levels, rest):
            columns = {name: codes for name, codes in columns.items() if name not in level}
            columns, errors = average(columns, errors)
        return np.stack([columns["a"], columns["b"]], axis=1), errors

    @cached_property
    def pairs(self) -> dict[tuple[str, str], Part]:
        """Every ordered pair of ON labels (a, b): the confusions."""
        keys, errors = self._by_pair(self.task.levels)
        names = self.data.label(self.task.on).names
        totals = _totals(np.stack([self.columns["a"], self.columns["b"]], axis=1), self.triplets)
        return {
            (names[a], names[b]): Part(float(error), *totals[a, b])
            for (a, b), error in zip(keys.tolist(), errors, strict=True)
        }

    def by(self, column: str) -> dict[str, Part]:
        """Score of the cells that share a label, for every label of a column such as `speaker`."""
        names, codes = self.names(column), self.columns[column]
        parts = {}
        for code in np.unique(codes).tolist():
            share = codes == code
            columns = {name: values[share] for name, values in self.columns.items()}
            part = Score(self.task, self.data, columns, self.wins[share], self.triplets[share])
            parts[names[code]] = Part(part.value, len(part), part.n_triplets)
        return parts

    def names(self, column: str) -> list[str]:
        """Names of the codes of a column of cells."""
        return self.data.label(self.task.on if column in {"a", "b"} else column.removeprefix("x_")).names

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every cell: its labels by column, `error` and `triplets`."""
        named = {column: [self.names(column)[code] for code in codes] for column, codes in self.columns.items()}
        named |= {"error": self.errors.tolist(), "triplets": self.triplets.tolist()}
        for values in zip(*named.values(), strict=True):
            yield dict(zip(named, values, strict=True))


def make_score(task: Task, data: Dataset, cells: Cells, labels: Mapping[str, np.ndarray]) -> Score:
    """Name the buckets of cells by the labels of the buckets; cells come in the order of their names."""
    a, b, x = cells.roles.T
    columns = {name: labels[name][a] for name in (*task.by, *task.across)}
    columns |= {f"x_{name}": labels[name][x] for name in task.across}
    columns |= {"a": labels[task.on][a], "b": labels[task.on][b]}
    order = group_rows(columns)[0]
    columns = {name: codes[order] for name, codes in columns.items()}
    return Score(task, data, columns, *np.ascontiguousarray(cells.counts[order].T))


def average(columns: Mapping[str, np.ndarray], values: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Means of the values that agree in all columns, and the columns of those."""
    first, groups, counts = group_rows(columns)
    return {name: codes[first] for name, codes in columns.items()}, np.bincount(groups, values) / counts


def group_rows(columns: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Number rows that agree in all columns: the first row of every group, the group of every row, sizes."""
    keys, n_keys = np.zeros(len(next(iter(columns.values()))), dtype=np.int64), 1
    for codes in columns.values():
        size = int(codes.max(initial=0)) + 1
        if n_keys * size >= 1 << 63:
            keys, n_keys = np.unique(keys, return_inverse=True)[1], len(keys)
        keys, n_keys = keys * size + codes, n_keys * size
    _, first, groups, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    return first, groups, counts


def _totals(keys: np.ndarray, triplets: np.ndarray) -> dict[tuple[int, int], tuple[int, int]]:
    first, groups, counts = group_rows({"a": keys[:, 0], "b": keys[:, 1]})
    sums = np.bincount(groups, triplets)
    return {(a, b): (int(n), int(total)) for (a, b), n, total in zip(keys[first].tolist(), counts, sums, strict=True)}
