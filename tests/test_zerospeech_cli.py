"""Every verb of `textless eval` but those of ABX and of submissions, through its command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from test_zerospeech_recognizer import tone_corpus
from typer.testing import CliRunner, Result

from textless.audio.manifest import read_manifest
from textless.corpora.alignment import Segment, write_alignment
from textless.errors import UserError
from textless.features.store import write_npy
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from zerospeech_eval import train_recognizer
from zerospeech_eval.classes import Fragment, write_classes
from zerospeech_eval.cli import app


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)


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


def test_prosaudit(tmp_path: Path) -> None:
    rows = "".join(
        f"{name},1,A,{kind},s,text,{c}\n" for kind in ("lexical", "protosyntax") for name, c in (("a", 1), ("b", 0))
    )
    (tmp_path / "gold.csv").write_text("filename,id,voice,type,subtype,transcription,correct\n" + rows)
    (tmp_path / "scores.tsv").write_text("id\tlog_prob\tunits\na\t-9\t10\nb\t-8\t2\n")
    result = run("prosaudit", tmp_path / "scores.tsv", tmp_path / "gold.csv")
    assert "prosAudit accuracy by part (chance 50; 2 pairs" in result.stdout
    report = json.loads(run("prosaudit", tmp_path / "scores.tsv", tmp_path / "gold.csv", "--per-unit", "--json").stdout)
    assert {kind: part["accuracy"] for kind, part in report["by_type"].items()} == {"lexical": 100, "protosyntax": 100}
    (tmp_path / "scores.tsv").write_text("a -1\n")
    with pytest.raises(UserError, match="no pair of the gold list"):
        run("prosaudit", tmp_path / "scores.tsv", tmp_path / "gold.csv", "--skip-missing")


@pytest.mark.parametrize(
    ("verb", "better", "worse", "part"),
    [
        ("salmon", "rir_consistency/sample_1_0", "rir_consistency/sample_1_1", "by_part"),
        ("storycloze", "1_correct", "1_incorrect", None),
    ],
)
def test_pairs_in_names(verb: str, better: str, worse: str, part: str | None, tmp_path: Path) -> None:
    (tmp_path / "scores.tsv").write_text(f"id\tlog_prob\tunits\n{better}\t-9\t10\n{worse}\t-8\t2\n")
    report = json.loads(run(verb, tmp_path / "scores.tsv", "--json").stdout)
    found = [result["by_part"]["rir_consistency"] if part else result for result in report["results"]]
    assert [result["accuracy"] for result in found] == [0, 100], "as sums, and as means a unit"
    assert run(verb, tmp_path / "scores.tsv").stdout.count("log-probabilit") == 2
    lonely = better.replace("1", "2")
    with (tmp_path / "scores.tsv").open("a") as file:
        file.write(f"{lonely}\t-1\t1\n")
    with pytest.raises(UserError, match="--skip-missing"):
        run(verb, tmp_path / "scores.tsv")
    assert "1 trials left out" in run(verb, tmp_path / "scores.tsv", "--skip-missing").stdout


def test_ssimi(tmp_path: Path) -> None:
    gold = "".join(f"{kind},{kind}{i},w{i},A\n" for kind in ("synthetic", "librispeech") for i in range(3))
    (tmp_path / "gold.csv").write_text("type,filename,word,voice\n" + gold)
    pairs = "".join(
        f"{k},d,w{a},w{b},{v},\n" for k in ("synthetic", "librispeech") for a, b, v in ((0, 1, 9), (0, 2, 1), (1, 2, 5))
    )
    (tmp_path / "pairs.csv").write_text("type,dataset,word_1,word_2,similarity,relatedness\n" + pairs)
    for kind in ("synthetic", "librispeech"):
        for i, place in enumerate((0.0, 1.0, 3.0)):  # distances 1, 3, 2
            write_npy(tmp_path / kind, f"{kind}{i}", np.full((2, 1), place))
    files = (tmp_path / "gold.csv", tmp_path / "pairs.csv")
    both = [str(part) for kind in ("synthetic", "librispeech") for part in (f"--{kind}", tmp_path / kind)]
    report = json.loads(run("ssimi", *files, *both, "--json").stdout)
    assert report["synthetic"]["normal"] == report["librispeech"]["datasets"]["d"]["correlation"] == pytest.approx(100)
    result = run("ssimi", *files, "--synthetic", tmp_path / "synthetic", "--pooling", "max", "--metric", "cosine")
    assert "sSIMI, max pooling, cosine distance" in result.stdout
    assert "synthetic: undefined" in result.stdout, "a zero vector has no angle"
    with pytest.raises(UserError, match="give --synthetic"):
        run("ssimi", *files)
    with pytest.raises(UserError, match="no metric 'yule'; there are braycurtis"):
        run("ssimi", *files, *both, "--metric", "yule")


def test_tde(tmp_path: Path) -> None:
    write_alignment(tmp_path / "p.tsv", {"f": [Segment(0, 0.1, "a"), Segment(0.1, 0.2, "t")]}, "phone")
    write_alignment(tmp_path / "w.tsv", {"f": [Segment(0, 0.2, "at")]}, "word")
    write_classes(tmp_path / "found.txt", {"1": [Fragment("f", 0, 0.2), Fragment("f", 0, 0.19)]})
    files = (tmp_path / "found.txt", tmp_path / "p.tsv", tmp_path / "w.tsv")
    report = json.loads(run("tde", *files, "--json").stdout)
    assert (report["ned"], report["token"]["fscore"], report["grouping"]["recall"]) == (0, pytest.approx(2 / 3), None)
    result = run("tde", *files)
    assert "NED 0.00 % over 1 pairs, coverage 100.00 %" in result.stdout
    assert "recall undefined" in result.stdout


IDENTITY = QuantizerIdentity(encoder="mfcc", k=2, frame_rate=50.0, sha256="0")


def test_units(tmp_path: Path) -> None:
    write_units(tmp_path / "units.jsonl", IDENTITY, [Units("x", [0, 1], [5, 5])])
    write_alignment(tmp_path / "p.tsv", {"x": [Segment(0, 0.12, "a"), Segment(0.12, 0.2, "b")]}, "phone")
    result = run("units", tmp_path / "units.jsonl", tmp_path / "p.tsv")
    assert "PNMI" in result.stdout
    assert "many to one  phone error rate 0.00 %, boundaries F1 1.0000, R-value 1.0000 (± 20 ms)" in result.stdout
    strict = json.loads(
        run("units", tmp_path / "units.jsonl", tmp_path / "p.tsv", "--tolerance", 0.01, "--json").stdout
    )
    assert strict["one_to_one"]["boundary_fscore"] == 0, "found at 0.10 s, true at 0.12 s"


def test_bitrate(tmp_path: Path) -> None:
    write_units(tmp_path / "units.jsonl", IDENTITY, [Units("x", [0, 1], [25, 75])])
    assert "1.00 bits a second: 2 symbols, 2 distinct" in run("bitrate", tmp_path / "units.jsonl").stdout
    report = json.loads(run("bitrate", tmp_path / "units.jsonl", "--frames", "--json").stdout)
    assert report["bits_per_second"] == pytest.approx(50 * (0.25 * 2 + 0.75 * np.log2(4 / 3)))
    folder = tmp_path / "codes"
    folder.mkdir()
    (folder / "x.txt").write_text("1\n2\n")
    (tmp_path / "list.txt").write_text("x.txt 4\ny.txt 1\n")
    with pytest.raises(UserError, match="need --filelist"):
        run("bitrate", folder)
    with pytest.raises(UserError, match="--skip-missing"):
        run("bitrate", folder, "--filelist", tmp_path / "list.txt")
    result = run("bitrate", folder, "--filelist", tmp_path / "list.txt", "--skip-missing")
    assert result.stdout.startswith("0.50 bits a second")
    assert "1 files left out" in result.stdout


def test_cer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, _ = tone_corpus(tmp_path, 2, seed=0)
    ids = [u.id for u in read_manifest(manifest)]
    (tmp_path / "texts.tsv").write_text("".join(f"{i}\tabcd\n" for i in ids))
    (tmp_path / "heard.tsv").write_text(f"{ids[0]}\tabcd\n{ids[1]}\tabxd\n")
    given = ("--references", tmp_path / "texts.tsv")
    assert "character error rate 12.50 %" in run("cer", manifest, *given, "--heard", tmp_path / "heard.tsv").stdout
    (tmp_path / "deaf.py").write_text("def transcribe(waveform):\n    return ''\n")
    monkeypatch.chdir(tmp_path)
    report = json.loads(run("cer", manifest, *given, "--recognizer", "deaf:transcribe", "--seed", 1, "--json").stdout)
    assert report["character_error_rate_percent"] == 100
    with pytest.raises(UserError, match="no utterance has a text"):
        run("cer", manifest, "--recognizer", "deaf:transcribe")
    with pytest.raises(UserError, match="give either --recognizer"):
        run("cer", manifest)
