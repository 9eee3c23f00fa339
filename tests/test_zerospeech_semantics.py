"""sSIMI against its formulas written out, with every metric and pooling, and its mistakes."""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from textless.errors import UserError
from zerospeech_eval.ssimi import POOLINGS, SimilarityResult, spearman, ssimi
from zerospeech_eval.vector_distances import METRICS, cdist

GOLD = ("type", "filename", "word", "voice")
PAIRS = ("type", "dataset", "word_1", "word_2", "similarity", "relatedness")
WORDS = [f"w{i}" for i in range(9)]
Features = dict[str, dict[str, np.ndarray]]


def both(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(x, y, strict=True))


# The formulas of scipy.spatial.distance, vector by vector.
FORMULAS = {
    "braycurtis": lambda x, y: sum(abs(a - b) for a, b in both(x, y)) / sum(abs(a + b) for a, b in both(x, y)),
    "canberra": lambda x, y: sum(abs(a - b) / (abs(a) + abs(b)) for a, b in both(x, y)),
    "chebyshev": lambda x, y: max(abs(a - b) for a, b in both(x, y)),
    "cityblock": lambda x, y: sum(abs(a - b) for a, b in both(x, y)),
    "correlation": lambda x, y: 1 - np.corrcoef(x, y)[0, 1],
    "cosine": lambda x, y: 1 - sum(a * b for a, b in both(x, y)) / math.hypot(*x) / math.hypot(*y),
    "euclidean": math.dist,
    "hamming": lambda x, y: sum(a != b for a, b in both(x, y)) / len(x),
    "jensenshannon": lambda x, y: math.sqrt(0.5 * (kl(x, y) + kl(y, x))),
    "minkowski": math.dist,
    "sqeuclidean": lambda x, y: math.dist(x, y) ** 2,
}


