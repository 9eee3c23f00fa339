"""`textless vocoder ...`: train a unit vocoder, and speak with it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import ConfigFile, Device, Force, PrecisionName, PrecisionOption, Set, Shards
from vocoder.exchange_cli import import_

app = typer.Typer(help="Units to speech: train a vocoder, synthesize waveforms.", no_args_is_help=True)


class PitchFrom(StrEnum):
    """Where the pitch of units comes from."""

    given = "given"
    model = "model"


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


@app.command("fit-f0")
def fit_f0(
    pitch: Annotated[Path, typer.Argument(metavar="PITCH", help="Store of `units prosody pitch --frame-rate 200`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run and of the F0 quantizer.")],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Names the speakers; without it each utterance is its own.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", help="A TOML; see `vocoder/f0_config.py`.")] = None,
    overrides: Set = None,
    device: Device = "auto",
    *,
    force: Force = False,
) -> None:
    """Fit an F0 quantizer: pitch as 12.5 codes a second, a stream for a vocoder; a stopped fit continues."""
    from vocoder.f0_config import F0Config
    from vocoder.fit_f0 import fit_f0 as run

    run(pitch, out, F0Config.load(config, overrides or ()), manifest=manifest, device_name=device, force=force)


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
    embeddings: Annotated[
        Path | None,
        typer.Option("--embeddings", help="Of `speaker embed`, for vocoders that read them: speakers besides its own."),
    ] = None,
    style: Annotated[str | None, typer.Option("--style", help="For vocoders with styles (default: the first).")] = None,
    f0: Annotated[
        Path | None, typer.Option("--f0", help="Store of `units prosody pitch`, for vocoders with pitch.")
    ] = None,
    sources: Annotated[
        Path | None, typer.Option("--sources", help="Manifest of who spoke what --f0 holds (default: --manifest).")
    ] = None,
    pitch_from: Annotated[
        PitchFrom, typer.Option("--pitch-from", help="given: --f0 or the units file; model: predicted from the units.")
    ] = PitchFrom.given,
    speed: Annotated[float, typer.Option("--speed", min=0.1, max=10.0, help="2 speaks twice as quickly.")] = 1.0,
    pitch: Annotated[
        float, typer.Option("--pitch", min=-24, max=24, help="Semitones to raise it by, for vocoders with pitch.")
    ] = 0.0,
    loudness: Annotated[
        float | None, typer.Option("--loudness", min=-70, max=0, help="LUFS of every utterance, e.g. -23.")
    ] = None,
    precision: PrecisionOption = PrecisionName.fp32,
    device: Device = "auto",
    shards: Shards = None,
    *,
    predict_durations: Annotated[
        bool, typer.Option("--predict-durations", help="Predict durations even where the units file has them.")
    ] = False,
    force: Force = False,
) -> None:
    """Speak the utterances of a units file, one WAV each; the same command continues what was stopped."""
    from vocoder.casting import Casting
    from vocoder.synthesize import Delivery, synthesize_files

    synthesize_files(
        units,
        out,
        model,
        casting=Casting(speaker, manifest, embeddings, style, sources),
        delivery=Delivery(predict_durations, speed, pitch, loudness, predict_pitch=pitch_from is PitchFrom.model),
        f0=f0,
        precision=precision.value,
        device_name=device,
        force=force,
        n_shards=shards,
    )


app.command("import")(import_)
