"""Submissions to prosAudit, tde17, tts0 and discophon: written, checked, scored."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_submissions import SENTENCES, findings, submit, write
from test_zerospeech_cli import run

from textless.corpora.items import Item, write_items
from textless.errors import UserError
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from zerospeech_eval.classes import Fragment, write_classes
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.layout import TASKS
from zerospeech_eval.submission.score import score_submission


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
