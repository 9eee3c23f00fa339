"""What ABX prints and writes: error rates, cells, confusions of phones, and speakers."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from textless.files import atomic_write
from zerospeech_eval.abx_score import Score
from zerospeech_eval.bootstrap import Interval


def summarise(scores: Mapping[str, Score], intervals: Mapping[str, Interval], **settings: object) -> dict[str, Any]:
    """ABX error rates in percent, and all they depend on."""
    data = next(iter(scores.values())).data
    return {
        "benchmark": "ABX",
        "scores": {name: _score(score, intervals.get(name)) for name, score in scores.items()},
        "tokens": len(data),
        "skipped": vars(data.skipped),
        **settings,
    }


def _score(score: Score, interval: Interval | None) -> dict[str, Any]:
    values = {
        "error_rate_percent": 100 * score.value,
        "on": score.task.on,
        "by": list(score.task.by),
        "across": list(score.task.across),
        "cells": len(score),
        "triplets": score.n_triplets,
    }
    if interval is not None:
        values["interval"] = {
            "low_percent": 100 * interval.low,
            "high_percent": 100 * interval.high,
            "level_percent": 95,
            "standard_error_percent": 100 * interval.standard_error,
            "over": interval.over,
            "names": interval.n_names,
            "resamples": interval.n_resamples,
        }
    return values


def describe(score: Score, interval: Interval | None, distance: str) -> str:
    """One line for a reader."""
    across = "across" if score.task.across else "within"
    where = "in the same context" if "context" in score.task.by else "in any context"
    spread = ""
    if interval is not None:
        low, high = 100 * interval.low, 100 * interval.high
        spread = f" (95 % interval {low:.3f} to {high:.3f}, bootstrap over {interval.n_names} of {interval.over})"
    return (
        f"ABX error {across} speakers {where}, {distance}: {100 * score.value:.3f} %{spread}  "
        f"({len(score)} cells, {score.n_triplets} triplets, {len(score.data)} tokens)"
    )


def write_cells(path: Path, scores: Mapping[str, Score]) -> None:
    """Write a line for every cell of every condition; a column that a condition lacks is `any`, or like its AB side."""
    columns = list(dict.fromkeys(name for score in scores.values() for name in score.task.cell_columns))
    header = ["condition", *columns, "a", "b", "error", "triplets"]

    def lines() -> Iterable[list[object]]:
        for condition, score in scores.items():
            for row in score.rows():
                filled = {name: row.get(name, row.get(name.removeprefix("x_"), "any")) for name in columns}
                yield [condition, *filled.values(), *(row[name] for name in header[-4:])]

    _write_csv(path, header, lines())


def write_pairs(path: Path, scores: Mapping[str, Score]) -> None:
    """Write a line for every ordered pair of phones (a, b) of every condition, the most confused first."""
    rows = (
        [condition, a, b, *part]
        for condition, score in scores.items()
        for (a, b), part in sorted(score.pairs.items(), key=lambda item: -item[1].error)
    )
    _write_csv(path, ["condition", "a", "b", "error", "cells", "triplets"], rows)


def write_speakers(path: Path, scores: Mapping[str, Score]) -> None:
    """Write a line for every speaker of A and B of every condition."""
    rows = (
        [condition, speaker, *part]
        for condition, score in scores.items()
        for speaker, part in score.by("speaker").items()
    )
    _write_csv(path, ["condition", "speaker", "error", "cells", "triplets"], rows)


def _write_csv(path: Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
