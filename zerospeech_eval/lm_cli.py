"""`textless eval`: what language models of speech know of words, sentences, meaning, prosody and acoustics."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from textless.errors import UserError
from textless.options import Json

Scores = Annotated[Path, typer.Argument(help="What `textless ulm score` writes, or `name value` lines.")]
Pairs = Annotated[Path, typer.Argument(help="Gold CSV of the benchmark.")]
PerUnit = Annotated[bool, typer.Option("--per-unit", help="Divide log-probabilities by the number of units.")]
SkipPairs = Annotated[bool, typer.Option("--skip-missing", help="Leave out, and count, pairs without scores.")]


def register(app: typer.Typer) -> None:
    """Add these verbs to `textless eval`."""
    for verb in (swuggy, sblimp, prosaudit, ssimi, storycloze, salmon):
        app.command()(verb)


def swuggy(
    scores: Scores, pairs: Pairs, *, per_unit: PerUnit = False, skip_missing: SkipPairs = False, json: Json = False
) -> None:
    """Spot the word: does a language model find words likelier than non-words?"""
    from zerospeech_eval.report import print_result
    from zerospeech_eval.scores import read_scores
    from zerospeech_eval.swuggy import swuggy as evaluate

    print_result(evaluate(read_scores(scores, per_unit=per_unit), pairs, skip_missing=skip_missing), as_json=json)


def sblimp(
    scores: Scores, pairs: Pairs, *, per_unit: PerUnit = False, skip_missing: SkipPairs = False, json: Json = False
) -> None:
    """Acceptability: does a language model find grammatical sentences likelier than ungrammatical ones?"""
    from zerospeech_eval.report import print_result
    from zerospeech_eval.sblimp import sblimp as evaluate
    from zerospeech_eval.scores import read_scores

    print_result(evaluate(read_scores(scores, per_unit=per_unit), pairs, skip_missing=skip_missing), as_json=json)


def prosaudit(
    scores: Scores, pairs: Pairs, *, per_unit: PerUnit = False, skip_missing: SkipPairs = False, json: Json = False
) -> None:
    """Prosody: does a language model find pauses likelier where they belong?"""
    from zerospeech_eval.prosaudit import prosaudit as evaluate
    from zerospeech_eval.report import print_result
    from zerospeech_eval.scores import read_scores

    print_result(evaluate(read_scores(scores, per_unit=per_unit), pairs, skip_missing=skip_missing), as_json=json)


def storycloze(scores: Scores, *, skip_missing: SkipPairs = False, json: Json = False) -> None:
    """Does a language model find a story's own ending likelier? By sum, and by mean where units are counted."""
    from zerospeech_eval.report import print_results
    from zerospeech_eval.scores import read_conventions
    from zerospeech_eval.storycloze import storycloze as evaluate

    print_results([evaluate(found, skip_missing=skip_missing) for found in read_conventions(scores)], as_json=json)


def salmon(scores: Scores, *, skip_missing: SkipPairs = False, json: Json = False) -> None:
    """Does a language model find a steady voice or background likelier? By sum, and by mean where units are counted."""
    from zerospeech_eval.report import print_results
    from zerospeech_eval.scores import read_conventions
    from zerospeech_eval.storycloze import salmon as evaluate

    print_results([evaluate(found, skip_missing=skip_missing) for found in read_conventions(scores)], as_json=json)


def ssimi(
    gold: Annotated[Path, typer.Argument(help="Gold CSV: which recording says which word.")],
    pairs: Annotated[Path, typer.Argument(help="CSV of pairs of words and how alike people find them.")],
    synthetic: Annotated[Path | None, typer.Option(help="Features of the synthetic recordings.")] = None,
    librispeech: Annotated[Path | None, typer.Option(help="Features of the librispeech recordings.")] = None,
    pooling: Annotated[
        Literal["mean", "max", "min", "sum", "last", "lastlast", "off"], typer.Option(help="Over time.")
    ] = "mean",
    metric: Annotated[str, typer.Option(help="Between vectors, by scipy's names, such as cosine.")] = "euclidean",
    *,
    json: Json = False,
) -> None:
    """Meaning: are the features of words as far apart as people find the words?"""
    from textless.features.store import open_features
    from zerospeech_eval.report import print_similarity
    from zerospeech_eval.ssimi import ssimi as evaluate
    from zerospeech_eval.vector_distances import METRICS

    if metric not in METRICS:
        raise UserError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    paths = {"synthetic": synthetic, "librispeech": librispeech}
    features = {kind: open_features(path) for kind, path in paths.items() if path is not None}
    if not features:
        raise UserError("give --synthetic FEATURES, --librispeech FEATURES, or both")
    print_similarity(evaluate(features, gold, pairs, pooling=pooling, metric=metric), as_json=json)
