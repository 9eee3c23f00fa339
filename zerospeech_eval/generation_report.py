"""What `textless eval generation` prints: a line a set and the numbers of the curve, or JSON."""

import math
from collections.abc import Mapping
from typing import Any

import typer

from zerospeech_eval.generation import Average, SetScores
from zerospeech_eval.generation_sweep import SweepResult
from zerospeech_eval.report import number, print_json


def print_generation(result: SweepResult, *, as_json: bool) -> None:
    """Print what generated speech says, a line a set, and the numbers of the curve."""
    if as_json:
        print_json(result.summary())
        return
    average = result.settings.average
    orders = ", ".join(map(str, result.settings.orders))
    transcriber = "from transcripts" if result.transcriber is None else f"transcribed by {result.transcriber}"
    typer.echo(f"{result.kind} {transcriber}, judged by {result.lm}; PPX: {average}; BLEU orders: {orders}")
    typer.echo(
        f"{'temperature':>12} {'texts':>6} {'PPX':>9} {'self-BLEU':>10} {'auto-BLEU':>10} {'VERT %':>8} {'GenPPL':>9} "
        f"{'repeated bigrams %':>19}"
    )
    for judged in result.sets:
        temperature = judged.source.temperature
        typer.echo(_generation_row("" if temperature is None else f"{temperature:g}", judged.scores, average))
    if result.reference is not None:
        typer.echo(_generation_row("reference", result.reference.scores, average))
    curve = result.summary().get("curve", {})
    for name, key in (
        ("PPX@oracle-VERT", "ppx_at_oracle_vert"),
        ("VERT@oracle-PPX %", "vert_at_oracle_ppx_percent"),
        ("AUC", "area_under_curve"),
    ):
        if curve:
            typer.echo(f"  {name:<18} {_with_interval(curve[key], curve[f'{key}_interval_95'])}")
    for note in result.notes:
        typer.echo(f"  {note}")


def _generation_row(name: str, scores: SetScores, average: Average) -> str:
    across = math.nan if scores.self_bleu is None else 100 * float(scores.self_bleu.mean())
    vert = math.nan if scores.self_bleu is None else 100 * float(scores.vert())
    cells = (
        f"{name:>12}",
        f"{len(scores.names):>6}",
        f"{float(scores.perplexity(average)):>9.2f}",
        f"{number(across):>10}",
        f"{100 * float(scores.auto_bleu.mean()):>10.2f}",
        f"{number(vert):>8}",
        f"{float(scores.perplexity('geometric')):>9.2f}",
        f"{100 * float(scores.repeated_bigrams.mean()):>19.2f}",
    )
    return " ".join(cells)


def _with_interval(value: float | None, interval: Mapping[str, Any] | None) -> str:
    if value is None or interval is None:
        return number(value)
    return f"{value:.2f} (95 % interval {interval['low']:.2f} to {interval['high']:.2f}, over {interval['over']})"
