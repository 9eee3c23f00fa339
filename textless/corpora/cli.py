"""`textless corpus`: make the embedded synthetic corpus, a manifest of a folder, or a corpus without its silences."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from textless.errors import UserError
from textless.options import Force, Json, Seed, Shards

app = typer.Typer(
    help="Corpora: synthesize one with ground truth, or scan a folder of recordings.", no_args_is_help=True
)


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to create.")],
    hours: Annotated[float, typer.Option("--hours", help="Hours of training speech; dev and test come on top.")] = 2.5,
    speakers: Annotated[
        int,
        typer.Option("--speakers", help="Training speakers; a quarter as many others, at least 4, speak the test set."),
    ] = 24,
    language: Annotated[str, typer.Option("--language", help="Code of a language of espeak-ng.")] = "en-us",
    seed: Seed = 0,
    text: Annotated[
        Path | None,
        typer.Option("--text", help="Sentences in any language, one a line, instead of the English grammar."),
    ] = None,
    pairs: Annotated[
        int | None,
        typer.Option(
            "--pairs", help="Word pairs, and half as many sentence pairs (default: by the hours, at most 500)."
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Default: one for every processor.")
    ] = None,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """Synthesize speech with phones, words, ABX items, word/nonword pairs and right/wrong sentence pairs."""
    from textless.corpora.synth import SynthesisConfig, synthesize_corpus

    config = SynthesisConfig(hours=hours, speakers=speakers, language=language, seed=seed, text=text, pairs=pairs)
    summary = synthesize_corpus(config, out, processes=processes, force=force)
    if json:
        _print_json(summary)
        return
    for name, counts in summary["splits"].items():
        typer.echo(
            f"{name:7s}{counts['hours']:8.3f} h  {counts['utterances']:6d} utterances  "
            f"{len(counts['speakers']):3d} speakers  {counts['phones']:7d} phones"
        )
    typer.echo(f"{len(summary['phones']) - 1} different phones")


@app.command()
def scan(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of recordings, searched recursively.")],
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST.tsv", help="Manifest to write.")],
    speaker_from: Annotated[
        Literal["none", "parent", "prefix"],
        typer.Option("--speaker-from", help="Speaker: the file's folder, or its name up to the first - or _."),
    ] = "none",
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """List the usable recordings of a folder in a manifest, and the others in skipped.tsv beside it."""
    from textless.audio.io import info
    from textless.audio.manifest import write_manifest, write_skipped
    from textless.audio.scan import scan as scan_folder
    from textless.files import refuse_overwrite

    if manifest.is_dir():
        raise UserError(f"{manifest} is a directory; give the name of the manifest to write, such as manifest.tsv")
    refuse_overwrite(manifest, force=force)
    found, skipped = scan_folder(directory, speaker_from)
    write_manifest(manifest, found)
    write_skipped(manifest.with_name("skipped.tsv"), skipped)
    seconds = sum(u.n_samples / info(found.audio_path(u)).sample_rate for u in found)
    speakers = len({u.speaker for u in found if u.speaker is not None})
    summary = {
        "utterances": len(found),
        "hours": round(seconds / 3600, 4),
        "speakers": speakers,
        "skipped": len(skipped),
    }
    if json:
        _print_json(summary)
        return
    typer.echo(f"{len(found)} utterances, {seconds / 3600:.3f} h" + (f", {speakers} speakers" if speakers else ""))
    if skipped:
        typer.echo(f"{len(skipped)} files skipped, listed in {manifest.with_name('skipped.tsv')}")


@app.command("remove-silence")
def remove_silence(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Recordings of single voices.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the shortened recordings and their manifest.")],
    threshold: Annotated[
        float,
        typer.Option("--threshold", min=0.0, max=1.0, help="Level of speech: 0 the noise floor, 1 loud speech."),
    ] = 0.35,
    shortest_gap: Annotated[
        float, typer.Option("--shortest-gap", min=0.0, help="Seconds; shorter silences stay.")
    ] = 0.2,
    margin: Annotated[float, typer.Option("--margin", min=0.0, help="Seconds kept around speech.")] = 0.05,
    vad: Annotated[
        Literal["energy", "rvad", "silero"],
        typer.Option("--vad", help="Detector: by loudness, or of the package rVADfast or silero-vad."),
    ] = "energy",
    shards: Shards = None,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """Cut silences out of recordings, by loudness unless another detector is named; kept.tsv says what is left."""
    from dataclasses import asdict

    from textless.audio.manifest import read_manifest
    from textless.audio.vad import VadOptions
    from textless.corpora.silence import remove_silence as run

    options = VadOptions(threshold=threshold, shortest_gap=shortest_gap, margin=margin)
    report = run(read_manifest(manifest), out, options, vad=vad, n_shards=shards, force=force)
    if json:
        _print_json(asdict(report))
    else:
        typer.echo(str(report))


def _print_json(value: Any) -> None:  # noqa: ANN401
    from json import dumps

    typer.echo(dumps(value, ensure_ascii=False))
