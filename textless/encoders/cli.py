"""`textless encoder`: speech to features."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, Json, Shards

app = typer.Typer(help="Speech to features.", no_args_is_help=True)


class FeatureFormat(StrEnum):
    """How features lie on disk."""

    store = "store"
    npy = "npy"


@app.callback()
def _group() -> None:
    """Speech to features."""


@app.command()
def features(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings.")],
    out: Annotated[Path, typer.Argument(help="Feature store, or folder of .npy files, to write.")],
    encoder: Annotated[str, typer.Option("--encoder", help="mfcc, logmel@50, NAME:LAYER or DIR:LAYER.")],
    *,
    format_: Annotated[FeatureFormat, typer.Option("--format", help="npy: one float32 (T, D) file an utterance.")] = (
        FeatureFormat.store
    ),
    shards: Shards = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode every recording of a manifest; a killed run continues where it stopped."""
    import json

    from textless.audio.manifest import read_manifest
    from textless.distributed import select_device
    from textless.encoders.encoder import load_encoder
    from textless.features import extract

    corpus = read_manifest(manifest)
    loaded = load_encoder(encoder, select_device(device))
    if format_ is FeatureFormat.npy:
        skipped = extract.write_npy_folder(corpus, loaded, out, force=force)
    else:
        skipped = extract.store_features(corpus, loaded, out, n_shards=shards, force=force)
    result = {
        "encoder": encoder,
        "dim": loaded.dim,
        "frame_rate": loaded.frame_rate,
        "utterances": len(corpus) - len(skipped),
        "skipped": len(skipped),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"{result['utterances']} utterances, {loaded.dim} dimensions at {loaded.frame_rate:g} Hz -> {out}")
        if skipped:
            typer.echo(f"{len(skipped)} recordings skipped, see {out / 'skipped.tsv'}")
