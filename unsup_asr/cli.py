"""`textless asr`: unsupervised speech recognition."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Force, Json, Seed

app = typer.Typer(help="Unsupervised speech recognition.", no_args_is_help=True, rich_markup_mode=None)


@app.command("prepare-text")
def prepare_text(
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="Unpaired text in UTF-8, a sentence a line.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    phones: Annotated[str, typer.Option("--phones", help="How words sound: espeak:LANGUAGE, lexicon:FILE or letters.")],
    *,
    min_word_count: Annotated[int, typer.Option("--min-word-count", min=1, help="Rarer words are unknown.")] = 2,
    min_phone_count: Annotated[
        int, typer.Option("--min-phone-count", min=0, help="Words with rarer phones are unknown (LibriSpeech: 1000).")
    ] = 0,
    silence: Annotated[
        float, typer.Option("--silence", help="Probability of a silence between words (wav2vec-U 2.0: 0.5).")
    ] = 0.25,
    silence_at_ends: Annotated[
        bool, typer.Option("--silence-at-ends/--no-silence-at-ends", help="A silence before and after a sentence.")
    ] = True,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make phones of text: the only thing that unsupervised recognition knows of the language besides speech."""
    import json
    from dataclasses import asdict

    from unsup_asr.prepare_text import TextOptions
    from unsup_asr.prepare_text import prepare_text as run

    options = TextOptions(phones, min_word_count, min_phone_count, silence, silence_at_ends, seed)
    report = run(text, out, options, force=force)
    typer.echo(json.dumps(asdict(report)) if as_json else f"{out}: {report}")


@app.command("prepare-speech")
def prepare_speech(
    features: Annotated[
        Path,
        typer.Argument(metavar="FEATURES", help="Feature store of speech without silences (corpus remove-silence)."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    pca: Annotated[int, typer.Option("--pca", min=1, help="Numbers that describe a segment.")] = 512,
    clusters: Annotated[
        int, typer.Option("--clusters", min=2, help="Codes of k-means, whose changes are cut at.")
    ] = 128,
    segments_per_second: Annotated[
        float | None,
        typer.Option(
            "--segments-per-second", help="Let a change of cluster cost something, so that there are so many."
        ),
    ] = None,
    seed: Seed = 0,
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Cut speech into segments of about the length of phones, and describe each by a mean."""
    import json

    from unsup_asr.prepare_speech import SpeechOptions
    from unsup_asr.prepare_speech import prepare_speech as run

    options = SpeechOptions(pca, clusters, segments_per_second, seed=seed)
    summary = run(features, out, options, force=force)
    typer.echo(
        json.dumps(summary)
        if as_json
        else f"{out}: {summary['segments']} segments of {summary['utterances']} utterances, "
        f"{summary['segments_per_second']:.2f} a second"
    )