def kl(x: np.ndarray, y: np.ndarray) -> float:
    """From x to the mean of x and y, both made to sum to 1."""
    p, q = np.array(x) / sum(x), np.array(y) / sum(y)
    return sum(a * math.log(a / (0.5 * (a + b))) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("metric", METRICS)
def test_distances_are_the_formulas(metric: str) -> None:
    rng = np.random.default_rng(0)
    x, y = np.round(rng.uniform(0.1, 2, (4, 6)), 1), np.round(rng.uniform(0.1, 2, (3, 6)), 1)
    expected = [[FORMULAS[metric](a, b) for b in y] for a in x]
    np.testing.assert_allclose(cdist(x.astype(np.float32), y.astype(np.float32), metric), expected, rtol=1e-5)
    np.testing.assert_allclose(cdist(x, y, metric), expected, rtol=1e-12, atol=1e-15)


def test_spearman_shares_ranks_of_ties() -> None:
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    assert spearman(np.array([0.0, 5, 5, 9]), np.array([1.0, 2, 3, 4])) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
    x = np.random.default_rng(0).normal(size=50)
    assert spearman(x, np.exp(x)) == pytest.approx(1)
    assert spearman(x, -(x**3)) == pytest.approx(-1)
    assert math.isnan(spearman(x, np.zeros(50)))


def write(path: Path, columns: tuple[str, ...], rows: list[tuple]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


@pytest.fixture
def task(tmp_path: Path) -> tuple[Features, Path, Path]:
    """Nine words; synthetic ones in two voices, one word in one of them only; librispeech ones with 1 to 4 tokens."""
    rng = np.random.default_rng(3)
    gold: list[tuple] = []
    features: Features = {"synthetic": {}, "librispeech": {}}
    for i, word in enumerate(WORDS):
        gold += [("synthetic", f"s{word}{voice}", word, voice) for voice in "AB"[: 1 if i == 0 else 2]]
        gold += [("librispeech", f"l{word}{token}", word, "") for token in range(1 + i % 4)]
    for kind, name, *_ in gold:
        features[kind][f"audio/{name}"] = rng.normal(size=(int(rng.integers(2, 7)), 5))
    pairs = [
        (kind, dataset, a, b, round(rng.uniform(0, 10), 1), "" if dataset == "sim" else round(rng.uniform(0, 10), 1))
        for kind in features
        for dataset, n in (("sim", 36), ("rel", 20))
        for a, b in list(itertools.combinations(WORDS, 2))[:n]
    ]
    return features, write(tmp_path / "gold.csv", GOLD, gold), write(tmp_path / "pairs.csv", PAIRS, pairs)


def expected_scores(features: Features, gold: Path, pairs: Path, pool: str, metric: str) -> dict[tuple, list]:
    rows = list(csv.DictReader(gold.open()))
    pooled = {
        (row["type"], row["word"], row["voice"], row["filename"]): {
            "mean": lambda x: x.mean(0), "max": lambda x: x.max(0), "min": lambda x: x.min(0),
            "sum": lambda x: x.sum(0), "last": lambda x: x[-1], "lastlast": lambda x: x[-2],
        }[pool](features[row["type"]][f"audio/{row['filename']}"])
        for row in rows
    }  # fmt: skip
    found: dict[tuple, list] = {}
    for pair in csv.DictReader(pairs.open()):
        one, other = (
            [(v, x) for (kind, word, v, _), x in pooled.items() if (kind, word) == (pair["type"], pair[name])]
            for name in ("word_1", "word_2")
        )
        same = pair["type"] == "synthetic"
        distances = [FORMULAS[metric](x, y) for v, x in one for w, y in other if not same or v == w]
        human = float(pair["relatedness"] or pair["similarity"])
        found.setdefault((pair["type"], pair["dataset"]), []).append((human, np.mean(distances)))
    return found


def rank_correlation(values: list) -> float:
    ranks = [
        [np.mean([j for j, w in enumerate(sorted(column)) if w == v]) for v in column]
        for column in zip(*values, strict=True)
    ]
    return 100 * np.corrcoef(-np.array(ranks[0]), ranks[1])[0, 1]


@pytest.mark.parametrize(("pool", "metric"), [(p, "euclidean") for p in POOLINGS if p != "off"] + [("mean", "cosine")])
def test_ssimi_is_the_formula(task: tuple[Features, Path, Path], pool: str, metric: str) -> None:
    features, gold, pairs = task
    result = ssimi(features, gold, pairs, pooling=pool, metric=metric)
    expected = expected_scores(features, gold, pairs, pool, metric)
    found = {(c.type, c.dataset): c for c in result.correlations}
    assert set(found) == set(expected)
    for key, values in expected.items():
        assert found[key].value == pytest.approx(rank_correlation(values))
        assert found[key].n == len(values)
    for kind in features:
        a, b = found[kind, "sim"], found[kind, "rel"]
        assert result.normal(kind) == pytest.approx((a.value + b.value) / 2)
        assert result.weighted(kind) == pytest.approx((36 * a.value + 20 * b.value) / 56)
    assert len(result.pairs) == 2 * 56


def test_every_float_type_is_read(task: tuple[Features, Path, Path]) -> None:
    features, gold, pairs = task
    rounded = {kind: {n: np.round(8 * x) / 8 for n, x in found.items()} for kind, found in features.items()}
    results = [
        ssimi({k: {n: x.astype(dtype) for n, x in found.items()} for k, found in rounded.items()}, gold, pairs)
        for dtype in (np.float16, np.float32, np.float64, np.int64)
    ]
    assert results[0].summary() == results[1].summary() == results[2].summary()
    assert results[3].summary()["pooling"] == "mean"


def test_constant_vectors_have_no_correlation(task: tuple[Features, Path, Path]) -> None:
    features, gold, pairs = task
    constant = {"synthetic": {name: np.ones((3, 5)) for name in features["synthetic"]}}
    summary = ssimi(constant, gold, pairs).summary()
    assert summary["synthetic"]["normal"] is None
    assert summary["synthetic"]["datasets"]["sim"] == {"correlation": None, "n": 36}
    assert "librispeech" not in summary, "only what was given is judged"


def run(task: tuple[Features, Path, Path], **options: str) -> SimilarityResult:
    features, gold, pairs = task
    return ssimi(features, gold, pairs, **options)


def test_off_takes_pooled_vectors(task: tuple[Features, Path, Path]) -> None:
    features, gold, pairs = task
    with pytest.raises(UserError, match="'off' takes one frame"):
        run(task, pooling="off")
    pooled = {kind: {n: x.mean(0, keepdims=True) for n, x in found.items()} for kind, found in features.items()}
    assert ssimi(pooled, gold, pairs, pooling="off").correlations == run(task).correlations


def test_mistakes(task: tuple[Features, Path, Path], tmp_path: Path) -> None:
    features, gold, pairs = task
    with pytest.raises(ValueError, match="unknown pooling"):
        run(task, metric="yule")
    short = {**features["librispeech"], "audio/lw00": np.ones((1, 5))}
    with pytest.raises(UserError, match="'lastlast' takes two frames at least; 'lw00' has 1"):
        run(({"librispeech": short}, gold, pairs), pooling="lastlast")
    with pytest.raises(UserError, match="'lw00' hold NaN"):
        run(({"librispeech": {**short, "audio/lw00": np.full((2, 5), np.nan)}}, gold, pairs))
    fewer = {name: x for name, x in features["synthetic"].items() if "w8" not in name}
    with pytest.raises(UserError, match="2 of the 17 synthetic recordings have no features: 'sw8A', 'sw8B'"):
        run(({"synthetic": fewer}, gold, pairs))
    alien = write(tmp_path / "alien.csv", PAIRS, [("synthetic", "x", "w1", "zebra", 1, 1)])
    with pytest.raises(UserError, match="no synthetic recording of 'zebra'"):
        run((features, gold, alien))
    empty = write(tmp_path / "empty.csv", PAIRS, [("synthetic", "x", "w1", "w2", "", "")])
    with pytest.raises(UserError, match="neither relatedness nor similarity"):
        run((features, gold, empty))
    voiceless = write(tmp_path / "voiceless.csv", GOLD[:3], [("synthetic", "sw1A", "w1"), ("synthetic", "sw2A", "w2")])
    with pytest.raises(UserError, match="column voice"):
        run(({"synthetic": features["synthetic"]}, voiceless, pairs))
