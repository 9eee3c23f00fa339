"""Verbs that compose the stages: `bundle`, `resynthesize`, `continue`, `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, Json, Seed

Bundle = Annotated[Path, typer.Option("--bundle", help="Directory made by `textless bundle`.")]
Speaker = Annotated[str | None, typer.Option("--speaker", help="Who speaks (default: the vocoder's first speaker).")]


def bundle(
    out: Annotated[Path, typer.Argument(help="Directory to write.")],
    encoder: Annotated[str, typer.Option("--encoder", help="Specification of the encoder, for the record.")],
    quantizer: Annotated[Path, typer.Option("--quantizer", help="Quantizer directory.")],
    ulm: Annotated[Path, typer.Option("--ulm", help="Unit LM directory.")],
    vocoder: Annotated[Path, typer.Option("--vocoder", help="Vocoder directory.")],
    *,
    force: Force = False,
) -> None:
    """Put encoder, quantizer, unit LM and vocoder into one directory, checked to belong together."""
    from textless.pipeline.bundle import write_bundle

    parts = write_bundle(out, encoder, quantizer, ulm, vocoder, force=force)
    typer.echo(f"{parts.speech_to_units.quantizer.identity}, {len(parts.vocoder.speakers)} speakers -> {out}")


def resynthesize(
    recording: Annotated[Path, typer.Argument(metavar="IN", help="A recording.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Audio file to write (.wav, .flac, .ogg).")],
    bundle: Bundle,
    speaker: Speaker = None,
    *,
    speed: Annotated[float, typer.Option(min=0.1, help="2 speaks twice as quickly.")] = 1.0,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Say a recording again through units: the same words, another voice if asked for."""
    from textless.audio import io
    from textless.files import refuse_overwrite
    from textless.pipeline.speech import SpeechPipeline

    refuse_overwrite(out, force=force)
    waveform = io.load(recording)
    pipeline = SpeechPipeline.load(bundle, device)
    units = pipeline.encode(waveform)
    spoken = pipeline.vocoder.synthesize([units], [speaker], speed=speed)[0]
    io.save(out, spoken)
    seconds = len(spoken) / io.SAMPLE_RATE
    typer.echo(
        f"{len(units.units)} units in {len(waveform) / io.SAMPLE_RATE:.2f} s, spoken in {seconds:.2f} s -> {out}"
    )


def continue_(
    prompt: Annotated[Path, typer.Argument(help="A recording to continue.")],
    out: Annotated[Path, typer.Argument(metavar="OUTDIR", help="Folder of the continuations to write.")],
    bundle: Bundle,
    speaker: Speaker = None,
    *,
    n: Annotated[int, typer.Option("--n", min=1, help="How many continuations.")] = 3,
    seconds: Annotated[float, typer.Option(min=0.1, help="Longest continuation.")] = 5.0,
    prompt_seconds: Annotated[float | None, typer.Option(min=0.1, help="Use only the beginning of the prompt.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0)] = 0.7,
    top_k: Annotated[int, typer.Option(min=0, help="0: all units.")] = 0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0)] = 1.0,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Continue a recording: speech to units, the unit LM goes on, the vocoder speaks prompt and continuation."""
    import json

    from textless.audio import io
    from textless.files import atomic_directory, refuse_overwrite
    from textless.pipeline.speech import SpeechPipeline

    refuse_overwrite(out, force=force)
    waveform = io.load(prompt)
    if prompt_seconds is not None:
        waveform = waveform[: round(prompt_seconds * io.SAMPLE_RATE)]
    pipeline = SpeechPipeline.load(bundle, device)
    continuations = pipeline.continue_(
        waveform,
        n=n,
        seconds=seconds,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
        speaker=speaker,
    )
    rows = []
    with atomic_directory(out) as temporary:
        for number, continuation in enumerate(continuations):
            name = f"{prompt.stem}__{number}.wav"
            io.save(temporary / name, continuation.waveform)
            rows.append(
                {
                    "path": str(out / name),
                    "prompt_seconds": continuation.prompt_samples / io.SAMPLE_RATE,
                    "seconds": len(continuation.waveform) / io.SAMPLE_RATE,
                    "units": continuation.units.units,
                }
            )
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        for row in rows:
            typer.echo(f"{row['path']}: {row['prompt_seconds']:.2f} s prompt, {row['seconds']:.2f} s in all")


def demo(
    out: Annotated[Path, typer.Argument(help="Directory to fill; one that a stopped demo left is continued.")],
    speech: Annotated[
        Path | None, typer.Option("--speech", help="Your own recordings instead of the embedded synthetic corpus.")
    ] = None,
    *,
    hours: Annotated[float, typer.Option(min=0.05, help="Size of the synthetic corpus.")] = 4.0,
    scale: Annotated[float, typer.Option(min=0.01, help="Multiplies every number of training steps.")] = 1.0,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Run the whole chain, from recordings to spoken continuations and a report (OUT/report.html)."""
    from textless.pipeline.demo import run_demo

    report = run_demo(out, speech, hours=hours, scale=scale, seed=seed, force=force)
    typer.echo(f"report: {report}")
