"""`textless eval`: error rates of speech, as a recogniser hears it."""

from pathlib import Path
from typing import Annotated

import typer

from textless.errors import UserError
from textless.options import Device, Force, Json, Seed

Manifest = Annotated[Path, typer.Argument(help="Manifest of the recordings to judge.")]


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
    recognizer: Annotated[Path, typer.Option("--recognizer", help="What `train-recognizer` wrote.")],
    details: Annotated[Path | None, typer.Option(help="Also write a TSV with a line for every utterance.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    json: Json = False,
) -> None:
    """Phone error rate of speech, as a recogniser hears it."""
    from zerospeech_eval.per import evaluate, write_details
    from zerospeech_eval.report import print_json

    result = evaluate(manifest, alignments, recognizer, seed=seed, device=device)
    if details is not None:
        write_details(details, result)
    if json:
        print_json(result.summary())
        return
    typer.echo(
        f"phone error rate {100 * result.rate:.2f} % (95 % interval {100 * result.low:.2f} to {100 * result.high:.2f}, "
        f"bootstrap over {len(result.utterances)} utterances): {result.substitutions} substitutions, "
        f"{result.insertions} insertions, {result.deletions} deletions in {result.n_reference} phones"
    )


def cer(
    manifest: Manifest,
    recognizer: Annotated[
        str | None, typer.Option("--recognizer", metavar="MODULE:FUNCTION", help="Takes a waveform, returns text.")
    ] = None,
    heard: Annotated[Path | None, typer.Option(help="Transcriptions instead: `id<TAB>text` lines.")] = None,
    references: Annotated[
        Path | None, typer.Option(help="Texts: `id<TAB>text` lines (default: the manifest's column text).")
    ] = None,
    seed: Seed = 0,
    *,
    json: Json = False,
) -> None:
    """Character error rate of speech, by a recogniser of your own."""
    from textless.audio.manifest import read_manifest
    from zerospeech_eval.character_errors import character_errors, load_transcriber, read_transcriptions, transcribe
    from zerospeech_eval.report import print_json

    if (recognizer is None) == (heard is None):
        raise UserError("give either --recognizer module:function or --heard transcriptions.tsv")
    recordings = read_manifest(manifest)
    texts = read_transcriptions(references) if references is not None else {}
    wanted = {u.id: texts.get(u.id, "") if references is not None else u.text or "" for u in recordings}
    if recognizer is not None:
        found = transcribe(recordings, load_transcriber(recognizer))
    else:
        assert heard is not None
        found = read_transcriptions(heard)
    result = character_errors(wanted, found, seed)
    if json:
        print_json(result.summary())
        return
    typer.echo(
        f"character error rate {100 * result.rate:.2f} % (95 % interval {100 * result.low:.2f} to "
        f"{100 * result.high:.2f}, bootstrap over {len(result.utterances)} utterances; {result.n_reference} characters)"
    )
