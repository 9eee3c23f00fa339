"""`textless vocoder ...`: train a unit vocoder, and speak with it."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import ConfigFile, Device, Force, Set, Shards

app = typer.Typer(help="Units to speech: train a vocoder, synthesize waveforms.", no_args_is_help=True)


@app.command()
def train(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run and of the model.")],
    overrides: Set = None,
    device: Device = "auto",
    *,
    force: Force = False,
) -> None:
    """Train a vocoder on units and the recordings they came from; a stopped run continues.

    Paths in the TOML are relative to its own folder, those given with --set to the working directory.
    """
    from vocoder.config import VocoderConfig
    from vocoder.train import train as run

    run(VocoderConfig.load(config, overrides or ()), out, device_name=device, force=force)


@app.command()
def synthesize(
    units: Annotated[Path, typer.Argument(metavar="UNITS", help="A units file (or the name of a sharded one).")],
    out: Annotated[Path, typer.Argument(metavar="OUTDIR", help="Folder of the WAVs and their manifest.tsv.")],
    model: Annotated[Path, typer.Option("--model", help="Directory of a trained vocoder.")],
    speaker: Annotated[
        str | None, typer.Option("--speaker", help="Who speaks (default: see --manifest, else the first speaker).")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Gives each utterance the speaker that this manifest names.")
    ] = None,
    speed: Annotated[float, typer.Option("--speed", min=0.1, max=10.0, help="2 speaks twice as quickly.")] = 1.0,
    device: Device = "auto",
    shards: Shards = None,
    *,
    predict_durations: Annotated[
        bool, typer.Option("--predict-durations", help="Predict durations even where the units file has them.")
    ] = False,
    force: Force = False,
) -> None:
    """Speak the utterances of a units file, one WAV each; the same command continues what was stopped."""
    from vocoder.synthesize import Voices, synthesize_files

    synthesize_files(
        units,
        out,
        model,
        voices=Voices(speaker, manifest),
        predict_durations=predict_durations,
        speed=speed,
        device_name=device,
        force=force,
        n_shards=shards,
    )
