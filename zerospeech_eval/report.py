"""What the verbs print: a few lines for a reader, or JSON in full precision."""

import json
from collections.abc import Mapping
from typing import Any

import typer

from zerospeech_eval.cells import Score
from zerospeech_eval.datasets import FrameSlice
from zerospeech_eval.distances import Distance
from zerospeech_eval.pairs import PairResult
from zerospeech_eval.task import Task


def print_json(value: Mapping[str, Any]) -> None:
    """Print indented JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def abx_report(
    scores: Mapping[str, Score], task: Task, distance: Distance, frequency: str, frame_slice: FrameSlice
) -> dict[str, Any]:
    """ABX error rates in percent, and all they depend on."""
    data = next(iter(scores.values())).data
    return {
        "benchmark": "ABX",
        "scores": {
            mode: {"error_rate_percent": 100 * score.value, "cells": len(score), "triplets": score.n_triplets}
            for mode, score in scores.items()
        },
        "tokens": len(data),
        "skipped": vars(data.skipped),
        "context": task.context,
        "distance": distance,
        "frequency": frequency,
        "frame_slice": frame_slice,
        "max_size_group": task.max_size_group,
        "max_x_across": task.max_x_across,
        "seed": task.seed,
    }


def print_result(result: PairResult, *, as_json: bool) -> None:
    """Print the accuracies of a benchmark of pairs."""
    if as_json:
        print_json(result.summary())
        return
    accuracy = result.overall
    typer.echo(
        f"{result.benchmark} accuracy {100 * accuracy.value:.2f} % ± {100 * accuracy.standard_error:.2f} "
        f"(chance 50; {accuracy.n} pairs, {result.n_trials} trials; {result.convention}; "
        "± is one standard error over pairs)"
    )
    if result.n_skipped:
        typer.echo(f"  {result.n_skipped} trials left out: their files have no score")
    for title, parts in result.breakdown.items():
        typer.echo(f"  {title}")
        for name, part in parts.items():
            typer.echo(f"    {name:<32} {100 * part.value:6.2f} % ± {100 * part.standard_error:.2f}  ({part.n})")
