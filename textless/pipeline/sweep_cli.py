"""`textless units sweep`: which encoder, codebook size and variant make the best units."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, Json, Seed


class VariantName(StrEnum):
    """How features become units."""

    plain = "plain"
    speaker = "speaker"
    dp = "dp"
    both = "speaker-dp"


class CriterionName(StrEnum):
    """What makes units the best."""

    rank_sum = "rank-sum"
    abx = "abx"
    pnmi = "pnmi"
    r_value = "r-value"


class ContextName(StrEnum):
    """Which tokens are compared."""

    within = "within"
    any = "any"


def sweep(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings to judge on.")],
    out: Annotated[Path, typer.Argument(help="Directory to fill; one that a stopped sweep left is continued.")],
    alignment: Annotated[Path, typer.Option("--alignment", help="alignments.tsv of these recordings.")],
    items: Annotated[Path, typer.Option("--items", help="ABX items of these recordings.")],
    encoder: Annotated[
        list[str], typer.Option("--encoder", metavar="[NAME=]SPEC", help="An encoder; give it once for every one.")
    ],
    *,
    fit: Annotated[
        Path | None,
        typer.Option("--fit", help="Manifest of recordings to fit codebooks to (default: those judged on)."),
    ] = None,
    k: Annotated[list[int] | None, typer.Option("--k", min=1, help="A codebook size (default: 50, 100, 200, 500).")] = (
        None
    ),
    variant: Annotated[
        list[VariantName] | None,
        typer.Option("--variant", help="Features normalised by speaker, units that last, or both (default: all)."),
    ] = None,
    criterion: Annotated[
        CriterionName, typer.Option(help="What makes the best; rank-sum: of ABX, PNMI, R-value and bit rate.")
    ] = CriterionName.rank_sum,
    max_bit_rate: Annotated[
        float | None, typer.Option(min=0, help="Only units of so many bits a second can be the best.")
    ] = None,
    context: Annotated[
        ContextName, typer.Option(help="ABX in the same context of phones, or in any.")
    ] = ContextName.within,
    max_size_group: Annotated[
        int, typer.Option(min=2, help="ABX: tokens of a phone, speaker and context at most.")
    ] = 10,
    max_x_across: Annotated[int, typer.Option(min=1, help="ABX: speakers of X at most.")] = 5,
    duration_penalty: Annotated[
        float, typer.Option(min=0, help="Of `dp`: the price of a change, in multiples of the inertia.")
    ] = 0.5,
    max_frames: Annotated[int, typer.Option(min=1, help="Frames that a codebook is fitted to, at most.")] = 1_000_000,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Judge the units of several encoders, codebook sizes and variants, and say which are the best."""
    from textless.pipeline.sweep import Inputs, NamedEncoder, Settings, run_sweep
    from textless.pipeline.sweep_choices import markdown

    inputs = Inputs(*(path.resolve() for path in (manifest, alignment, items, fit or manifest)))
    ranking, scores = run_sweep(
        out,
        inputs,
        [NamedEncoder.parse(text) for text in encoder],
        sorted(set(k or (50, 100, 200, 500))),
        [name.value for name in dict.fromkeys(variant or VariantName)],
        Settings(context.value, max_size_group, max_x_across, duration_penalty, max_frames, seed),
        criterion=criterion.value,
        max_bit_rate=max_bit_rate,
        device=device,
        force=force,
    )
    if as_json:
        typer.echo((out / "sweep.json").read_text(encoding="utf-8"), nl=False)
        return
    best = ranking.best
    limit = "" if max_bit_rate is None else f" at {max_bit_rate:g} bit/s at most"
    typer.echo(markdown(ranking, scores))
    typer.echo(f"best by {criterion.value}{limit}: {best.encoder}, K = {best.k}, {best.variant} -> {out}")
