"""Scores of language models: sLM21 and prosAudit."""

import math
from collections.abc import Mapping
from pathlib import Path

from textless.features.store import FeatureFolder
from zerospeech_eval.pairs import Accuracy, PairResult
from zerospeech_eval.prosaudit import prosaudit
from zerospeech_eval.sblimp import sblimp
from zerospeech_eval.scores import read_scores
from zerospeech_eval.ssimi import SimilarityResult, ssimi
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.measures import Row, Scores
from zerospeech_eval.submission.params import SlmParams
from zerospeech_eval.swuggy import swuggy


def score_slm21(parts: Mapping[str, Path], dataset: Dataset, params: SlmParams) -> Scores:
    """sWUGGY, sBLIMP and sSIMI of the parts that are there."""
    scores = Scores()
    for name in ("dev", "test"):
        if f"lexical/{name}" in parts:
            lexical = swuggy(read_scores(parts[f"lexical/{name}"]), dataset.need(f"lexical_{name}", "gold"))
            known = lexical.breakdown.get("in vocabulary", {}).get("all")
            scores.add(name, lexical_all=_percent(lexical.overall), lexical_in_vocab=_percent(known))
            scores.tables[f"score_lexical_{name}_by_pair.csv"] = lexical.pairs
            for part in ("frequency", "length"):
                rows = _breakdown(lexical, f"by {part}", part)
                scores.tables[f"score_lexical_{name}_by_{part}.csv"] = rows
        if f"syntactic/{name}" in parts:
            syntactic = sblimp(read_scores(parts[f"syntactic/{name}"]), dataset.need(f"syntactic_{name}", "gold"))
            scores.add(name, syntactic=_percent(syntactic.overall))
            scores.tables[f"score_syntactic_{name}_by_pair.csv"] = syntactic.pairs
            scores.tables[f"score_syntactic_{name}_by_type.csv"] = _breakdown(syntactic, "by type", "type")
        _add_semantics(scores, name, parts, dataset, params)
    return scores


def _add_semantics(scores: Scores, name: str, parts: Mapping[str, Path], dataset: Dataset, params: SlmParams) -> None:
    wanted = {"synthetic": params.semantic.synthetic, "librispeech": params.semantic.librispeech}
    features = {
        kind: FeatureFolder(parts[f"semantic/{name}/{kind}"])
        for kind, asked in wanted.items()
        if asked and f"semantic/{name}/{kind}" in parts
    }
    if not features:
        return
    gold, pairs = (dataset.need(f"semantic_{name}", item) for item in ("gold", "pairs"))
    result = ssimi(features, gold, pairs, pooling=params.semantic.pooling, metric=params.semantic.metric)
    for kind in features:
        figures = {f"semantic_{kind}": result.normal(kind), f"semantic_{kind}_weighted": result.weighted(kind)}
        scores.add(name, **{key: None if math.isnan(value) else value for key, value in figures.items()})
    scores.tables[f"score_semantic_{name}_pairs.csv"] = result.pairs
    scores.tables[f"score_semantic_{name}_correlation.csv"] = _correlations(result)


def score_prosaudit(parts: Mapping[str, Path], dataset: Dataset) -> Scores:
    """The two tasks of prosAudit."""
    scores = Scores()
    for name in ("dev", "test"):
        part = f"english_{name}"
        if part in parts:
            result = prosaudit(read_scores(parts[part]), dataset.need(part, "gold"))
            scores.add(name, **{kind: _percent(found) for kind, found in result.breakdown["by type"].items()})
            scores.tables[f"score_prosodic_english_{name}_by_pair.csv"] = result.pairs
            scores.tables[f"score_prosodic_english_{name}_by_type.csv"] = _breakdown(result, "by type", "type")
    return scores


def _percent(accuracy: Accuracy | None) -> float | None:
    return None if accuracy is None else 100 * accuracy.value


def _breakdown(result: PairResult, title: str, column: str) -> list[Row]:
    return [
        {column: name, "n": part.n, "score": part.value, "std": part.standard_deviation}
        for name, part in result.breakdown[title].items()
    ]


def _correlations(result: SimilarityResult) -> list[Row]:
    return [{"type": c.type, "dataset": c.dataset, "correlation": c.value, "n": c.n} for c in result.correlations]
