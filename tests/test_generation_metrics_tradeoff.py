"""Perplexity against VERT: averages by hand, curves against calculus, the bootstrap, a planted sweep."""

import math
from pathlib import Path

import generated_texts
import numpy as np
import pytest
from generated_texts import transcripts

from zerospeech_eval.continuations import Source
from zerospeech_eval.generation import SetScores
from zerospeech_eval.generation_sweep import Settings, evaluate
from zerospeech_eval.tradeoff import Oracle, measure, reach, resample

lm = generated_texts.lm


def scores_of(log_prob: list[float], tokens: list[int], bleu: list[float]) -> SetScores:
    array = np.array([bleu])
    names = [f"u{index}" for index in range(len(tokens))]
    return SetScores(names, np.array(log_prob), np.array(tokens, float), array, array / 2, array[0])


def test_averages_of_perplexity_and_vert_by_hand() -> None:
    scores = scores_of([-2.0, -12.0], [2, 4], [0.4, 0.8])
    assert scores.perplexity("mean") == pytest.approx((math.e + math.e**3) / 2)
    assert scores.perplexity("geometric") == pytest.approx(math.e**2)
    assert scores.perplexity("corpus") == pytest.approx(math.exp(14 / 6))
    assert scores.vert() == pytest.approx(math.sqrt(0.6 * 0.3))
    found = scores.summary()
    assert found["vert_percent"] == pytest.approx(100 * math.sqrt(0.18))
    assert found["perplexity"]["median"] == pytest.approx((math.e + math.e**3) / 2)
    # A text with weight 2 counts like two copies.
    twice, weights = scores_of([-2.0, -12.0, -12.0], [2, 4, 4], [0.4, 0.8, 0.8]), np.array([1.0, 2.0])
    for average in ("mean", "geometric", "corpus"):
        assert scores.perplexity(average, weights) == pytest.approx(twice.perplexity(average))
    assert scores.vert(weights) == pytest.approx(twice.vert())


def test_numbers_of_a_curve_that_calculus_knows() -> None:
    # PPX = 2 / VERT is a straight line on log axes: from VERT 0.1 to PPX 8 (VERT 0.25) the area is 2 ln(0.25 / 0.1).
    vert = np.array([0.5, 0.3, 0.2, 0.05])
    found = measure(vert, 2 / vert, Oracle(ppx=8.0, vert=0.1))
    assert found.ppx_at_oracle_vert == pytest.approx(20)
    assert found.vert_at_oracle_ppx == pytest.approx(0.25)
    assert found.area == pytest.approx(100 * 2 * math.log(2.5))
    ends = measure(vert[[0, 3]], 2 / vert[[0, 3]], Oracle(8.0, 0.1))
    assert ends.area == pytest.approx(found.area)  # a point on the line changes nothing
    # PPX = VERT^-2: the area is 1/0.1 - 1/0.25 = 6; the oracle is better than the sweep, and the reverse is negative.
    assert measure(vert, vert**-2, Oracle(16.0, 0.1)).area == pytest.approx(600)
    assert measure(vert, vert**-2, Oracle(100.0, 0.25)).area == pytest.approx(-600)
    # Points of the sweep itself.
    assert measure(vert, 2 / vert, Oracle(10.0, 0.2)).area == pytest.approx(0)


def test_no_extrapolation() -> None:
    vert, ppx = np.array([0.5, 0.2]), np.array([4.0, 10.0])
    found = measure(vert, ppx, Oracle(ppx=3.0, vert=0.1))
    assert found.ppx_at_oracle_vert is None
    assert found.vert_at_oracle_ppx is None
    assert found.area is None
    notes = reach(vert, ppx, Oracle(ppx=3.0, vert=0.1))
    assert ["higher" in notes[0], "lower" in notes[1]] == [True, True]
    assert "lies from 20.00% to 50.00%, the oracle's is 10.00%" in notes[0]
    assert reach(vert, ppx, Oracle(5.0, 0.3)) == []
    assert "repeat nothing" in reach(np.array([0.5, 0.0]), ppx, Oracle(5.0, 0.3))[0]
    assert measure(np.array([0.5, 0.3, 0.0]), np.array([4, 6, 9.0]), Oracle(5.0, 0.4)).area is not None
    assert "several temperatures" in reach(vert[:1], ppx[:1], Oracle(5.0, 0.3))[0]


def test_bootstrap_draws_prompts_and_repeats_itself() -> None:
    names = [f"p{p}__{s}" for p in range(30) for s in range(2)]
    rng = np.random.default_rng(0)
    sets = []
    for level in (0.6, 0.3):
        bleu = level + 0.2 * rng.random((1, 60))
        sets.append(SetScores(names, -2.0 / level - rng.random(60), np.ones(60), bleu, bleu, bleu[0]))
    vert, ppx = (
        np.array([float(value) for value in row])
        for row in zip(*((s.vert(), s.perplexity("mean")) for s in sets), strict=True)
    )
    target = Oracle(float(np.sqrt(ppx.prod())), float(np.sqrt(vert.prod())))
    one, other = (resample(sets, "mean", target, 500, seed=3) for _ in range(2))
    assert one.over == "prompts"
    assert one.tradeoffs == other.tradeoffs
    interval = one.interval("ppx_at_oracle_vert")
    point = measure(vert, ppx, target).ppx_at_oracle_vert
    assert interval["low"] < point < interval["high"]
    # The standard error of a mean of 30 independent prompts, for the first set's VERT.
    by_prompt = sets[0].self_bleu[0].reshape(30, 2).mean(axis=1)
    assert one.vert[0].std() == pytest.approx(by_prompt.std() / math.sqrt(30), rel=0.15)
    renamed = [
        SetScores([f"x{i}" for i in range(60)], s.log_prob, s.n_tokens, s.self_bleu, s.auto_bleu, s.self_bleu[0])
        for s in sets
    ]
    assert resample(renamed, "mean", target, 10, 0).over == "continuations"
    assert resample(sets, "mean", Oracle(1e9, 1e-9), 10, 0).interval("area") is None


def test_a_planted_sweep_finds_the_temperature_of_its_reference(tmp_path: Path, lm: Path) -> None:
    temperatures = (0.1, 0.25, 0.45, 0.7)
    sources = [Source(t, transcripts(tmp_path / f"{t}.tsv", t, seed)) for seed, t in enumerate(temperatures)]
    reference = transcripts(tmp_path / "reference.tsv", 0.35, seed=9)
    result = evaluate(sources, Settings(str(lm), average="geometric", n_resamples=200), reference=reference)
    ppx = [float(found.scores.perplexity("geometric")) for found in result.sets]
    vert = [float(found.scores.vert()) for found in result.sets]
    assert ppx == sorted(ppx)
    assert vert == sorted(vert, reverse=True)
    # The reference lies on the curve of its own source: its PPX and VERT are found where they are.
    summary = result.summary()["curve"]
    assert summary["ppx_at_oracle_vert"] == pytest.approx(result.oracle.ppx, rel=0.1)
    assert summary["vert_at_oracle_ppx_percent"] == pytest.approx(100 * result.oracle.vert, rel=0.1)
    interval = summary["area_under_curve_interval_95"]
    assert interval["low"] < summary["area_under_curve"] < interval["high"]
    assert summary["notes"] == []
