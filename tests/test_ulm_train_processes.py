"""Training a unit LM on two processes, and one that is told to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_ulm_runs
import torch
from small_ulm_runs import config, losses, resume_state, toml

from textless.errors import UserError
from textless.training.run import read_metrics
from ulm.config import TrainConfig
from ulm.language_model import load_language_model
from ulm.train import train

source = small_ulm_runs.source
data = small_ulm_runs.data


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


COMMAND = ["-c", "from ulm.cli import app; app()", "train"]


def on_two_processes(path: Path, output: Path, *settings: str) -> None:
    script = output.parent / "launch.py"
    script.write_text("from ulm.cli import app\napp()\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    changes = [word for setting in settings for word in ("--set", setting)]
    arguments = ["train", str(path), str(output), "--device", "cpu", *changes]
    done = subprocess.run(
        [*launch, *arguments], env=environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("parallel", ["ddp", "fully_shard"])
def test_two_processes_are_one(tmp_path: Path, data: dict[str, str], parallel: str) -> None:
    # Five rows an update, for two processes, in parts of one; validation has an odd number of rows, too.
    values = {"steps": 4, "batch_tokens": 320, "micro_batch_tokens": 64, "context": 64, "precision": "fp32"}
    path = toml(tmp_path / "c.toml", data, **values, log_every=1, save_every=2, parallel=parallel)
    on_two_processes(path, tmp_path / "two")
    train(TrainConfig.load(path), tmp_path / "one", device="cpu")
    keys = ("bits_per_token", "gradient_norm", "valid_bits_per_unit")
    one, two = ([row[k] for row in read_metrics(tmp_path / d) for k in keys if k in row] for d in ("one", "two"))
    assert len(one) == 9
    assert two == pytest.approx(one, abs=1e-5)
    # Whole tensors are saved, whoever held the parts: one process reads what two have written, optimizer and all.
    saved = resume_state(tmp_path / "two")
    for name, weight in resume_state(tmp_path / "one")["model"].items():
        assert torch.allclose(saved["model"][name], weight, atol=1e-5), name
    moments = resume_state(tmp_path / "one")["optimizer"]["state"]
    for index, state in saved["optimizer"]["state"].items():
        assert torch.allclose(state["exp_avg"], moments[index]["exp_avg"], atol=1e-5)
    train(TrainConfig.load(path), tmp_path / "two", device="cpu")
    load_language_model(tmp_path / "two")


@pytest.mark.slow
def test_a_sharded_run_goes_on_from_its_checkpoint(tmp_path: Path, data: dict[str, str]) -> None:
    values = {"batch_tokens": 256, "context": 64, "precision": "fp32", "log_every": 1, "save_every": 2}
    path = toml(tmp_path / "c.toml", data, steps=4, parallel="fully_shard", **values)
    on_two_processes(path, tmp_path / "whole")
    on_two_processes(path, tmp_path / "parts")
    state = torch.load(tmp_path / "parts/resume.pt", weights_only=True)
    on_two_processes(path, tmp_path / "short", "steps=2", "optimizer.schedule.name=constant")
    half = torch.load(tmp_path / "short/resume.pt", weights_only=True)
    torch.save(half | {"config": state["config"]}, tmp_path / "parts/resume.pt")
    on_two_processes(path, tmp_path / "parts")
    assert losses(tmp_path / "parts")[2:] == losses(tmp_path / "whole")[2:]


def test_processes_need_a_row_each(data: dict[str, str]) -> None:
    with pytest.raises(UserError, match="too few for 2 processes"):
        from textless.distributed import World
        from ulm.train import rows_per_update

        rows_per_update(config(data, batch_tokens=64), World(size=2))


def test_sigterm_saves_and_exits_with_status_0(tmp_path: Path, data: dict[str, str]) -> None:
    path = toml(tmp_path / "c.toml", data, steps=100_000, batch_tokens=256, context=64, log_every=1)
    output = tmp_path / "lm"
    process = subprocess.Popen(
        [sys.executable, *COMMAND, str(path), str(output), "--device", "cpu"],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not (read_metrics(output) if output.exists() else []):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "stopped at step" in errors
    assert (output / "resume.pt").exists()
