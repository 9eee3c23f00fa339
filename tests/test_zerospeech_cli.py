"""Every verb of `textless eval`, through its command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_zerospeech_recognizer import tone_corpus
from typer.testing import CliRunner, Result

from textless.corpora.items import Item, write_items
from textless.errors import UserError
from textless.features.store import StoreHeader, write_header, write_npy, write_shard
from zerospeech_eval import train_recognizer
from zerospeech_eval.abx import abx
from zerospeech_eval.cli import app

FEATURES = {s: np.random.default_rng(i).normal(size=(24, 5)).astype(np.float32) for i, s in enumerate("xy")}
ITEMS = [
    Item(s, f"{t / 50:.2f}", f"{(t + 2) / 50:.2f}", "abc"[t // 2 % 3], "p", "q", s)
    for s in "xy"
    for t in range(0, 24, 2)
]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


@pytest.fixture
def item(tmp_path: Path) -> Path:
    write_items(tmp_path / "test.item", ITEMS)
    return tmp_path / "test.item"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, array in FEATURES.items():
        write_npy(tmp_path / "features", name, array)
    return tmp_path / "features"


def test_abx(item: Path, folder: Path) -> None:
    expected = {mode: 100 * abx(ITEMS, FEATURES, "50", speaker=mode).value for mode in ("within", "across")}
    result = run("abx", item, folder, "--json")
    report = json.loads(result.stdout)
    assert {mode: part["error_rate_percent"] for mode, part in report["scores"].items()} == expected
    assert report["tokens"] == 24
    assert report["frequency"] == "50"
    result = run("abx", item, folder, "--speaker", "within")
    assert f"within speakers in the same context, angular: {expected['within']:.3f} %" in result.stdout
    assert "across" not in result.stdout


@pytest.mark.parametrize(
    "options",
    [
        ("--context", "any"),
        ("--distance", "euclidean"),
        ("--distance", "identical"),
        ("--frame-slice", "librilight"),
        ("--max-size-group", "2", "--max-x-across", "1", "--seed", "3"),
        ("--frequency", "50.0"),
    ],
)
def test_abx_options(item: Path, folder: Path, options: tuple[str, ...]) -> None:
    report = json.loads(run("abx", item, folder, *options, "--json").stdout)
    assert 0 <= report["scores"]["across"]["error_rate_percent"] <= 100
    for name, value in zip(options[::2], options[1::2], strict=True):
        assert str(report[name[2:].replace("-", "_")]) == value


def test_abx_formats_of_features(item: Path, folder: Path, tmp_path: Path) -> None:
    expected = run("abx", item, folder, "--json").stdout
    for name, array in FEATURES.items():
        (tmp_path / "pt").mkdir(exist_ok=True)
        torch.save(torch.from_numpy(array).double(), tmp_path / "pt" / f"{name}.pt")
    assert run("abx", item, tmp_path / "pt", "--json").stdout == expected


def test_abx_of_a_store_knows_its_frame_rate(item: Path, folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_header(store, StoreHeader("mfcc@50", "0", 5, 50.0, 1, "0"))
    write_shard(store, 0, 1, FEATURES)
    from_store, from_folder = (json.loads(run("abx", item, path, "--json").stdout) for path in (store, folder))
    assert from_store["scores"] == from_folder["scores"]
    assert run("abx", item, store, "--frequency", "50").exit_code == 0
    with pytest.raises(UserError, match=r"holds 50.0 frames a second, but --frequency says 100"):
        run("abx", item, store, "--frequency", "100")


def test_abx_skips_only_when_told(item: Path, folder: Path) -> None:
    write_items(item, [*ITEMS, Item("gone", "0", "1", "a", "p", "q", "x")])
    with pytest.raises(UserError, match="--skip-missing"):
        run("abx", item, folder)
    result = run("abx", item, folder, "--skip-missing", "--json")
    assert json.loads(result.stdout)["skipped"]["without_features"] == 1


def test_abx_cells(item: Path, folder: Path, tmp_path: Path) -> None:
    run("abx", item, folder, "--speaker", "across", "--cells", tmp_path / "cells.csv")
    lines = (tmp_path / "cells.csv").read_text().splitlines()
    assert lines[0] == "context,speaker,x_speaker,a,b,error,triplets"
    assert len(lines) == 1 + 2 * 3 * 2
    with pytest.raises(UserError, match="--speaker"):
        run("abx", item, folder, "--cells", tmp_path / "cells.csv")


def test_swuggy(tmp_path: Path) -> None:
    (tmp_path / "gold.csv").write_text(
        "filename,id,voice,frequency,word,phones,length,correct\nw,1,A,7,word,w er d,3,1\nn,1,A,7,wurd,w ur d,3,0\n"
    )
    (tmp_path / "scores.tsv").write_text("id\tlog_prob\tunits\naudio/w\t-9\t10\naudio/n\t-8\t2\n")
    assert json.loads(run("swuggy", tmp_path / "scores.tsv", tmp_path / "gold.csv", "--json").stdout)["accuracy"] == 0
    result = run("swuggy", tmp_path / "scores.tsv", tmp_path / "gold.csv", "--per-unit")
    assert "sWUGGY accuracy 100.00 %" in result.stdout
    assert "mean log-probability per unit" in result.stdout
    assert "6-20" in result.stdout


def test_sblimp(tmp_path: Path) -> None:
    rows = "".join(
        f"{name},{i},A,t,s,text,{right}\n" for name, i, right in (("a", 1, 1), ("b", 1, 0), ("c", 2, 1), ("d", 2, 0))
    )
    (tmp_path / "gold.csv").write_text("filename,id,voice,type,subtype,transcription,correct\n" + rows)
    (tmp_path / "dev.txt").write_text("a -1\nb -2\nc -1\n")
    with pytest.raises(UserError, match="1 of the 4 files"):
        run("sblimp", tmp_path / "dev.txt", tmp_path / "gold.csv")
    result = run("sblimp", tmp_path / "dev.txt", tmp_path / "gold.csv", "--skip-missing")
    assert "sBLIMP accuracy 100.00 %" in result.stdout
    assert "1 trials left out" in result.stdout
    report = json.loads(run("sblimp", tmp_path / "dev.txt", tmp_path / "gold.csv", "--skip-missing", "--json").stdout)
    assert (report["skipped_trials"], report["n"], report["by_type"]["t"]["n"]) == (1, 1, 1)


def test_train_recognizer_and_per(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_recognizer, "BATCH_FRAMES", 300)
    corpus, out = tone_corpus(tmp_path, 6, seed=8), tmp_path / "out"
    assert run("train-recognizer", *corpus, out, "--steps", 2, "--seed", 1, "--device", "cpu").exit_code == 0
    with pytest.raises(UserError, match="--force"):
        run("train-recognizer", *corpus, out)
    run("train-recognizer", *corpus, out, "--steps", 1, "--device", "cpu", "--force")
    options = ("--recognizer", out, "--device", "cpu")
    report = json.loads(run("per", *corpus, *options, "--json", "--details", tmp_path / "details.tsv").stdout)
    assert report["utterances"] == 6
    assert len((tmp_path / "details.tsv").read_text().splitlines()) == 7
    assert f"phone error rate {report['phone_error_rate_percent']:.2f} %" in run("per", *corpus, *options).stdout
