"""Verb `decode`: features → phones and words."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Force, Json


class Search(StrEnum):
    """Whose beam search."""

    own = "own"
    flashlight = "flashlight"


Model = Annotated[Path, typer.Option("--model", help="Directory of a recogniser.")]
Lm = Annotated[
    Path | None, typer.Option("--lm", help="N-gram model of phones: an ARPA file, or prepared text to estimate it.")
]
LexiconFile = Annotated[
    Path | None, typer.Option("--lexicon", help="Decode words: a word and its phones a line, or prepared text.")
]
WordsLm = Annotated[
    Path | None, typer.Option("--words-lm", help="N-gram model of words: an ARPA file, or prepared text.")
]
Order = Annotated[
    int | None, typer.Option("--order", min=1, help="Of models that are estimated; default 4, of words 3.")
]
LmWeight = Annotated[float, typer.Option("--lm-weight", help="Of the language model, against 1 of the recogniser.")]
Insertion = Annotated[float, typer.Option("--insertion", help="Score of every phone, or of every word of a lexicon.")]
SilenceScore = Annotated[float, typer.Option("--silence-score", help="Score of every silence.")]
Beam = Annotated[int, typer.Option("--beam", help="Hypotheses kept.")]
Threshold = Annotated[float, typer.Option("--threshold", help="Hypotheses so much below the best are dropped.")]
SumPaths = Annotated[
    bool, typer.Option("--sum-paths", help="All paths of the same phones count together, not the likeliest alone.")
]
SearchOption = Annotated[
    Search, typer.Option("--search", help="Our own beam search or, for phones, flashlight's (package flashlight-text).")
]


def decode(
    features: Annotated[Path, typer.Argument(metavar="FEATURES", help="Feature store of the recogniser's encoder.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.tsv", help="Phones; words go to OUT.words.tsv beside it.")],
    model: Model,
    *,
    lm: Lm = None,
    lexicon: LexiconFile = None,
    words_lm: WordsLm = None,
    order: Order = None,
    lm_weight: LmWeight = 2.0,
    insertion: Insertion = 1.0,
    silence_score: SilenceScore = 0.0,
    beam: Beam = 100,
    threshold: Threshold = 25.0,
    sum_paths: SumPaths = False,
    search: SearchOption = Search.own,
    tune: Annotated[
        Path | None, typer.Option("--tune", help="Prepared text: find both scores by it, without labels.")
    ] = None,
    silences: Annotated[bool, typer.Option("--silences", help="Write silences, too.")] = False,
    times: Annotated[bool, typer.Option("--times", help="Write OUT.times.tsv: where phones, or words, lie.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Transcribe features: greedily, with a language model of phones, or as words of a lexicon."""
    import json

    from unsup_asr.decode import decode as run
    from unsup_asr.decoding.build import DecoderSources
    from unsup_asr.decoding.decoder import DecodingOptions

    sources = DecoderSources(lm, lexicon, words_lm, order, search.value)
    options = DecodingOptions(lm_weight, insertion, silence_score, beam, threshold, sum_paths)
    report = run(features, out, model, sources, options, tune_text=tune, silences=silences, times=times, force=force)
    typer.echo(json.dumps(report.summary()) if as_json else f"{out}: {report}")
