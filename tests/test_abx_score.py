"""Averages of ABX cells, their intervals, and the tables that are written."""

import csv
from pathlib import Path

import numpy as np
import pytest
from oracles import abx as oracle
from test_abx import corpus, token

from textless.errors import UserError
from zerospeech_eval.abx import abx, evaluate
from zerospeech_eval.abx_report import write_cells, write_pairs, write_speakers
from zerospeech_eval.abx_score import Score
from zerospeech_eval.bootstrap import bootstrap
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.task import Task, zerospeech_task, zerospeech_tasks


def scores(seed: int = 4, **size: int) -> dict[str, Score]:
    items, features = corpus(seed, **size)
    return evaluate(zerospeech_tasks("both", "both"), make_dataset(items, features, "50"))


def test_hand_computed_averaging_order() -> None:
    # Speaker s errs always in one context and never in two; speaker t (one context) errs always: (1/3 + 1) / 2.
    features = {"f": np.array([[1.0, 0], [0, 1.0]])}
    near, far = 0, 1
    items = []
    for speaker, context, wrong in (("s", "1", True), ("s", "2", False), ("s", "3", False), ("t", "1", True)):
        items += [token(near, "a", context, speaker), token(far if wrong else near, "a", context, speaker)]
        items += [token(near if wrong else far, "b", context, speaker)]
    score = abx(items, features, "50")
    wrong = abx(items[:3], features, "50").value
    assert wrong == 0.75  # X=near: A far, B near: wrong. X=far: A near, B near: a tie.
    assert score.value == pytest.approx((wrong / 3 + wrong) / 2)
    assert score.collapse(()) == pytest.approx((wrong + wrong) / 4)


@pytest.mark.parametrize("context", ["within", "any"])
def test_abxpy_averages_over_pairs_of_speakers(context: str) -> None:
    items, features = corpus(4, speakers=5, most=1)
    ours = evaluate(
        {name: zerospeech_task("across", context, averaging=name) for name in ("abxpy", "librilight")},
        make_dataset(items, features, "50"),
    )
    cells, librilight = oracle.zerospeech(items, features, "50", "across", context, "angular")
    abxpy = oracle.score(cells, [lambda key: key[1:], lambda key: key[2:]])  # contexts, pairs of speakers
    # With contexts some speakers lack some of a phone; without, every (s, a, b) has as many speakers of X.
    assert (abxpy == pytest.approx(librilight, abs=1e-9)) == (context == "any")
    assert ours["abxpy"].value == pytest.approx(abxpy, abs=1e-6)
    assert ours["librilight"].value == pytest.approx(librilight, abs=1e-6)


def test_parts_of_a_score() -> None:
    for score in scores(speakers=4).values():
        assert np.mean([part.error for part in score.pairs.values()]) == pytest.approx(score.value)
        for parts in (score.pairs, score.by("speaker")):
            assert sum(part.cells for part in parts.values()) == len(score)
            assert sum(part.triplets for part in parts.values()) == score.n_triplets
        items = [row for row in score.rows() if row["speaker"] == "s1" and (row["a"], row["b"]) == ("p0", "p1")]
        alone = Score(score.task, score.data, *_share(score, "s1"))
        assert alone.pairs["p0", "p1"].error == pytest.approx(np.mean([row["error"] for row in items]))
        assert score.by("speaker")["s1"].error == pytest.approx(alone.value)


def _share(score: Score, speaker: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    mask = score.columns["speaker"] == score.names("speaker").index(speaker)
    return {name: codes[mask] for name, codes in score.columns.items()}, score.wins[mask], score.triplets[mask]


class TestBootstrap:
    @pytest.mark.parametrize("name", ["within", "across", "any-across"])
    def test_equals_scoring_the_resampled_cells(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """One draw, against the definition: cells repeated as often as their speakers were drawn, copies apart."""
        score = scores(speakers=4, most=5)[name]
        drawn = np.array([3, 1, 3, 0])

        class Fixed:
            def integers(self, *_: int) -> np.ndarray:
                return drawn

        monkeypatch.setattr(np.random, "default_rng", lambda _: Fixed())
        interval = bootstrap(score, n_resamples=2)
        count = np.bincount(drawn, minlength=4)
        groups: dict[tuple, dict[int, list[float]]] = {}
        columns = {c: codes.tolist() for c, codes in score.columns.items()}
        for n, error in enumerate(score.errors):
            s = columns["speaker"][n]
            copies = count[columns["x_speaker"][n]] if "x_speaker" in columns else 1
            cell = groups.setdefault((columns["a"][n], columns["b"][n]), {}).setdefault(s, [])
            cell += [error] * copies
        pairs = []
        for by_speaker in groups.values():
            means = [np.mean(errors) for s, errors in by_speaker.items() for _ in range(count[s]) if errors]
            pairs += [np.mean(means)] if means else []
        assert interval.low == interval.high == pytest.approx(np.mean(pairs))

    def test_spreads_as_independent_speakers_do(self) -> None:
        # Speakers are told apart by chance alone: the standard error is near that of the mean over them.
        score = scores(5, speakers=12, phones=4, contexts=3, most=4)["any-within"]
        interval = bootstrap(score, n_resamples=400)
        assert interval.low < score.value < interval.high
        by_speaker = [part.error for part in score.by("speaker").values()]
        assert interval.standard_error == pytest.approx(np.std(by_speaker, ddof=1) / np.sqrt(12), rel=0.3)
        assert interval == bootstrap(score, n_resamples=400)
        assert interval != bootstrap(score, n_resamples=400, seed=1)

    def test_over_contexts_and_other_columns(self) -> None:
        items, features = corpus(4, speakers=8, contexts=5)
        data = make_dataset(items, features, "50")
        tasks = {"within": zerospeech_task(), "city": Task("phone", ("city",), ("accent",))}
        for name, over in (("within", "context"), ("city", "city"), ("city", "accent")):
            score = evaluate(tasks, data)[name]
            interval = bootstrap(score, over, 100)
            assert interval.low <= score.value <= interval.high
            assert interval.low < interval.high

    def test_wants_something_to_resample(self) -> None:
        items, features = corpus(4, speakers=1)
        score = abx(items, features, "50")
        with pytest.raises(UserError, match="at least two names of 'speaker'"):
            bootstrap(score)
        with pytest.raises(UserError, match="no 'city' to resample"):
            bootstrap(score, "city")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables(tmp_path: Path) -> None:
    found = scores(speakers=4)
    write_cells(tmp_path / "cells.csv", found)
    rows = read(tmp_path / "cells.csv")
    assert list(rows[0]) == ["condition", "context", "speaker", "x_speaker", "a", "b", "error", "triplets"]
    assert len(rows) == sum(map(len, found.values()))
    for row in rows:
        assert (row["context"] == "any") == row["condition"].startswith("any")
        assert (row["speaker"] == row["x_speaker"]) == row["condition"].endswith("within")
    write_pairs(tmp_path / "pairs.csv", found)
    write_speakers(tmp_path / "speakers.csv", found)
    for name, score in found.items():
        errors = [float(row["error"]) for row in rows if row["condition"] == name]
        assert errors == score.errors.tolist()
        pairs = [float(row["error"]) for row in read(tmp_path / "pairs.csv") if row["condition"] == name]
        assert pairs == sorted(pairs, reverse=True)
        assert np.mean(pairs) == pytest.approx(score.value)
        speakers = {r["speaker"]: float(r["error"]) for r in read(tmp_path / "speakers.csv") if r["condition"] == name}
        assert speakers == {speaker: part.error for speaker, part in score.by("speaker").items()}
