"""Submissions to the ABX tasks: every context, float type and distance, and units as features."""

import csv
from pathlib import Path

import numpy as np
import pytest
from small_submissions import submit, write
from test_zerospeech_cli import run

from textless.corpora.items import Item, write_items
from textless.features.store import StoreHeader, write_header, write_shard
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from zerospeech_eval.abx import abx
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.layout import TASKS
from zerospeech_eval.submission.score import score_submission
from zerospeech_eval.submission.validate import validate

FEATURES = {s: np.random.default_rng(i).normal(size=(24, 5)).astype(np.float32) for i, s in enumerate("xy")}
ITEMS = [
    Item(s, f"{t / 50:.2f}", f"{(t + 2) / 50:.2f}", "abc"[t // 2 % 3], "p", "q", s)
    for s in "xy"
    for t in range(0, 24, 2)
]


def abx_data(tmp_path: Path) -> Path:
    root = tmp_path / "abx-data"
    for subset in ("dev_clean", "test_other"):
        for name in ("triphone", "phoneme"):
            write_items(root / subset / f"{name}.item", ITEMS)
    return root


@pytest.fixture
def features(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    write_header(store, StoreHeader("mfcc@50", "0", 5, 50.0, 1, "0"))
    write_shard(store, 0, 1, {f"audio/{name}": array for name, array in FEATURES.items()})
    return store


@pytest.mark.parametrize("context", ["all", "triphone-within", "phoneme-within", "phoneme-any"])
def test_every_context_of_abx_ls(context: str, features: Path, tmp_path: Path) -> None:
    """The toolbox crashes with phoneme-within or phoneme-any alone."""
    data, out = abx_data(tmp_path), tmp_path / "out"
    params = ["--param", f"context={context}", "--param", "feature_size=0.02", "--param", "max_size_group=4"]
    submit("abxLS", out, {"dev-clean": features, "test-other": features}, "--dataset", data, *params)
    run("score", "abxLS", out, "--dataset", data)
    rows = list(csv.DictReader((out / "scores/score_all_phonetic.csv").open()))
    wanted = ["triphone-within", "phoneme-within", "phoneme-any"] if context == "all" else [context]
    assert {(row["subset"], row["speaker_mode"], f"{row['granularity']}-{row['context_mode']}") for row in rows} == {
        (subset, mode, name)
        for subset in ("dev-clean", "test-other")
        for mode in ("within", "across")
        for name in wanted
    }
    for row in rows:
        expected = abx(
            ITEMS,
            FEATURES,
            "50",
            speaker=row["speaker_mode"],
            context=row["context_mode"],
            frame_slice="librilight",
            max_size_group=4,
            max_x_across=5,
            seed=3459,
        )
        assert float(row["score"]) == expected.value, "all digits are there"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_float_type_is_accepted(dtype: type, tmp_path: Path) -> None:
    """The toolbox takes float64 alone, and fastabx float32 alone."""
    data, out = abx_data(tmp_path), tmp_path / "out"
    for subset in ("dev-clean", "test-other"):
        for name, array in FEATURES.items():
            (out / subset).mkdir(parents=True, exist_ok=True)
            np.save(out / subset / f"{name}.npy", (np.round(array * 8) / 8).astype(dtype))
    write(out / "params.yaml", "feature_size: 0.02\nspeaker_mode: within\ncontext: phoneme-any\n")
    found = validate(TASKS["abxLS"], out, Dataset(data))
    assert [f.where for f in found.errors] == ["meta.yaml"]
    remarks = [f.what for f in found.all if f.severity == "remark"]
    assert remarks == (
        [] if dtype == np.float64 else [f"are {np.dtype(dtype)}; the organisers' toolbox takes float64 alone"] * 2
    )
    scores = score_submission(TASKS["abxLS"], out, Dataset(data))
    rounded = {name: np.round(array * 8) / 8 for name, array in FEATURES.items()}
    limits = {"max_size_group": 10, "max_x_across": 5, "seed": 3459}
    expected = abx(ITEMS, rounded, "50", context="any", frame_slice="librilight", **limits).value
    assert {measure.value for measure in scores.measures} == {100 * expected}


@pytest.mark.parametrize("spelling", ["euclidian", "euclidean"])
def test_both_spellings_of_a_distance(spelling: str, features: Path, tmp_path: Path) -> None:
    """The toolbox cannot run abx17 with this distance: it knows one spelling, the program behind it the other."""
    root = tmp_path / "data"
    write_items(root / "german/10s.item", ITEMS)
    out = tmp_path / "out"
    params = ["--param", f"distance_mode={spelling}", "--param", "feature_size=0.02", "--param", "mode=within"]
    submit("abx17", out, {"german/10s": features}, "--dataset", root, *params)
    (out / "german").rename(out / "LANG1")
    found = score_submission(TASKS["abx17"], out, Dataset(root))
    limits = {"max_size_group": 10, "max_x_across": 5, "seed": 3459}
    expected = abx(
        ITEMS, FEATURES, "50", distance="euclidean", frame_slice="librilight", unit_length=True, **limits
    ).value
    assert {(m.table, m.name, m.value) for m in found.measures} == {
        ("german", "10s within", 100 * expected),
        ("all", "mean", 100 * expected),
    }


def test_units_become_one_hot_features(tmp_path: Path) -> None:
    identity = QuantizerIdentity(encoder="mfcc", k=3, frame_rate=50.0, sha256="0")
    write_units(tmp_path / "units.jsonl", identity, [Units("audio/x", [2, 0], [3, 1]), Units("audio/y", [1], [2])])
    out = tmp_path / "out"
    submit("abxLS", out, {"dev-clean": tmp_path / "units.jsonl"})
    array = np.load(out / "dev-clean/x.npy")
    assert array.dtype == np.float64
    assert array.tolist() == [[0, 0, 1]] * 3 + [[1, 0, 0]]
