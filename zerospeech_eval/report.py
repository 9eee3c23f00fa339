"""What the verbs print: a few lines for a reader, or JSON in full precision."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from zerospeech_eval.pairs import PairResult
from zerospeech_eval.ssimi import SimilarityResult
from zerospeech_eval.term_discovery import TermDiscovery


def print_json(value: Mapping[str, Any]) -> None:
    """Print indented JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_result(result: PairResult, *, as_json: bool) -> None:
    """Print the accuracies of a benchmark of pairs."""
    if as_json:
        print_json(result.summary())
        return
    accuracy = result.overall
    overall, n = "accuracy by part", len(result.pairs)
    if accuracy is not None:
        overall, n = f"accuracy {100 * accuracy.value:.2f} % ± {100 * accuracy.standard_error:.2f}", accuracy.n
    typer.echo(
        f"{result.benchmark} {overall} (chance 50; {n} pairs, {result.n_trials} trials; {result.convention}; "
        "± is one standard error over pairs)"
    )
    if result.n_skipped:
        typer.echo(f"  {result.n_skipped} trials left out: their files have no score")
    for title, parts in result.breakdown.items():
        typer.echo(f"  {title}")
        for name, part in parts.items():
            typer.echo(f"    {name:<32} {100 * part.value:6.2f} % ± {100 * part.standard_error:.2f}  ({part.n})")


def print_results(results: Sequence[PairResult], *, as_json: bool) -> None:
    """Print the accuracies of one benchmark by several conventions."""
    if as_json:
        print_json({"benchmark": results[0].benchmark, "results": [result.summary() for result in results]})
        return
    for result in results:
        print_result(result, as_json=False)


def print_similarity(result: SimilarityResult, *, as_json: bool) -> None:
    """Print correlations with human judgements."""
    if as_json:
        print_json(result.summary())
        return
    typer.echo(f"sSIMI, {result.pooling} pooling, {result.metric} distance: 100 x Spearman's correlation")
    for kind in sorted({correlation.type for correlation in result.correlations}):
        typer.echo(f"  {kind}: {number(result.normal(kind))}, weighted by pairs {number(result.weighted(kind))}")
        for found in result.correlations:
            if found.type == kind:
                typer.echo(f"    {found.dataset:<32} {number(found.value):>9}  ({found.n} pairs)")


def print_discovery(result: TermDiscovery, *, as_json: bool) -> None:
    """Print the scores of discovered terms."""
    if as_json:
        print_json(result.summary())
        return
    ned = "undefined" if result.ned is None else f"{100 * result.ned:.2f} %"
    typer.echo(f"NED {ned} over {result.n_pairs} pairs, coverage {100 * result.coverage:.2f} %")
    for name in ("grouping", "boundary", "token", "type"):
        cells = (
            f"{key} {'undefined' if value is None else f'{100 * value:.2f} %'}"
            for key, value in getattr(result, name).summary().items()
        )
        typer.echo(f"  {name:<9} {', '.join(cells)}")
    typer.echo(
        f"  {result.n_fragments} fragments in {result.n_classes} classes, {result.n_dropped} without a phone left out; "
        f"{result.n_spoken_words} spoken for {result.n_written_words} written words: no segmentation has a type recall "
        f"above {100 * result.type_recall_ceiling:.2f} %"
    )


def print_units(report: Mapping[str, Any], *, as_json: bool) -> None:
    """Print how well units name phones."""
    if as_json:
        print_json(report)
        return
    typer.echo(
        f"PNMI {report['pnmi']:.4f}, phone purity {report['phone_purity']:.4f}, cluster purity "
        f"{report['cluster_purity']:.4f}, over {report['frames']} frames"
    )
    for naming in ("many_to_one", "one_to_one"):
        found = report[naming]
        scores = (
            f"{name} {number(found[f'boundary_{key}'], 4)}" for name, key in (("F1", "fscore"), ("R-value", "r_value"))
        )
        typer.echo(
            f"  {naming.replace('_', ' '):<12} phone error rate {100 * found['phone_error_rate']:.2f} %, "
            f"boundaries {', '.join(scores)} (± {1000 * report['tolerance']:g} ms)"
        )


def number(value: float | None, digits: int = 2) -> str:
    """A number as text; `undefined` for none and NaN."""
    return "undefined" if value is None or math.isnan(value) else f"{value:.{digits}f}"
