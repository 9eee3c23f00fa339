"""`textless eval`: error rates of speech, as a recogniser hears it."""

from pathlib import Path
from typing import Annotated

import typer

from textless.errors import UserError
from textless.options import Device, Force, Json, Seed

Manifest = Annotated[Path, typer.Argument(help="Manifest of the recordings to judge.")]
WHICH = "A folder of `train-recognizer`, hf:DIR (Hugging Face CTC), torchaudio:NAME, or MODULE:FUNCTION"


def register(app: typer.Typer) -> None:
    """Add these verbs to `textless eval`."""
    app.command("train-recognizer")(train_recognizer)
    app.command()(per)
    app.command()(cer)


def train_recognizer(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings.")],
    alignments: Annotated[Path, typer.Argument(help="alignments.tsv: their phones.")],
    out: Annotated[Path, typer.Argument(help="Folder of the recognizer.")],
    steps: Annotated[int, typer.Option(min=1, help="Batches of about 15 s of speech.")] = 1000,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    force: Force = False,
) -> None:
    """Train a small phone recogniser, the judge of resynthesised speech."""
    from zerospeech_eval.train_recognizer import train

    train(manifest, alignments, out, steps=steps, seed=seed, device=device, force=force)


def per(
    manifest: Manifest,
    alignments: Annotated[Path, typer.Argument(help="alignments.tsv: the phones they should hold.")],
    recognizer: Annotated[str, typer.Option("--recognizer", metavar="RECOGNIZER", help=f"{WHICH}; it writes phones.")],
    details: Annotated[Path | None, typer.Option(help="Also write a TSV with a line for every utterance.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    json: Json = False,
) -> None:
    """Phone error rate of speech, as a recogniser hears it."""
    from zerospeech_eval.per import evaluate
    from zerospeech_eval.report import print_json
    from zerospeech_eval.token_errors import write_details

    result = evaluate(manifest, alignments, recognizer, seed=seed, device=device)
    if details is not None:
        write_details(details, result)
    if json:
        print_json(result.summary())
        return
    typer.echo(str(result))


def cer(
    manifest: Manifest,
    recognizer: Annotated[
        str | None, typer.Option("--recognizer", metavar="RECOGNIZER", help=f"{WHICH}; it writes text.")
    ] = None,
    heard: Annotated[Path | None, typer.Option(help="Transcriptions instead: `id<TAB>text` lines.")] = None,
    references: Annotated[
        Path | None, typer.Option(help="Texts: `id<TAB>text` lines (default: the manifest's column text).")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    json: Json = False,
) -> None:
    """Character error rate of speech, by a recogniser of your choice."""
    from textless.audio.manifest import read_manifest
    from zerospeech_eval.character_errors import character_errors, transcribe
    from zerospeech_eval.report import print_json
    from zerospeech_eval.texts import read_transcripts
    from zerospeech_eval.transcribers import load_transcriber

    if (recognizer is None) == (heard is None):
        raise UserError("give either --recognizer or --heard transcriptions.tsv")
    recordings = read_manifest(manifest)
    texts = read_transcripts(references) if references is not None else {}
    wanted = {u.id: texts.get(u.id, "") if references is not None else u.text or "" for u in recordings}
    if recognizer is not None:
        found = transcribe(recordings, load_transcriber(recognizer, device))
    else:
        assert heard is not None
        found = read_transcripts(heard)
    result = character_errors(wanted, found, seed)
    if json:
        print_json(result.summary())
        return
    typer.echo(str(result))
