"""Command-line options that mean the same in every verb."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Force = Annotated[bool, typer.Option("--force", help="Replace the output if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]


class PrecisionName(StrEnum):
    """Arithmetic of matrix products."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


PrecisionOption = Annotated[
    PrecisionName, typer.Option("--precision", help="Matrix products in bf16; auto: where the hardware is fast at it.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a configuration key, e.g. optimizer.lr=3e-4."),
]
Shards = Annotated[
    int | None,
    typer.Option("--shards", min=1, help="Number of output files (default: one a process); finished ones are kept."),
]
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="States only differences from the defaults.")]
