"""Benchmarks of pairs: the better of two recordings should be the likelier one."""

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
from zerospeech_eval.scores import LogProbs, find_scores

Row = dict[str, str]


@dataclass(frozen=True)
class Accuracy:
    """Mean score of n pairs, each 1, ½ (a tie) or 0, or a mean of these over voices."""

    value: float
    n: int
    standard_error: float  # sample standard deviation over pairs / √n; nan for a single pair

    def summary(self) -> dict[str, float]:
        """In percent."""
        return {"accuracy": 100 * self.value, "standard_error": 100 * self.standard_error, "n": self.n}


@dataclass(frozen=True)
class PairResult:
    """Accuracy over pairs and over parts of them; a trial is a pair in one voice."""

    benchmark: str
    overall: Accuracy
    breakdown: Mapping[str, Mapping[str, Accuracy]]
    n_trials: int
    n_skipped: int
    convention: str

    def summary(self) -> dict[str, Any]:
        """Everything, accuracies in percent."""
        return {
            "benchmark": self.benchmark,
            **self.overall.summary(),
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
    """Gold rows of a better and a worse recording."""

    better: Row
    worse: Row


def read_gold(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of a gold CSV.

    Raises:
        UserError: columns are missing, or `correct` is neither 0 nor 1 somewhere.
    """
    with require(path, "gold list").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or [])]
        if missing:
            raise UserError(f"{path} lacks the columns {', '.join(missing)}; a gold list has {','.join(columns)}")
        rows = list(reader)
    for number, row in enumerate(rows, 2):
        if row["correct"] not in {"0", "1"}:
            raise UserError(f"{path}:{number}: correct should be 0 or 1, found {row['correct']!r}")
    if not rows:
        raise UserError(f"{path} names no recordings")
    return rows


def score_trials(
    scores: LogProbs, trials: Sequence[Trial], *, skip_missing: bool
) -> tuple[list[Trial], np.ndarray, int]:
    """Trials whose files both have scores, their outcomes `(trials,)` in {0, ½, 1}, and how many were left out.

    Raises:
        UserError: files have no score and `skip_missing` is false, or no trial is left.
    """
    better = find_scores(scores.values, [trial.better["filename"] for trial in trials])
    worse = find_scores(scores.values, [trial.worse["filename"] for trial in trials])
    missing = [
        row["filename"]
        for trial, *pair in zip(trials, better, worse, strict=True)
        for row, score in zip((trial.better, trial.worse), pair, strict=True)
        if score is None
    ]
    if missing and not skip_missing:
        raise UserError(
            f"{len(missing)} of the {2 * len(trials)} files of the gold list have no score, the first is "
            f"{missing[0]!r} (scores are there for {next(iter(scores.values))!r}); score them, or use --skip-missing"
        )
    kept = [i for i, pair in enumerate(zip(better, worse, strict=True)) if None not in pair]
    if not kept:
        raise UserError("no pair of the gold list has both its scores; are these the scores of another set?")
    likelier = np.array([better[i] for i in kept], dtype=np.float64)
    other = np.array([worse[i] for i in kept], dtype=np.float64)
    outcomes = (likelier > other) + 0.5 * (likelier == other)
    return [trials[i] for i in kept], outcomes, len(trials) - len(kept)


def mean_by(keys: Sequence[tuple[str, ...]], outcomes: np.ndarray) -> dict[tuple[str, ...], float]:
    """Mean outcome of every key, in the order of their first appearance."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for key, outcome in zip(keys, outcomes.tolist(), strict=True):
        groups.setdefault(key, []).append(outcome)
    return {key: sum(values) / len(values) for key, values in groups.items()}


def accuracy(values: Sequence[float]) -> Accuracy:
    """Mean over pairs."""
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return Accuracy(sum(values) / len(values), len(values), deviation / math.sqrt(len(values)))


def accuracy_by(names: Sequence[str], values: Sequence[float]) -> dict[str, Accuracy]:
    """Mean over the pairs of every name."""
    parts: dict[str, list[float]] = {}
    for name, value in zip(names, values, strict=True):
        parts.setdefault(name, []).append(value)
    return {name: accuracy(part) for name, part in parts.items()}
