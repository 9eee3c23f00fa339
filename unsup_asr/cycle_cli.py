"""`textless asr train-tts`, `cycle` and `augment`: synthesis, and what it does for recognition."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import ConfigFile, Device, Force, Json, Seed, Set


def train_tts(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run and of the synthesizer.")],
    overrides: Set = None,
    device: Device = "auto",
    *,
    force: Force = False,
) -> None:
    """Train a synthesizer on speech and its phones (true ones, or pseudo labels); a stopped run continues."""
    from unsup_asr.tts.config import TtsConfig
    from unsup_asr.tts.train import train as run

    run(TtsConfig.load(config, overrides or ()), out, device_name=device, force=force)


def cycle(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run, its control, asr/ and tts/.")],
    overrides: Set = None,
    device: Device = "auto",
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Let a recogniser and a synthesizer teach each other; the control with deranged pairs is run beside."""
    import json

    from unsup_asr.cycle.config import CycleConfig
    from unsup_asr.cycle.control import said
    from unsup_asr.cycle.train import train as run

    report = run(CycleConfig.load(config, overrides or ()), out, device_name=device, force=force)
    typer.echo(json.dumps(report) if as_json else said(report))


def augment(
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="Folder of `asr prepare-text`, or phones.tsv.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    model: Annotated[Path, typer.Option("--model", help="Directory of `asr train-tts`, or tts/ of a cycle.")],
    vocoder: Annotated[
        Path | None, typer.Option("--vocoder", help="Speak the units, too: a vocoder of the same quantizer.")
    ] = None,
    voices: Annotated[int, typer.Option("--voices", min=1, help="Voices that say each sentence.")] = 1,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Sentences, drawn at random.")] = None,
    scatter: Annotated[
        float, typer.Option("--scatter", min=0.0, help="0: the likeliest speech; 1: as much chance as in speech.")
    ] = 1.0,
    with_speech: Annotated[
        Path | None, typer.Option("--with-speech", help="Feature store of real speech to put beside.")
    ] = None,
    with_transcripts: Annotated[
        Path | None, typer.Option("--with-transcripts", help="phones.tsv of that speech.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    skip_unknown: Annotated[
        bool, typer.Option("--skip-unknown", help="Leave out sentences with phones that were never seen.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Speak text by many voices: pairs of speech and phones to train a recogniser on, beside real ones."""
    import json
    from dataclasses import asdict

    from unsup_asr.tts.augment import AugmentOptions
    from unsup_asr.tts.augment import augment as run

    options = AugmentOptions(
        voices=voices, limit=limit, scatter=scatter, seed=seed, skip_unknown=skip_unknown,
        with_speech=with_speech, with_transcripts=with_transcripts, vocoder=vocoder,
    )  # fmt: skip
    report = run(text, model, out, options, device_name=device, force=force)
    typer.echo(json.dumps(asdict(report)) if as_json else f"{out}: {report}")
