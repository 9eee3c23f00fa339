"""`textless speaker`: train an encoder of voices, and embed recordings with one."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from textless.options import ConfigFile, Device, Force, Json, Set

app = typer.Typer(help="Who speaks: train a speaker encoder, embed recordings.", no_args_is_help=True)


@app.command()
def train(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run and of the model.")],
    overrides: Set = None,
    device: Device = "auto",
    *,
    force: Force = False,
) -> None:
    """Train a speaker encoder on manifests that name speakers; a stopped run continues."""
    from textless.speakers.config import SpeakerTrainingConfig
    from textless.speakers.train import train as run

    run(SpeakerTrainingConfig.load(config, overrides or ()), out, device_name=device, force=force)


@app.command()
def embed(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="Embeddings to write.")],
    model: Annotated[str, typer.Option("--model", help="DIR of a speaker encoder, or hf:DIR of an x-vector model.")],
    per: Annotated[
        Literal["utterance", "speaker"], typer.Option("--per", help="speaker: the mean over a speaker's recordings.")
    ] = "utterance",
    device: Device = "auto",
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """Embed recordings, or the speakers of a manifest: unit vectors that are close where the voice is the same."""
    from json import dumps

    from textless.speakers.embed import embed_file

    found, skipped = embed_file(manifest, out, model, per, device=device, force=force)
    if json:
        result = {"per": per, "embeddings": len(found.ids), "dim": found.dim, "skipped": len(skipped)}
        typer.echo(dumps(result | {"encoder_sha256": found.encoder_sha256}))
        return
    typer.echo(f"{len(found.ids)} {per}s, {found.dim} dimensions -> {out}")
    if skipped:
        typer.echo(f"{len(skipped)} recordings skipped, see {out.with_name('skipped.tsv')}")
