"""Verbs that look at units: `stats`, `compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textless.options import Json

if TYPE_CHECKING:
    from units.stats import UnitStatistics


def stats(
    units: Annotated[Path, typer.Argument(help="units.jsonl.")],
    *,
    order: Annotated[int, typer.Option(min=1, help="Longest n-grams, for block entropies and perplexities.")] = 3,
    alignment: Annotated[
        Path | None, typer.Option("--alignment", help="alignments.tsv: how well units name and delimit phones.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Seconds between a boundary and one that is found.")] = 0.02,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Names the speakers: how well units tell who speaks.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Heat map of phones and units to write, .png or .html.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Usage, perplexity, bit rates and durations; phones, boundaries and speakers where they are known."""
    import json
    from dataclasses import asdict

    from textless.audio.manifest import read_manifest
    from textless.corpora.alignment import read_alignment
    from textless.errors import UserError
    from units.boundaries import boundary_scores
    from units.files import read_units
    from units.normalisation import known_speakers
    from units.phones import cooccurrence
    from units.plots import write_heat_map
    from units.speakers import speaker_statistics
    from units.stats import unit_statistics

    if plot is not None and alignment is None:
        raise UserError("--plot draws units against phones: give --alignment")
    file = read_units(units)
    measured = unit_statistics(file, order)
    result: dict[str, Any] = {"quantizer": file.quantizer.model_dump(), **asdict(measured)}
    lines = [f"quantizer     {file.quantizer}", *_describe(measured, file.quantizer.frame_rate)]
    if alignment is not None:
        phones = read_alignment(alignment)
        counts, found = cooccurrence(file, phones), boundary_scores(file, phones, tolerance)
        named = {name: getattr(counts, name) for name in ("pnmi", "phone_purity", "cluster_purity")}
        placed = {name: getattr(found, name) for name in ("precision", "recall", "fscore", "r_value")}
        result |= {"phones": {**named, "frames": int(counts.counts.sum())}, "boundaries": {**placed, **asdict(found)}}
        lines.append("phones        " + ", ".join(f"{name} {value:.4f}" for name, value in named.items()))
        lines.append(
            "boundaries    " + ", ".join(f"{name} {value:.4f}" for name, value in placed.items() if value is not None)
        )
        if plot is not None:
            write_heat_map(plot, counts, f"{units.name}: {file.quantizer}")
    if manifest is not None:
        spoken = speaker_statistics(file, known_speakers(read_manifest(manifest), [u.id for u in file.utterances]))
        result["speakers"] = {
            "utterances": spoken.utterances,
            "probe_accuracy": spoken.probe_accuracy,
            "chance": spoken.chance,
            "information": spoken.counts.information,
            "divergences": spoken.divergences,
        }
        lines.append(
            f"speakers      {len(spoken.counts.labels)}, probe accuracy {spoken.probe_accuracy:.4f} (chance "
            f"{spoken.chance:.4f}), {spoken.counts.information:.4f} bits a frame about the speaker"
        )
    typer.echo(json.dumps(result) if as_json else "\n".join(lines))


def _describe(s: "UnitStatistics", frame_rate: float) -> list[str]:
    """The statistics in words."""
    spread = " ".join(f"{1000 * seconds:.0f}" for seconds in s.duration_percentiles.values())
    blocks = " ".join(f"{bits:.0f}" for bits in s.unit_block_bit_rates)
    framewise = " ".join(f"{bits:.0f}" for bits in s.frame_block_bit_rates)
    perplexities = " ".join(f"{perplexity:.1f}" for perplexity in s.unit_ngram_perplexities) or "nothing held out"
    return [
        f"utterances    {s.utterances}, {s.hours:.2f} h, {s.frames} frames, {s.units} deduplicated units",
        f"codes used    {s.used} of {s.k}, perplexity {s.perplexity:.1f}",
        f"at frame rate {s.frame_entropy:.2f} bits x {frame_rate:g} Hz = {s.frame_bit_rate:.0f} bit/s",
        f"deduplicated  {s.unit_entropy:.2f} bits x {s.units_per_second:.1f} /s = {s.unit_bit_rate:.0f} bit/s",
        f"and durations {s.timed_bit_rate:.0f} bit/s",
        f"in context    {framewise} bit/s of frames, {blocks} bit/s of units, given 0, 1, ... before",
        f"n-grams       held-out perplexity of units, n = 1, 2, ...: {perplexities}",
        f"durations     mean {1000 * s.mean_duration:.0f} ms, {spread} (5, 50, 95 %), {s.duration_entropy:.2f} bits",
    ]


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="units.jsonl.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Units of the same utterances.")],
    *,
    as_json: Json = False,
) -> None:
    """How far apart the units of two files are: edit distance, agreement and shared information."""
    import json
    from dataclasses import asdict

    from units.compare import compare as run
    from units.files import read_units

    result = asdict(run(read_units(first), read_units(second)))
    if as_json:
        typer.echo(json.dumps(result))
        return
    unknown = "cannot be told (different quantizers, or no durations)"
    for name, value in result.items():
        shown = unknown if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
        typer.echo(f"{name.replace('_', ' '):23} {shown}")
