"""Submissions to every task: written, checked, scored. What the organisers' old toolbox gets wrong has a test here."""

import csv
import json
import shutil
import socket
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from test_zerospeech_cli import run

from textless.corpora.items import Item, write_items
from textless.errors import UserError
from textless.features.store import StoreHeader, write_header, write_npy, write_shard
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from zerospeech_eval.abx import abx
from zerospeech_eval.classes import Fragment, write_classes
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.layout import TASKS
from zerospeech_eval.submission.score import score_submission
from zerospeech_eval.submission.validate import validate
from zerospeech_eval.submission.write import write_submission

META = {
    "username": "me",
    "model_info.system_description": "none",
    "model_info.train_set": "none",
    "publication.authors": "A. B.",
    "publication.institution": "home",
    "publication.publication_year": "2026",
    "open_source": "true",
}
META_2019 = {
    "author": "me",
    "affiliation": "home",
    "open source": "true",
    "abx distance": "dtw_cosine",
    "system description": "none",
    "using parallel train": "false",
    "using external data": "false",
}
FEATURES = {s: np.random.default_rng(i).normal(size=(24, 5)).astype(np.float32) for i, s in enumerate("xy")}
ITEMS = [
    Item(s, f"{t / 50:.2f}", f"{(t + 2) / 50:.2f}", "abc"[t // 2 % 3], "p", "q", s)
    for s in "xy"
    for t in range(0, 24, 2)
]
WORDS = "filename,id,voice,frequency,word,phones,length,correct\n"
SENTENCES = "filename,id,voice,type,subtype,transcription,correct\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def options(values: Mapping[str, str]) -> list[str]:
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture
def slm(tmp_path: Path) -> Path:
    """Data of sLM21: dev of every part, in the layout of one's own data."""
    root = tmp_path / "slm-data"
    write(root / "lexical_dev/gold.csv", WORDS + "w1,1,A,7,cat,k a t,3,1\nn1,1,A,7,kot,k o t,3,0\n")
    rows = "".join(
        f"{name},{i},A,t,s,x,{c}\n" for name, i, c in (("g1", 1, 1), ("b1", 1, 0), ("g2", 2, 1), ("b2", 2, 0))
    )
    write(root / "syntactic_dev/gold.csv", SENTENCES + rows)
    gold = [f"{kind},{kind[0]}{i},word{i},A\n" for kind in ("synthetic", "librispeech") for i in range(4)]
    write(root / "semantic_dev/gold.csv", "type,filename,word,voice\n" + "".join(gold))
    pairs = [
        f"{k},mturk,word{i},word{i + 1},{v},{v}\n"
        for k in ("synthetic", "librispeech")
        for i, v in enumerate((1, 5, 3))
    ]
    write(root / "semantic_dev/pairs.csv", "type,dataset,word_1,word_2,similarity,relatedness\n" + "".join(pairs))
    return root


@pytest.fixture
def slm_sources(tmp_path: Path) -> dict[str, Path]:
    """Scores and features with ids in folders, and more of them than asked for."""
    rng = np.random.default_rng(0)
    scores = "id\tlog_prob\tunits\naudio/w1\t-9\t10\naudio/n1\t-8\t2\naudio/other\t-1\t1\n"
    sources = {"lexical/dev": write(tmp_path / "lexical.tsv", scores)}
    sources["syntactic/dev"] = write(tmp_path / "syntactic.txt", "b1 -3\ng1 -2.5\ng2 -4\nb2 -1e0\n")
    for kind in ("synthetic", "librispeech"):
        for i in range(5):
            write_npy(tmp_path / kind, f"audio/{kind[0]}{i}", rng.normal(size=(3 + i, 6)))
        sources[f"semantic/dev/{kind}"] = tmp_path / kind
    return sources


def submit(task: str, out: Path, sources: Mapping[str, Path], *more: object) -> str:
    parts = [part for name, path in sources.items() for part in ("--from", f"{name}={path}")]
    meta = META_2019 if task == "tts0" else META
    result = run("submit", task, out, *parts, *options(meta), *more)
    assert result.exit_code == 0
    return result.stdout


def findings(task: str, root: Path, dataset: Path | None = None) -> list[str]:
    return [str(found) for found in validate(TASKS[task], root, Dataset(dataset) if dataset else None).all]


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


def test_every_problem_is_listed_at_once(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    submit("sLM21", out, slm_sources, "--dataset", slm)
    write(out / "lexical/dev.txt", "id log_prob\nn1 nan\nw1 -1\nw1 -2\nzebra -3\n")
    write(out / "syntactic/dev.txt", "b1 -1\ng1 -1\ng2  -1\n")
    vectors = out / "semantic/dev/synthetic"
    (vectors / "s0.npy").unlink()
    np.save(vectors / "extra.npy", np.ones((2, 6)))
    np.save(vectors / "s1.npy", np.ones((2, 6), dtype=complex))
    np.save(vectors / "s2.npy", np.ones((2, 7)))
    np.save(vectors / "s3.npy", np.full((2, 6), np.nan))
    write(vectors / "readme.md", "x")
    write(out / "semantic/dev/librispeech/l0.txt", "1 2\n3\n")
    write(out / "notes.doc", "x")
    meta = yaml.safe_load((out / "meta.yaml").read_text())
    meta["username"], meta["open_source"], meta["colour"] = "<your name>", "yes indeed", "red"
    del meta["model_info"]["train_set"]
    write(out / "meta.yaml", yaml.safe_dump(meta))
    found = findings("sLM21", out, slm)
    expected = [
        "error: meta.yaml: placeholders are to be replaced: 1, 'username'",
        "error: meta.yaml: required values are missing: 1, 'model_info.train_set'",
        "error: meta.yaml: should be true or false: 1, \"open_source = 'yes indeed'\"",
        "error: meta.yaml: unknown values: 1, 'colour'",
        "error: lexical/dev.txt: lines should be `name value`: 1, 'line 1: id log_prob'",
        "error: lexical/dev.txt: scores are NaN: 1, 'n1'",
        "error: lexical/dev.txt: recordings are there twice: 1, 'w1'",
        "error: lexical/dev.txt: extra recordings: 1, 'zebra'",
        "remark: lexical/dev.txt: rows are out of the order of the gold list: 1, 'w1'",
        "error: syntactic/dev.txt: lines should be `name value`, with one space: 1, 'line 3: g2  -1'",
        "error: syntactic/dev.txt: recordings are missing: 2, 'g2', 'b2'",
        "error: semantic/dev/synthetic: files of another kind: 1, 'readme.md'",
        "error: semantic/dev/synthetic: recordings are missing: 1, 's0'",
        "error: semantic/dev/synthetic: extra recordings: 1, 'extra'",
        "error: semantic/dev/synthetic: hold complex128 in the place of numbers: 1, 's1.npy'",
        "error: semantic/dev/synthetic: hold NaN or infinite values: 1, 's3.npy'",
        "error: semantic/dev/librispeech: recordings are there twice: 1, 'l0'",
        "error: .: extra files: 1, 'notes.doc'",
    ]
    for line in expected:
        assert line in found
    assert any("columns where most have 6: 1, 's2.npy'" in line for line in found)
    assert any("semantic/dev/librispeech: cannot be read as arrays" in line for line in found)
    result = run("validate", "sLM21", out, "--dataset", slm)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "not valid"
    report = json.loads(run("validate", "sLM21", out, "--dataset", slm, "--json").stdout)
    assert report["valid"] is False
    assert len(report["findings"]) == len(found)
    with pytest.raises(UserError, match=r"\d+ problems, see `textless eval validate`"):
        run("score", "sLM21", out, "--dataset", slm)


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


def test_prosaudit_checks_and_scores_every_set(tmp_path: Path) -> None:
    """The toolbox checks english_test alone."""
    data, out = tmp_path / "data", tmp_path / "out"
    rows = "".join(f"{n},{i},A,{t},s,x,{c}\n" for n, i, t, c in (("a", 1, "lexical", 1), ("b", 1, "lexical", 0)))
    for name in ("dev", "test"):
        write(data / f"english_{name}/gold.csv", SENTENCES + rows)
    scores = write(tmp_path / "scores.txt", "a -1\nb -2\n")
    submit("prosAudit", out, {"english_dev": scores, "english_test": scores}, "--dataset", data)
    figures = score_submission(TASKS["prosAudit"], out, Dataset(data)).measures
    assert {(m.table, m.name, m.value) for m in figures} == {("dev", "lexical", 100.0), ("test", "lexical", 100.0)}
    write(out / "english_dev.txt", "a -1\n")
    assert findings("prosAudit", out, data) == ["error: english_dev.txt: recordings are missing: 1, 'b'"]
    (out / "english_dev.txt").unlink()
    assert findings("prosAudit", out, data) == ["error: english_dev.txt: is missing"]


def test_missing_scores_are_not_wrong_answers(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    """In the toolbox a sentence without score compares as False, and counts as 0."""
    out = tmp_path / "out"
    submit("sLM21", out, slm_sources, "--dataset", slm)
    write(out / "syntactic/dev.txt", "g1 -1\nb1 -2\ng2 -1\n")
    with pytest.raises(UserError, match=r"recordings are missing: 1, 'b2'"):
        score_submission(TASKS["sLM21"], out, Dataset(slm))


def tde_data(tmp_path: Path) -> Path:
    root = tmp_path / "tde-data"
    for language in ("english", "wolof"):
        write(root / language / "phones.phn", "f 0 0.1 a\nf 0.1 0.2 t\nf 0.2 0.3 k\nf 0.3 0.4 t\n")
        write(root / language / "words.wrd", "f 0 0.2 at\nf 0.2 0.4 kt\n")
    return root


def test_tde17_checks_and_scores_every_language(tmp_path: Path) -> None:
    """The toolbox checks wolof alone, makes an integer of NED, and has no leaderboard for it."""
    data, out = tde_data(tmp_path), tmp_path / "out"
    write_classes(tmp_path / "found.txt", {"1": [Fragment("f", 0, 0.2), Fragment("f", 0.2, 0.4)]})
    submit("tde17", out, dict.fromkeys(("english", "wolof"), tmp_path / "found.txt"), "--dataset", data)
    run("score", "tde17", out, "--dataset", data)
    report = json.loads((out / "scores/scores.json").read_text())
    assert report["english"]["nlp"]["ned"] == 0.5
    assert report["wolof"]["token"]["fscore"] == 1.0
    board = run("leaderboard", "tde17", "--ours", out / "scores", "--table", "english", "--by", "token_f")
    assert board.stdout.splitlines()[2].startswith("→ ours")
    assert "50.00" in board.stdout.splitlines()[2]
    write(out / "english.txt", "Class 1\nf 0.2 0.1\nghost 0 1")
    assert findings("tde17", out, data) == [
        "error: english.txt: line 2: needs 0 <= onset < offset, found 0.2 and 0.1",
        "error: english.txt: fragments of unknown recordings: 1, 'ghost'",
        "remark: english.txt: an empty line should end the last class",
    ]


def test_tts0_reads_integer_codes(tmp_path: Path) -> None:
    """The evaluator of 2019 skips lines with one number: integer codes have no frames there."""
    data, out = tmp_path / "data", tmp_path / "out"
    names = ["x1", "x2", "x3", "y1", "y2", "y3"]
    codes = {"x1": [1, 2], "x2": [1, 2], "x3": [5], "y1": [1, 2, 2], "y2": [1, 2], "y3": [5, 5]}
    for name, column in codes.items():
        write(tmp_path / "codes" / f"{name}.txt", "".join(f"{code}\n" for code in column))
        (tmp_path / "wav").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "wav" / f"{name}.wav", np.zeros(100), 16000)
    write(data / "english/embedding_filelist.txt", "".join(f"english/test/{name}.txt\n" for name in names))
    write(data / "english/recording_filelist.txt", "".join(f"english/test/{name}.wav\n" for name in names[:2]))
    write(data / "english/bitrate_filelist.txt", "x1.txt 1.0\ny3.txt 1.0\n")
    items = [Item(name, "0", "9", "b" if name[1] == "3" else "a", "p", "q", name[0]) for name in names]
    write_items(data / "english/abx.item", items)
    sources = {"english/test": tmp_path / "codes", "english/wav": tmp_path / "wav"}
    submit("tts0", out, sources, "--dataset", data, "--set", "abx distance=levenshtein")
    assert findings("tts0", out, data) == []
    assert (out / "2019/english/test/x1.txt").read_text().split() == ["1.0", "2.0"]
    assert (out / "2019/english/test/x2.wav").exists()
    assert not (out / "2019/english/test/x3.wav").exists()
    figures = {m.name: m.value for m in score_submission(TASKS["tts0"], out, Dataset(data)).measures}
    assert figures["bitrate"] == pytest.approx(4 / 2 * 1.5)  # 1, 2, 5, 5: shares 1/4, 1/4, 1/2
    # a-b: x1 and x2 are nearer to y2 (0) and y1 (1) than x3 (2) is, and likewise for the others: no error.
    assert figures["abx"] == 0.0
    (out / "2019/english/test/x2.wav").write_text("no sound")
    write(out / "2019/english/test/y1.txt", "1 2\n")
    (out / "2019/english/test/y2.txt").unlink()
    assert findings("tts0", out, data) == [
        "error: 2019/english/test: recordings are missing: 1, 'y2'",
        "error: 2019/english/test: embeddings have several widths: 2, '1 columns: x1.txt', '2 columns: y1.txt'",
        "error: 2019/english/test: are no recordings, or empty: 1, 'x2.wav'",
    ]


def test_tts0_of_units_and_its_distance(tmp_path: Path) -> None:
    identity = QuantizerIdentity(encoder="mfcc", k=3, frame_rate=50.0, sha256="0")
    write_units(tmp_path / "units.jsonl", identity, [Units("x", [2, 0, 2], [3, 1, 9])])
    out = tmp_path / "out"
    submit("tts0", out, {"surprise/auxiliary_embedding1": tmp_path / "units.jsonl"}, "--set", "abx distance=nearness")
    assert (out / "2019/surprise/auxiliary_embedding1/x.txt").read_text() == "2\n0\n2\n"
    write(tmp_path / "data/surprise/bitrate_filelist.txt", "x.txt 1\n")
    write(tmp_path / "data/surprise/embedding_filelist.txt", "surprise/test/x.txt\n")
    with pytest.raises(UserError, match="surprise/test: is missing"):
        score_submission(TASKS["tts0"], out, Dataset(tmp_path / "data"))
    (out / "2019/surprise/auxiliary_embedding1").rename(out / "2019/surprise/test")
    with pytest.raises(UserError, match="abx distance should be one of dtw_cosine, dtw_kl, levenshtein"):
        score_submission(TASKS["tts0"], out, Dataset(tmp_path / "data"))


def test_discophon_counts_every_ten_milliseconds(tmp_path: Path) -> None:
    identity = QuantizerIdentity(encoder="mfcc", k=4, frame_rate=50.0, sha256="0")
    utterances = [Units("a/x", [2, 0, 3], [2, 3, 1]), Units("a/z", [1], [9])]
    write_units(tmp_path / "units.jsonl", identity, utterances)
    data, out = tmp_path / "data", tmp_path / "out"
    phones = "#file onset offset #phone\nx 0 0.05 a\nx 0.05 0.10 b\nx 0.10 0.12 SIL\n"
    write(data / "eng-dev/phones.phn", phones)
    run("submit", "discophon", out, "--from", f"eng-dev={tmp_path / 'units.jsonl'}", "--dataset", data)
    assert (out / "units-eng-dev.jsonl").read_text() == '{"file":"x","units":[2,2,0,0,0,3]}\n'
    assert findings("discophon", out, data) == []
    figures = {(m.table, m.name): m.value for m in score_submission(TASKS["discophon"], out, Dataset(data)).measures}
    # Of 12 steps, unit 2 has 4 of a, unit 0 has 1 of a and 5 of b, unit 3 has 2 of SIL.
    joint = np.array([[4, 1, 0], [0, 5, 0], [0, 0, 2]]) / 12
    p, u = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    information = sum(
        x * np.log(x / (a * b))
        for x, a, b in zip(joint.ravel(), np.repeat(p, 3), np.tile(u, 3).ravel(), strict=True)
        if x
    )
    assert figures["eng-dev many-to-one", "pnmi"] == pytest.approx(100 * information / -(p * np.log(p)).sum())
    assert figures["eng-dev many-to-one", "per"] == figures["eng-dev one-to-one", "per"] == 0
    assert figures["eng-dev many-to-one", "f1"] == 100, "found at 40 and 100 ms, true at 50 and 100 ms"
    write(
        out / "units-eng-dev.jsonl",
        '{"file":"x","units":[1]}\n{"file":"x","units":[1.5]}\n{"file":"y","units":[0]}\nno\n',
    )
    assert findings("discophon", out, data) == [
        "error: units-eng-dev.jsonl: lines should be {\"file\": text, \"units\": [0, 1, ...]}: 2, 'line 2', 'line 4'",
        "error: units-eng-dev.jsonl: extra recordings: 1, 'y'",
    ]


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


def test_placeholders_stay_until_they_are_filled(slm_sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = f"lexical/dev={slm_sources['lexical/dev']}"
    result = run("submit", "sLM21", out, "--from", source, "--set", "username=me")
    line = next(line for line in result.stdout.splitlines() if "placeholders" in line)
    assert line.startswith("error: meta.yaml: placeholders are to be replaced: 6, 'model_info.system_description'")
    assert run("validate", "sLM21", out).exit_code == 1
    for values, message in (
        (["--set", "colour=red"], "unknown values 'colour'; there are username"),
        (["--set", "open_source=maybe"], "open_source should be true or false, found 'maybe'"),
        (["--set", "username"], "--set takes KEY=VALUE"),
        (["--param", "pooling=mean"], "unknown key pooling"),
        (["--from", "phonetic=x"], "sLM21 has no part 'phonetic'"),
    ):
        with pytest.raises(UserError, match=message):
            run("submit", "sLM21", tmp_path / "new", "--from", source, *values)
    with pytest.raises(UserError, match="--force"):
        run("submit", "sLM21", out, "--from", source)
    run("submit", "sLM21", out, "--from", source, "--force")
    with pytest.raises(UserError, match="no task 'sLM22'"):
        run("validate", "sLM22", out)
    assert not (tmp_path / "new").exists()


def test_sources_that_do_not_fit(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    twice = write(tmp_path / "twice.tsv", "id\tlog_prob\tunits\na/w1\t-1\t1\nb/w1\t-1\t1\n")
    with pytest.raises(UserError, match="several recordings of one name: 'w1'"):
        write_submission(TASKS["sLM21"], tmp_path / "o", {"lexical/dev": twice}, meta={}, params=[])
    some = write(tmp_path / "some.txt", "w1 -1\n")
    with pytest.raises(UserError, match="lacks 1 recordings of the dataset: 'n1'"):
        write_submission(
            TASKS["sLM21"], tmp_path / "o", {"lexical/dev": some}, meta={}, params=[], dataset=Dataset(slm)
        )
    identity = QuantizerIdentity(encoder="mfcc", k=3, frame_rate=50.0, sha256="0")
    write_units(tmp_path / "units.jsonl", identity, [Units("x", [2, 0])])
    with pytest.raises(UserError, match="'x' has units without durations"):
        write_submission(TASKS["abxLS"], tmp_path / "o", {"dev-clean": tmp_path / "units.jsonl"}, meta={}, params=[])
    assert not (tmp_path / "o").exists()


def test_a_zip_archive_is_as_good_as_a_folder(slm: Path, slm_sources: dict[str, Path], tmp_path: Path) -> None:
    out, archive = tmp_path / "out", tmp_path / "out.zip"
    submit("sLM21", out, slm_sources, "--dataset", slm, "--zip", archive)
    assert run("validate", "sLM21", archive, "--dataset", slm).stdout == "valid\n"
    with pytest.raises(UserError, match="--out"):
        run("score", "sLM21", archive, "--dataset", slm)
    run("score", "sLM21", archive, "--dataset", slm, "--out", tmp_path / "scores")
    run("score", "sLM21", out, "--dataset", slm)
    assert (tmp_path / "scores/summary.json").read_bytes() == (out / "scores/summary.json").read_bytes()
    nested = tmp_path / "nested.zip"
    with zipfile.ZipFile(nested, "w") as file:
        for path in sorted(p for p in out.rglob("*") if p.is_file()):
            file.write(path, f"my submission/{path.relative_to(out)}")
    assert run("validate", "sLM21", nested, "--dataset", slm).stdout == "valid\n"


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "a/../../evil", "C:/evil", "..\\evil"])
def test_archives_that_reach_outside_are_refused(name: str, tmp_path: Path) -> None:
    archive = tmp_path / "bad.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("meta.yaml", "username: me\n")
        file.writestr(name, "x")
    with pytest.raises(UserError, match="absolute paths, `..` or links, and is not unpacked"):
        run("validate", "sLM21", archive)
    assert not (tmp_path / "evil").exists()


def test_archives_with_links_and_broken_ones(tmp_path: Path) -> None:
    archive = tmp_path / "link.zip"
    with zipfile.ZipFile(archive, "w") as file:
        entry = zipfile.ZipInfo("lexical")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(entry, "/etc")
    with pytest.raises(UserError, match="links, and is not unpacked: 'lexical'"):
        run("validate", "sLM21", archive)
    write(tmp_path / "text.zip", "no archive")
    with pytest.raises(UserError, match="neither a folder nor a zip archive"):
        run("validate", "sLM21", tmp_path / "text.zip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("username: [1, 2", "is not valid YAML"),
        ("username: !!python/object/apply:os.system ['touch evil']", "asks for more than plain values"),
        ("username: !!python/name:os.system", "asks for more than plain values"),
        ("- a\n- b\n", "should hold names and their values, found list"),
        ("", "required values are missing: 8"),
        ("x: " + "y" * (2 << 20), "larger than a megabyte"),
        ("username: \x00", "is not valid YAML"),
    ],
)
def test_meta_that_is_no_plain_yaml(text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "out/meta.yaml", text)
    write(tmp_path / "out/lexical/dev.txt", "a -1\n")
    found = findings("sLM21", tmp_path / "out")
    assert any(line.startswith("error: meta.yaml") and message in line for line in found), found
    assert not (tmp_path / "evil").exists()


def test_params_and_names_of_another_task(slm_sources: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    submit("sLM21", out, {"lexical/dev": slm_sources["lexical/dev"]})
    meta = yaml.safe_load((out / "meta.yaml").read_text())
    write(out / "meta.yaml", yaml.safe_dump(meta | {"benchmark_name": "test-sLM21"}))
    write(out / "params.yaml", "quiet: true\nsemantic: {pooling: median}\n")
    found = findings("sLM21", out)
    assert found[0].startswith("error: params.yaml: semantic.pooling: input should be 'mean'")
    assert not any(line.startswith("error: meta.yaml") for line in found)
    write(out / "meta.yaml", yaml.safe_dump(meta | {"benchmark_name": "abxLS"}))
    assert "error: meta.yaml: benchmark_name should be sLM21, found 'abxLS'" in findings("sLM21", out)
    (out / "params.yaml").unlink()
    assert "remark: params.yaml: is missing; the defaults are taken" in findings("sLM21", out)


def test_nothing_of_the_task(tmp_path: Path) -> None:
    write(tmp_path / "out/meta.yaml", "{}")
    assert any("nothing of a submission to abxLS" in line for line in findings("abxLS", tmp_path / "out"))
    write(tmp_path / "out/dev-clean", "a file")
    assert "error: dev-clean: should be a folder" in findings("abxLS", tmp_path / "out")
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match="judges no part"):
        score_submission(TASKS["prosAudit"], submitted(tmp_path), Dataset(tmp_path / "data"))


def submitted(tmp_path: Path) -> Path:
    submit("prosAudit", tmp_path / "fine", {"english_dev": write(tmp_path / "s.txt", "a -1\n")})
    return tmp_path / "fine"
