"""Verbs `prepare`, `prepare-text`, `prepare-speech` and `phonemize`: recordings and text → what training reads."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from textless.options import Device, Force, Json, PrecisionName, PrecisionOption, Seed, Shards

Text = Annotated[Path, typer.Argument(metavar="TEXT", help="Unpaired text in UTF-8, a sentence a line.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")]
Phones = Annotated[
    str,
    typer.Option(
        "--phones", help="How words sound: espeak:LANGUAGE, lexicon:FILE, letters, or phones if TEXT is phones already."
    ),
]
MinPhoneCount = Annotated[
    int, typer.Option("--min-phone-count", min=0, help="Words with rarer phones are unknown (LibriSpeech: 1000).")
]
MinWordCount = Annotated[int, typer.Option("--min-word-count", min=1, help="Rarer words are unknown.")]


class Vad(StrEnum):
    """What takes silences away."""

    energy = "energy"
    rvad = "rvad"
    silero = "silero"
    none = "none"


def prepare(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="Recordings to train on.")],
    text: Text,
    out: Out,
    encoder: Annotated[str, typer.Option("--encoder", help="With its layer, such as hubert-large:15.")],
    phones: Phones,
    *,
    recipe: Annotated[
        Literal["matching", "wav2vec-u", "wav2vec-u-2"],
        typer.Option("--recipe", help="Whose defaults the options below have: of `asr train`'s method."),
    ] = "matching",
    valid: Annotated[
        Path | None, typer.Option("--valid", help="Manifest of other recordings, prepared like the first.")
    ] = None,
    vad: Annotated[
        Vad, typer.Option("--vad", help="Takes silences away: by loudness, or of the package rVADfast or silero-vad.")
    ] = Vad.energy,
    pca: Annotated[int | None, typer.Option("--pca", min=1, help="Numbers that describe a segment.")] = None,
    clusters: Annotated[int | None, typer.Option("--clusters", min=2, help="Codes whose changes are cut at.")] = None,
    segments_per_second: Annotated[
        float | None, typer.Option("--segments-per-second", help="0: a segment for every change of cluster.")
    ] = None,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Bring every utterance to zero mean and unit variance before it is cut.")
    ] = False,
    silence: Annotated[
        float | None, typer.Option("--silence", help="Probability of a silence between words of the text.")
    ] = None,
    silence_at_ends: Annotated[
        bool | None,
        typer.Option("--silence-at-ends/--no-silence-at-ends", help="A silence before and after a sentence."),
    ] = None,
    min_word_count: MinWordCount = 2,
    min_phone_count: MinPhoneCount = 0,
    auxiliary: Annotated[
        bool | None,
        typer.Option("--auxiliary/--no-auxiliary", help="Write the auxiliary targets of wav2vec-U 2.0."),
    ] = None,
    agreement: Annotated[
        bool, typer.Option("--agreement/--no-agreement", help="See whether clusters and phones agree, too.")
    ] = True,
    seed: Seed = 0,
    shards: Shards = None,
    device: Device = "auto",
    precision: PrecisionOption = PrecisionName.fp32,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Prepare speech and text for training, and compare them; the same command goes on where it was stopped."""
    import json
    from dataclasses import asdict, replace

    from unsup_asr.prepare import prepare as run
    from unsup_asr.prepare import recipe as options_of

    options = options_of(recipe, encoder, phones)
    text_options = replace(
        options.text,
        min_word_count=min_word_count,
        min_phone_count=min_phone_count,
        silence=options.text.silence if silence is None else silence,
        silence_at_ends=options.text.silence_at_ends if silence_at_ends is None else silence_at_ends,
        seed=seed,
    )
    rate = options.speech.segments_per_second if segments_per_second is None else segments_per_second
    speech_options = replace(
        options.speech,
        pca=pca or options.speech.pca,
        clusters=clusters or options.speech.clusters,
        segments_per_second=rate or None,
        normalise=normalise,
        seed=seed,
    )
    options = replace(
        options,
        text=text_options,
        speech=speech_options,
        vad=vad.value,
        auxiliary=options.auxiliary if auxiliary is None else auxiliary,
    )
    found = run(
        *(manifest, text, out, options),
        valid=valid,
        match=agreement,
        n_shards=shards,
        device=device,
        precision=precision.value,
        force=force,
    )
    if found is not None:
        typer.echo(json.dumps(asdict(found)) if as_json else str(found))


def prepare_text(
    text: Text,
    out: Out,
    phones: Phones,
    *,
    min_word_count: MinWordCount = 2,
    min_phone_count: MinPhoneCount = 0,
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


def prepare_speech(
    features: Annotated[
        Path,
        typer.Argument(metavar="FEATURES", help="Feature store of speech without silences (corpus remove-silence)."),
    ],
    out: Out,
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
    like: Annotated[
        Path | None,
        typer.Option("--like", help="Cut as this prepared speech was; the options above are not looked at."),
    ] = None,
    seed: Seed = 0,
    shards: Shards = None,
    device: Device = "cpu",
    *,
    normalise: Annotated[
        bool, typer.Option("--normalise", help="Bring every utterance to zero mean and unit variance first.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Cut speech into segments of about the length of phones, and describe each by a mean."""
    import json

    from unsup_asr.prepare_speech import SpeechOptions
    from unsup_asr.prepare_speech import prepare_speech as run

    options = SpeechOptions(pca, clusters, segments_per_second, normalise, seed=seed)
    summary = run(features, out, options, like=like, n_shards=shards, device=device, force=force)
    typer.echo(
        json.dumps(summary)
        if as_json
        else f"{out}: {summary['segments']} segments of {summary['utterances']} utterances, "
        f"{summary['segments_per_second']:.2f} a second"
    )


def phonemize(
    transcripts: Annotated[
        Path, typer.Argument(metavar="TRANSCRIPTS", help="Manifest with texts, or transcripts in words.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.tsv", help="phones.tsv to write.")],
    phones: Phones,
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make phones of transcripts, to score against or to train a topline on; unsupervised training never reads them."""
    import json
    from dataclasses import asdict

    from unsup_asr.phonemize import phonemize as run

    report = run(transcripts, out, phones, force=force)
    typer.echo(json.dumps(asdict(report)) if as_json else f"{out}: {report}")
