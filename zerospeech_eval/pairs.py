"""Benchmarks of pairs: the better of two recordings should be the likelier one.

A trial is a better and a worse recording in one voice; it scores 1, ½ for a tie, or 0. A pair scores the mean over its
voices, and every accuracy is a mean over pairs.
"""

import csv
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.errors import UserError
from textless.files import require
from zerospeech_eval.names import find_ids, listed
from zerospeech_eval.scores import LogProbs

Row = dict[str, str]


@dataclass(frozen=True)
class Accuracy:
    """Mean score of n pairs, each 1, ½ (a tie) or 0, or a mean of these over voices."""

    value: float
    n: int
    standard_deviation: float  # of the sample of pairs (divided by n - 1); nan for a single pair

    @property
    def standard_error(self) -> float:
        """Of the mean; nan for a single pair."""
        return self.standard_deviation / math.sqrt(self.n)

    def summary(self) -> dict[str, float | int | None]:
        """In percent; None where a single pair leaves the deviation undefined."""
        spread = {"standard_error": self.standard_error, "standard_deviation": self.standard_deviation}
        return {
            "accuracy": 100 * self.value,
            **{name: None if math.isnan(value) else 100 * value for name, value in spread.items()},
            "n": self.n,
        }


@dataclass(frozen=True)
class PairResult:
    """Accuracy over pairs and over parts of them.

    `overall` is None where the benchmark defines no mean over its parts; `pairs` has a row for every pair, with its
    `score` among what the gold list says of it.
    """

    benchmark: str
    overall: Accuracy | None
    breakdown: Mapping[str, Mapping[str, Accuracy]]
    pairs: Sequence[Mapping[str, object]]
    n_trials: int
    n_skipped: int
    convention: str

    def summary(self) -> dict[str, Any]:
        """Everything, accuracies in percent."""
        return {
            "benchmark": self.benchmark,
            **(self.overall.summary() if self.overall else {}),
            "chance": 50.0,
            "trials": self.n_trials,
            "skipped_trials": self.n_skipped,
            "convention": self.convention,
            "standard_error_is": "of the mean over pairs, from their sample standard deviation",
            **{
                title.replace(" ", "_"): {name: part.summary() for name, part in parts.items()}
                for title, parts in self.breakdown.items()
            },
        }


@dataclass(frozen=True)
class Trial:
    """Gold rows of a better and a worse recording in one voice."""

    better: Row
    worse: Row


def read_gold(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of a gold CSV.

    Raises:
        UserError: columns are missing, or `correct` is neither 0 nor 1 somewhere.
    """
    rows = read_table(path, columns, "gold list")
    for number, row in enumerate(rows, 2):
        if row["correct"] not in {"0", "1"}:
            raise UserError(f"{path}:{number}: correct should be 0 or 1, found {row['correct']!r}")
    return rows


def read_table(path: Path, columns: Sequence[str], what: str) -> list[Row]:
    """Rows of a CSV file with a header, by column name.

    Raises:
        UserError: it is not text, columns are missing, a row is shorter than the header, or there is no row.
    """
    try:
        with require(path, what).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                raise UserError(f"{path} lacks the columns {', '.join(missing)}; a {what} has {','.join(columns)}")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise UserError(f"{path} has a header and no rows")
    for number, row in enumerate(rows, 2):
        if None in row.values():
            raise UserError(f"{path}:{number} has fewer cells than the header has columns")
    return rows


def pair_by_position(path: Path, columns: Sequence[str], key: Sequence[str]) -> list[Trial]:
    """Trials of a gold list whose n-th row with correct=1 and n-th with correct=0 belong together.

    Args:
        path: the gold list.
        columns: that it must have.
        key: columns in which the two rows must agree.

    Raises:
        UserError: the rows do not pair up.
    """
    rows = read_gold(path, columns)
    better = [row for row in rows if row["correct"] == "1"]
    worse = [row for row in rows if row["correct"] == "0"]
    if len(better) != len(worse):
        raise UserError(
            f"{path} has {len(better)} rows with correct=1 and {len(worse)} with correct=0; they should pair up"
        )
    for number, (one, other) in enumerate(zip(better, worse, strict=True), 1):
        if any(one[name] != other[name] for name in key):
            found = "/".join(one[name] for name in key), "/".join(other[name] for name in key)
            raise UserError(
                f"{path}: row {number} with correct=1 is {found[0]}, row {number} with correct=0 is {found[1]}"
            )
    return [Trial(one, other) for one, other in zip(better, worse, strict=True)]


def score_trials(
    scores: LogProbs, trials: Sequence[Trial], *, skip_missing: bool
) -> tuple[list[Trial], np.ndarray, int]:
    """Trials whose files both have scores, their outcomes `(trials,)` in {0, ½, 1}, and how many were left out.

    Raises:
        UserError: files have no score and `skip_missing` is false, or no trial is left.
    """
    filenames = [row["filename"] for trial in trials for row in (trial.better, trial.worse)]
    ids = find_ids(scores.values, filenames)
    missing = [filename for filename, found in zip(filenames, ids, strict=True) if found is None]
    if missing and not skip_missing:
        raise UserError(
            f"{len(missing)} of the {2 * len(trials)} files of the gold list have no score: {listed(missing)} (scores "
            f"are there for {next(iter(scores.values))!r}); score them, or use --skip-missing"
        )
    scored = [
        (trial, scores.values[better], scores.values[worse])
        for trial, better, worse in zip(trials, ids[::2], ids[1::2], strict=True)
        if better is not None and worse is not None
    ]
    if not scored:
        raise UserError("no pair of the gold list has both its scores; are these the scores of another set?")
    likelier, other = np.array([pair for _, *pair in scored], dtype=np.float64).T
    outcomes = (likelier > other) + 0.5 * (likelier == other)
    return [trial for trial, _, _ in scored], outcomes, len(trials) - len(scored)


def mean_by(keys: Sequence[tuple[str, ...]], outcomes: np.ndarray) -> dict[tuple[str, ...], float]:
    """Mean outcome of every key, in the order of their first appearance."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for key, outcome in zip(keys, outcomes.tolist(), strict=True):
        groups.setdefault(key, []).append(outcome)
    return {key: sum(values) / len(values) for key, values in groups.items()}


def accuracy(values: Sequence[float]) -> Accuracy:
    """Mean over pairs."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Accuracy(sum(values) / len(values), len(values), deviation)


def accuracy_by(parts_of_pairs: Sequence[str], values: Sequence[float]) -> dict[str, Accuracy]:
    """Mean over the pairs of every part."""
    parts: dict[str, list[float]] = {}
    for name, value in zip(parts_of_pairs, values, strict=True):
        parts.setdefault(name, []).append(value)
    return {name: accuracy(part) for name, part in parts.items()}
