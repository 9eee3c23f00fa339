"""Verbs that exchange codebooks and units with other programs: `import-quantizer`, `export-quantizer`, `convert`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Force, Json


class Layout(StrEnum):
    """How units lie in a file."""

    textless = "textless"
    gslm = "gslm"
    km = "km"
    textlesslib = "textlesslib"
    slamkit = "slamkit"
    slamkit_tokens = "slamkit-tokens"
    dict = "dict"


def import_quantizer(
    codebook: Annotated[Path, typer.Argument(metavar="FILE", help="km.bin, .pt, .faiss, .npy: what holds the codes.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Quantizer directory to write.")],
    encoder: Annotated[str, typer.Option("--encoder", help="Whose frames it was fitted to, e.g. hubert-base:6.")],
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a quantizer of another program's codebook; nothing in the file is executed."""
    import json

    from units.codebooks import import_quantizer as run

    identity = run(codebook, out, encoder, force=force).identity
    typer.echo(json.dumps(identity.model_dump()) if as_json else f"{identity} -> {out}")


def export_quantizer(
    quantizer: Annotated[Path, typer.Argument(metavar="QUANTIZER", help="Quantizer directory.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .npy, .pt, .faiss, or .bin (km.bin).")],
    *,
    force: Force = False,
) -> None:
    """Write the codes for another program."""
    from units.codebooks import export_codebook
    from units.quantizer import load_quantizer

    loaded = load_quantizer(quantizer)
    export_codebook(loaded, out, force=force)
    typer.echo(f"{loaded.identity} -> {out}")


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Units file to read.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Units file to write.")],
    layout: Annotated[Layout, typer.Option("--from", help="Layout of IN.")],
    new_layout: Annotated[Layout, typer.Option("--to", help="Layout of OUT.")],
    *,
    quantizer: Annotated[Path | None, typer.Option("--quantizer", help="What made foreign units.")] = None,
    encoder: Annotated[str | None, typer.Option("--encoder", help="Instead of --quantizer: its encoder, ...")] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="... its codebook size, ...")] = None,
    frame_rate: Annotated[float | None, typer.Option("--frame-rate", min=1, help="... and its frame rate.")] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="Turns names in foreign files into utterance ids, and back."),
    ] = None,
    deduplicated: Annotated[
        bool, typer.Option("--deduplicated", help="Foreign lines without durations hold one unit a run, not a frame.")
    ] = False,
    key: Annotated[str | None, typer.Option("--key", help="Under which the units of a dictionary lie.")] = None,
    force: Force = False,
) -> None:
    """Convert units between our files and those of other programs.

    gslm: `name|1 1 2`. km: .km beside its .tsv. textlesslib: .units and .durations. slamkit: JSON lines of units and
    duration, or (slamkit-tokens) of `<Un1><Un2>`. dict: a dictionary a line (speech-resynthesis, pGSLM).
    """
    from textless.audio.manifest import read_manifest
    from textless.errors import UserError
    from units.convert import convert as run
    from units.identity import stated_identity
    from units.quantizer import load_quantizer

    identity = load_quantizer(quantizer).identity if quantizer is not None else None
    if encoder is not None or k is not None:
        if identity is not None or encoder is None or k is None or frame_rate is None:
            raise UserError("give either --quantizer, or --encoder, --k and --frame-rate together")
        identity = stated_identity(encoder, k, frame_rate)
    recordings = read_manifest(manifest) if manifest is not None else None
    done = run(
        source,
        target,
        layout.value,
        new_layout.value,
        identity=identity,
        manifest=recordings,
        deduplicated=deduplicated,
        key=key,
        force=force,
    )
    typer.echo(f"{done} utterances -> {target}")
