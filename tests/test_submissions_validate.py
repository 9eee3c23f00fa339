"""What is wrong with a submission, or with what it is made from, is said, and all of it at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import small_submissions
import yaml
from small_submissions import findings, submit, write
from test_zerospeech_cli import run

from textless.errors import UserError
from units.files import Units, write_units
from units.identity import QuantizerIdentity
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.layout import TASKS
from zerospeech_eval.submission.score import score_submission
from zerospeech_eval.submission.write import write_submission

slm = small_submissions.slm
slm_sources = small_submissions.slm_sources


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
