"""Rounds of CTC students: each relabels for the next, and text alone chooses the one that is kept."""

import json
from pathlib import Path

import numpy as np
from planted_students import PHONES, configured, plant, text_folder
from typer.testing import CliRunner

from textless.errors import UserError
from unsup_asr.cli import app
from unsup_asr.ctc.config import StudentConfig
from unsup_asr.transcripts import read_transcripts, write_transcripts
from zerospeech_eval.token_errors import token_errors


def test_rounds_relabel_and_keep_one_by_text_alone(tmp_path: Path) -> None:
    truth = plant(tmp_path, n=60)
    random = np.random.default_rng(5)
    noisy = {i: [str(random.choice(PHONES)) if random.random() < 0.15 else p for p in s] for i, s in truth.items()}
    write_transcripts(tmp_path / "phones.tsv", noisy)
    text = text_folder(tmp_path / "text", PHONES, list(truth.values()))
    values = {"data": {"text": text}, "rounds": 2, "steps": 60, "valid_every": 30, "save_every": 0, "log_every": 30}
    config = configured(tmp_path, StudentConfig, **values)
    toml = tmp_path / "student.toml"
    toml.write_text(
        'steps = 60\nvalid_every = 30\nsave_every = 0\nlog_every = 30\nbatch_seconds = 12.0\nprecision = "fp32"\n'
        '[data]\nspeech = "features"\ntranscripts = "phones.tsv"\nheld_out = 0.2\ntext = "text"\n'
        "[network]\ndim = 32\nheads = 2\nffn = 64\nblocks = 1\ndropout = 0.0\n"
        "[optimizer]\nlr = 4e-3\n[optimizer.schedule]\nwarmup_steps = 10\n"
    )
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["student", str(toml), str(out), "--rounds", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert StudentConfig.load(toml, ["rounds=2"]).model_dump() == StudentConfig.model_validate(config).model_dump() | {
        "optimizer": config.optimizer.model_dump()
    }
    rows = json.loads(done.stdout.splitlines()[-1])["rounds"]
    assert [row["round"] for row in rows] == ["round-1", "round-2"]
    kept = json.loads((out / "rounds.json").read_text())["kept"]
    assert (out / "model.safetensors").read_bytes() == (out / kept / "model.safetensors").read_bytes()
    written = read_transcripts(out / "phones.tsv")
    assert written.keys() == truth.keys()
    # 12 % of the labels are wrong; what is random cannot be learnt.
    before, after = (token_errors("phone", truth, labels).rate for labels in (noisy, written))
    assert after < 0.5 * before
    logged = (out / "round-1" / "metrics.jsonl").read_bytes()
    again = CliRunner().invoke(app, ["student", str(toml), str(out), "--rounds", "2"])
    assert again.exit_code == 0
    assert (out / "round-1" / "metrics.jsonl").read_bytes() == logged
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    refused = CliRunner().invoke(app, ["student", str(toml), str(tmp_path / "other"), "--rounds", "2"])
    assert isinstance(refused.exception, UserError)
    forced = CliRunner().invoke(
        app,
        [
            "student",
            str(toml),
            str(tmp_path / "other"),
            "--set",
            "steps=2",
            "--force",
            "--set",
            "data.labels=reference",
        ],
    )
    assert forced.exit_code == 0, forced.output
    assert json.loads((tmp_path / "other" / "config.json").read_text())["labels"] == "reference"
