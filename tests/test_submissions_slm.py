"""Submissions to sLM21: from scores and features to figures, where the organisers' old toolbox goes wrong, too."""

import csv
import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import small_submissions
import yaml
from small_submissions import findings, submit, write
from test_zerospeech_cli import run

from textless.errors import UserError
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.layout import TASKS
from zerospeech_eval.submission.score import score_submission

slm = small_submissions.slm
slm_sources = small_submissions.slm_sources


def test_slm21_from_scores_and_features_to_figures(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert submit("sLM21", out, slm_sources, "--dataset", slm) == "", "nothing is left to fill in"
    assert (out / "lexical/dev.txt").read_text() == "w1 -9.0\nn1 -8.0\n"
    assert (out / "syntactic/dev.txt").read_text() == "g1 -2.5\nb1 -3.0\ng2 -4.0\nb2 -1.0\n", "in the order of the data"
    array = np.load(out / "semantic/dev/synthetic/s0.npy")
    assert array.dtype == np.float64
    assert np.array_equal(array, np.load(tmp_path / "synthetic/audio/s0.npy"))
    assert not (out / "semantic/dev/synthetic/s4.npy").exists()
    meta = yaml.safe_load((out / "meta.yaml").read_text())
    assert (meta["benchmark_name"], meta["publication"]["publication_year"], meta["open_source"]) == (
        "sLM21",
        2026,
        True,
    )
    assert run("validate", "sLM21", out, "--dataset", slm, "--strict").stdout == "valid\n"

    report = json.loads(run("score", "sLM21", out, "--dataset", slm, "--json").stdout)
    figures = {(m["table"], m["name"]): m["value"] for m in report["measures"]}
    assert figures["dev", "lexical_all"] == figures["dev", "lexical_in_vocab"] == 0
    assert figures["dev", "syntactic"] == 50
    assert -100 <= figures["dev", "semantic_synthetic"] <= 100
    rows = list(csv.DictReader((out / "scores/score_semantic_dev_correlation.csv").open()))
    assert {float(row["correlation"]) for row in rows if row["type"] == "synthetic"} == {
        figures["dev", "semantic_synthetic"]
    }
    names = {path.name for path in (out / "scores").iterdir()}
    assert names == {
        "summary.json",
        *(f"score_lexical_dev_by_{part}.csv" for part in ("pair", "frequency", "length")),
        *(f"score_syntactic_dev_by_{part}.csv" for part in ("pair", "type")),
        *(f"score_semantic_dev_{part}.csv" for part in ("pairs", "correlation")),
    }
    per_unit = tmp_path / "per-unit"
    submit(
        "sLM21", per_unit, {"lexical/dev": slm_sources["lexical/dev"]}, "--per-unit", "--param", "semantic.pooling=max"
    )
    assert (per_unit / "lexical/dev.txt").read_text() == "w1 -0.9\nn1 -4.0\nother -1.0\n"
    assert yaml.safe_load((per_unit / "params.yaml").read_text())["semantic"]["pooling"] == "max"
    (per_unit / "lexical/dev.txt").write_text("w1 -0.9\nn1 -4.0\n")
    for part in ("syntactic", "semantic"):
        shutil.copytree(out / part, per_unit / part)
    lines = [line.split() for line in run("score", "sLM21", per_unit, "--dataset", slm).stdout.splitlines()]
    assert ["dev", "lexical_all", "100.000"] in lines


def test_vectors_as_text_and_all_their_parts(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    """The toolbox reads their extension from a hidden parameter of the sentences, and forgets the folders of test."""
    out = tmp_path / "out"
    submit("sLM21", out, slm_sources, "--dataset", slm)
    expected = score_submission(TASKS["sLM21"], out, Dataset(slm)).measures
    for path in (out / "semantic/dev").rglob("*.npy"):
        np.savetxt(path.with_suffix(".txt"), np.load(path))
        path.unlink()
    assert score_submission(TASKS["sLM21"], out, Dataset(slm)).measures == expected
    assert {f"semantic/test/{kind}" for kind in ("synthetic", "librispeech")} < {p.name for p in TASKS["sLM21"].parts}


def test_missing_scores_are_not_wrong_answers(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    """In the toolbox a sentence without score compares as False, and counts as 0."""
    out = tmp_path / "out"
    submit("sLM21", out, slm_sources, "--dataset", slm)
    write(out / "syntactic/dev.txt", "g1 -1\nb1 -2\ng2 -1\n")
    with pytest.raises(UserError, match=r"recordings are missing: 1, 'b2'"):
        score_submission(TASKS["sLM21"], out, Dataset(slm))


def test_a_dataset_that_the_toolbox_installed(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    """With an index.json; an item may be anywhere, and a list of recordings stands where gold is not given away."""

    def file(path: str) -> dict:
        return {"item_type": "file_item", "file_type": "csv", "relative_path": True, "file": path}

    recordings = {
        "item_type": "filelist_item",
        "file_type": "wav",
        "relative_path": True,
        "files_list": ["a/t1.wav", "t2.wav"],
    }
    (slm / "lexical_dev/gold.csv").rename(slm / "words of dev.csv")
    index = {
        "subsets": {
            "lexical_dev": {"items": {"gold": file("words of dev.csv")}},
            "lexical_test": {"items": {"wav_list": recordings}},
        }
    }
    write(slm / "index.json", json.dumps(index))
    out = tmp_path / "out"
    test = write(tmp_path / "test.txt", "t2 -1\nt1 -2\n")
    submit("sLM21", out, {"lexical/dev": slm_sources["lexical/dev"], "lexical/test": test}, "--dataset", slm)
    assert (out / "lexical/test.txt").read_text() == "t1 -2.0\nt2 -1.0\n"
    figures = score_submission(TASKS["sLM21"], out, Dataset(slm)).measures
    assert {m.table for m in figures} == {"dev"}, "what has no gold is not judged"
    write(slm / "index.json", "[]")
    with pytest.raises(UserError, match="no index of a ZeroSpeech dataset"):
        Dataset(slm)


def test_no_network_is_needed(
    slm: Path, slm_sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing the toolbox asks its server for news, and fails without it."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket, "socket", refuse)
    out = tmp_path / "out"
    submit("sLM21", out, slm_sources, "--dataset", slm)
    assert findings("sLM21", out, slm) == []
