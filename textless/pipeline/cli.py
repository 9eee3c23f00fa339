"""Verbs that compose the stages: `bundle`, `resynthesize`, `convert`, `continue`, `demo`."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, Json, Seed

Bundle = Annotated[Path, typer.Option("--bundle", help="Directory made by `textless bundle`.")]
Speed = Annotated[float, typer.Option("--speed", min=0.1, help="2 speaks twice as quickly.")]
Semitones = Annotated[float, typer.Option("--pitch", help="Semitones higher (lower: negative); needs raw pitch.")]
Source = Annotated[
    str | None, typer.Option("--source", help="Who speaks in IN, if the vocoder knows that voice: keeps its pitch.")
]
Loudness = Annotated[float | None, typer.Option("--loudness", min=-70, max=0, help="LUFS of the output, e.g. -23.")]
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
    speed: Speed = 1.0,
    semitones: Semitones = 0.0,
    source: Source = None,
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
    spoken = pipeline.resynthesize(waveform, speaker, speed=speed, semitones=semitones, source=source)
    io.save(out, spoken)
    seconds = len(spoken) / io.SAMPLE_RATE
    typer.echo(
        f"{len(pipeline.encode(waveform).units)} units in {len(waveform) / io.SAMPLE_RATE:.2f} s, "
        f"spoken in {seconds:.2f} s -> {out}"
    )


def convert(
    recordings: Annotated[Path, typer.Argument(metavar="IN", help="A recording, or a folder of them.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Audio file to write, or a folder.")],
    bundle: Bundle,
    speaker: Speaker = None,
    *,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="A recording of who should speak, instead of a name.")
    ] = None,
    speaker_encoder: Annotated[
        str | None, typer.Option("--speaker-encoder", help="The one that the vocoder was trained with: DIR or hf:DIR.")
    ] = None,
    speed: Speed = 1.0,
    semitones: Semitones = 0.0,
    source: Source = None,
    loudness: Loudness = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Say recordings again in another voice; a stopped folder continues."""
    from textless.pipeline.conversion import Manner, Target, convert_path

    target = Target(speaker, reference, speaker_encoder)
    manner = Manner(speed, semitones, source, loudness)
    typer.echo(convert_path(recordings, out, bundle, target, manner, device=device, force=force))


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
    top_p: Annotated[float, typer.Option(min=0.001, max=1.0, help="1: all units.")] = 1.0,
    min_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="0: all units.")] = 0.0,
    repetition_penalty: Annotated[
        float, typer.Option(min=0.001, help="Above 1: what was said becomes less likely.")
    ] = 1.0,
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
        min_p=min_p,
        repetition_penalty=repetition_penalty,
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
