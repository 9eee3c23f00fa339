"""How far an ABX score might lie had other speakers, or other contexts, been recorded: bootstrap intervals.

The units of resampling are the names of one column, such as the speakers: n of n are drawn with replacement, each name
then weighs as often as it was drawn, and the score is averaged again, level by level. A cell across speakers has the
weight of both of its speakers, each at the level at which that speaker is averaged over. Means without any weight are
left out, as combinations that never occurred are in the score itself.
"""

from dataclasses import dataclass

import numpy as np

from textless.errors import UserError
from zerospeech_eval.abx_score import Score, group_rows

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """95 % of the resampled scores lie from `low` to `high`; error rates, 0 to 1."""

    low: float
    high: float
    standard_error: float
    over: str
    n_names: int
    n_resamples: int


@dataclass(frozen=True)
class _Step:
    """One level of averaging.

    Shape:
        groups: `(rows,)` number of the mean that a row goes into.
        weights: `(columns, rows)` codes of the names whose weights multiply.
    """

    groups: np.ndarray
    weights: np.ndarray


def bootstrap(score: Score, over: str = "speaker", n_resamples: int = 1000, seed: int = 0) -> Interval:
    """Confidence interval of `score.value`, by resampling the names of a column.

    Args:
        score: what to resample.
        over: a column of `Task.by` or `Task.across`; with the latter, A and B and X are resampled together.
        n_resamples: how often.
        seed: of the draws.

    Raises:
        UserError: the task has no such column, or only one name in it.
    """
    drawn = [name for name in (over, f"x_{over}") if name in score.columns]
    if not drawn:
        raise UserError(f"the cells of this task have no {over!r} to resample, only {score.task.cell_columns}")
    names, codes = np.unique(np.concatenate([score.columns[name] for name in drawn]), return_inverse=True)
    if len(names) < 2:
        raise UserError(f"resampling wants at least two names of {over!r}, and the cells are all of one")
    columns = dict(score.columns) | dict(zip(drawn, codes.reshape(len(drawn), -1), strict=True))
    values, sizes, steps = _steps(score, columns, drawn)
    generator = np.random.default_rng(seed)
    results = []
    for _ in range(n_resamples):
        counts = np.bincount(generator.integers(0, len(names), len(names)), minlength=len(names))
        value = _average(values, sizes, steps, counts)
        if value is not None:
            results.append(value)
    if len(results) < 2:
        raise UserError(f"hardly any resample of {len(names)} names of {over!r} leaves a cell; resample another column")
    low, high = np.quantile(results, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high), float(np.std(results, ddof=1)), over, len(names), len(results))


def _steps(
    score: Score, columns: dict[str, np.ndarray], drawn: list[str]
) -> tuple[np.ndarray, np.ndarray, list[_Step]]:
    """Values to begin with, how many cells each is the mean of, and the levels."""
    rest = tuple(set(columns) - {"a", "b"}.union(*score.task.levels))
    levels = [*score.task.levels, rest, ("a", "b")]
    # What the first level averages without weights is averaged once and for all.
    fixed = set(levels[0]) - set(drawn)
    columns = {name: codes for name, codes in columns.items() if name not in fixed}
    first, groups, counts = group_rows(columns)
    values = np.bincount(groups, score.errors) / counts
    columns = {name: codes[first] for name, codes in columns.items()}
    steps, rows = [], len(values)
    for level in levels:
        weights = np.array([columns[name] for name in level if name in drawn])
        columns = {name: codes for name, codes in columns.items() if name not in level}
        first, groups = group_rows(columns)[:2] if columns else (np.zeros(1, dtype=int), np.zeros(rows, dtype=int))
        steps.append(_Step(groups, weights))
        columns, rows = {name: codes[first] for name, codes in columns.items()}, len(first)
    return values, counts.astype(float), steps


def _average(values: np.ndarray, sizes: np.ndarray, steps: list[_Step], counts: np.ndarray) -> float | None:
    weights = sizes
    for step in steps:
        for codes in step.weights:
            weights = weights * counts[codes]
        totals = np.bincount(step.groups, weights)
        sums = np.bincount(step.groups, weights * values)
        there = totals > 0
        values = np.divide(sums, totals, out=np.zeros_like(sums), where=there)
        weights = there.astype(float)
    return float(values[0]) if weights[0] else None
