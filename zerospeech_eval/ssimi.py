"""sSIMI, the semantic test of ZeroSpeech 2021: are words as far apart as people find them?

Every recording of a word is pooled over time to one vector. Two words of the *synthetic* set are as far apart as their
recordings in the same voice are on average, those of the *librispeech* set as all their recordings are. The score of a
data set of human judgements is 100 times Spearman's correlation of minus the judgement with the distance.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.errors import UserError
from zerospeech_eval.names import find_ids, listed
from zerospeech_eval.pairs import Row, read_table
from zerospeech_eval.vector_distances import METRICS, cdist

GOLD_COLUMNS = ("type", "filename", "word")
PAIR_COLUMNS = ("type", "dataset", "word_1", "word_2")
TYPES = ("synthetic", "librispeech")
MOST_TOKENS = 10  # of a word of the librispeech set
POOLINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda frames: frames.mean(axis=0),
    "max": lambda frames: frames.max(axis=0),
    "min": lambda frames: frames.min(axis=0),
    "sum": lambda frames: frames.sum(axis=0),
    "last": lambda frames: frames[-1],
    "lastlast": lambda frames: frames[-2],
    "off": lambda frames: frames[0],  # the file holds one vector
}


@dataclass(frozen=True)
class Correlation:
    """Of one data set of judgements, in percent; nan where all distances or all judgements are equal."""

    type: str
    dataset: str
    value: float
    n: int


@dataclass(frozen=True)
class SimilarityResult:
    """Correlations by type and data set, and every pair of words with its distance as `score`."""

    correlations: Sequence[Correlation]
    pairs: Sequence[Mapping[str, object]]
    pooling: str
    metric: str

    def normal(self, kind: str) -> float:
        """Mean over the data sets of a type that have a correlation; nan if none has."""
        return self._mean(kind, lambda _: 1)

    def weighted(self, kind: str) -> float:
        """The same, weighted by numbers of pairs."""
        return self._mean(kind, lambda correlation: correlation.n)

    def _mean(self, kind: str, weight: Callable[[Correlation], int]) -> float:
        found = [c for c in self.correlations if c.type == kind and not np.isnan(c.value)]
        total = sum(map(weight, found))
        return sum(weight(c) * c.value for c in found) / total if total else float("nan")

    def summary(self) -> dict[str, Any]:
        """Everything but the pairs; None for what is undefined."""
        types = [kind for kind in TYPES if any(c.type == kind for c in self.correlations)]
        return {
            "benchmark": "sSIMI",
            "pooling": self.pooling,
            "metric": self.metric,
            **{
                kind: {
                    "normal": _defined(self.normal(kind)),
                    "weighted": _defined(self.weighted(kind)),
                    "datasets": {
                        c.dataset: {"correlation": _defined(c.value), "n": c.n}
                        for c in self.correlations
                        if c.type == kind
                    },
                }
                for kind in types
            },
        }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


def ssimi(
    features: Mapping[str, Mapping[str, np.ndarray]],
    gold: Path,
    pairs: Path,
    *,
    pooling: str = "mean",
    metric: str = "euclidean",
) -> SimilarityResult:
    """Correlate distances with human judgements.

    Args:
        features: `(T, D)` by recording, by type (`synthetic`, `librispeech`); only these types are judged.
        gold: CSV with the columns type, filename, word, and voice for the synthetic set.
        pairs: CSV with the columns type, dataset, word_1, word_2, similarity, relatedness.
        pooling: see `POOLINGS`.
        metric: see `vector_distances`.

    Raises:
        UserError: recordings are missing or cannot be pooled, or a word of a pair has no recording.
        ValueError: the pooling or the metric is unknown.
    """
    if pooling not in POOLINGS or metric not in METRICS:
        raise ValueError(f"unknown pooling or metric: {pooling!r}, {metric!r}")
    recordings = [row for row in read_table(gold, GOLD_COLUMNS, "gold list") if row["type"] in features]
    judged = [row for row in read_table(pairs, PAIR_COLUMNS, "list of pairs") if row["type"] in features]
    if not judged:
        raise UserError(f"{pairs} has no pair of the type {' or '.join(features)}")
    scored: list[dict[str, object]] = []
    correlations = []
    for kind in sorted({row["type"] for row in judged}):
        words = _Words(kind, [row for row in recordings if row["type"] == kind], features[kind], pooling, gold)
        groups: dict[str, list[Row]] = {}
        for row in judged:
            if row["type"] == kind:
                groups.setdefault(row["dataset"], []).append(row)
        for dataset, rows in sorted(groups.items()):
            distances = np.array([words.distance(row["word_1"], row["word_2"], metric) for row in rows])
            correlation = 100 * spearman(-_judgements(rows, pairs), distances)
            correlations.append(Correlation(kind, dataset, correlation, len(rows)))
            scored += [{**row, "score": distance} for row, distance in zip(rows, distances.tolist(), strict=True)]
    return SimilarityResult(correlations, scored, pooling, metric)


class _Words:
    """Pooled vectors of the recordings of every word of one type."""

    def __init__(
        self, kind: str, rows: Sequence[Row], features: Mapping[str, np.ndarray], pooling: str, gold: Path
    ) -> None:
        self.kind, self.gold = kind, gold
        if kind == "synthetic" and any(not row.get("voice") for row in rows):
            raise UserError(f"{gold}: the synthetic set needs the column voice, filled in")
        ids = find_ids(features, [row["filename"] for row in rows])
        missing = [row["filename"] for row, found in zip(rows, ids, strict=True) if found is None]
        if missing:
            raise UserError(f"{len(missing)} of the {len(rows)} {kind} recordings have no features: {listed(missing)}")
        self.words: dict[str, list[tuple[str, np.ndarray]]] = {}  # voice and vector of every recording
        for row, found in zip(rows, ids, strict=True):
            assert found is not None
            vector = _pool(row["filename"], features[found], pooling)
            self.words.setdefault(row["word"], []).append((row.get("voice") or "", vector))

    def distance(self, one: str, other: str, metric: str) -> float:
        """Mean distance of the recordings of two words."""
        absent = [word for word in (one, other) if word not in self.words]
        if absent:
            raise UserError(f"{self.gold} has no {self.kind} recording of {listed(absent)}, which a pair compares")
        tokens, others = self.words[one], self.words[other]
        if self.kind == "librispeech" and max(len(tokens), len(others)) > MOST_TOKENS:
            raise UserError(f"{self.gold} has more than {MOST_TOKENS} librispeech recordings of {one!r} or {other!r}")
        distances = cdist(np.array([v for _, v in tokens]), np.array([v for _, v in others]), metric)
        if self.kind == "synthetic":
            same = np.array([[voice == another for another, _ in others] for voice, _ in tokens])
            if not same.any():
                raise UserError(f"{self.gold} has no voice that says both {one!r} and {other!r}")
            distances = distances[same]
        return float(distances.mean())


def _pool(filename: str, frames: np.ndarray, pooling: str) -> np.ndarray:
    if not np.isfinite(frames).all():
        raise UserError(f"features of {filename!r} hold NaN or infinite values; extract them again")
    if len(frames) < (2 if pooling == "lastlast" else 1) or (pooling == "off" and len(frames) != 1):
        wants = {"lastlast": "two frames at least", "off": "one frame, a vector pooled before"}
        raise UserError(f"pooling {pooling!r} takes {wants.get(pooling, 'a frame')}; {filename!r} has {len(frames)}")
    return POOLINGS[pooling](frames.astype(np.float64))


def _judgements(rows: Sequence[Row], pairs: Path) -> np.ndarray:
    """Relatedness, or similarity where not every pair of the data set has a relatedness."""
    for column in ("relatedness", "similarity"):
        values = [row.get(column) or "nan" for row in rows]
        try:
            judgements = np.array(values, dtype=np.float64)
        except ValueError as error:
            raise UserError(f"{pairs}: {column} of {rows[0]['dataset']} should be numbers: {error}") from error
        if not np.isnan(judgements).any():
            return judgements
    raise UserError(f"{pairs}: {rows[0]['dataset']} has pairs with neither relatedness nor similarity")


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of the ranks of `(N,)` and `(N,)`, ties sharing their mean rank; nan if all of one are equal."""
    if np.isnan(x).any() or np.isnan(y).any():
        return float("nan")
    ranks = np.array([_ranks(x), _ranks(y)])
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    scale = np.sqrt(np.square(centred).sum(axis=1).prod())
    return float(centred[0] @ centred[1] / scale) if scale > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[group]
