"""A process killed at any moment: nothing half-written, and the same command goes on to the same result."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import safetensors.torch
import torch
from test_foundation import run_textless

from units.files import Units, write_units
from units.identity import QuantizerIdentity

pytestmark = pytest.mark.slow


@pytest.fixture
def config(tmp_path):
    identity = QuantizerIdentity(encoder="mfcc@50", k=20, frame_rate=50.0, sha256="ab" * 32)
    rng = np.random.default_rng(0)
    items = [Units(str(i), rng.integers(0, 20, 60).tolist()) for i in range(100)]
    write_units(tmp_path / "train.jsonl", identity, items)
    path = tmp_path / "ulm.toml"
    path.write_text(
        "steps = 200\nsave_every = 5\nlog_every = 1\nvalid_every = 0\nbatch_tokens = 256\ncontext = 64\n"
        '[data]\ntrain = "train.jsonl"\n[model]\ndim = 32\nlayers = 2\nheads = 2\nffn = 64\nngram_rows = 256\n'
    )
    return path


def test_training_killed_again_and_again_ends_where_one_run_ends(config, tmp_path):
    whole = run_textless("ulm", "train", config, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "textless", "ulm", "train", str(config), str(out)]
    kills = 0
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        began = len((out / "metrics.jsonl").read_text().splitlines()) if (out / "metrics.jsonl").exists() else 0
        while process.poll() is None:
            time.sleep(0.01)
            rows = (out / "metrics.jsonl").read_text().count("\n") if (out / "metrics.jsonl").exists() else 0
            if rows >= began + 37 + kills:  # at another place in the cycle of saves each time
                process.send_signal(signal.SIGKILL)
                kills += 1
                process.wait()
        if process.returncode == 0:
            break
        torch.load(out / "resume.pt", weights_only=True)  # whole, whenever it was killed
    assert kills >= 2
    assert process.returncode == 0
    found, expected = (safetensors.torch.load_file(d / "model.safetensors") for d in (out, tmp_path / "whole"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
