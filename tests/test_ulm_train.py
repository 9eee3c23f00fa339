"""Training: it learns, and survives being stopped, killed and spread over processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_ulm_source import IDENTITY, WordSource, write

from textless.errors import UserError
from textless.training.run import Run, read_metrics
from ulm.config import TrainConfig
from ulm.language_model import load_language_model
from ulm.ngram import NgramModel
from ulm.train import train

SMALL = IDENTITY.model_copy(update={"k": 20})


@pytest.fixture(scope="module")
def source() -> WordSource:
    return WordSource(k=20, lexicon=12, speakers=2, noise=0.03, words=6, successors=3)


@pytest.fixture
def data(tmp_path: Path, source: WordSource) -> dict[str, str]:
    train_file = write(tmp_path / "train.jsonl", source.sample(3000, 1), SMALL)
    valid_file = write(tmp_path / "valid.jsonl", source.sample(500, 2), SMALL)
    return {"train": str(train_file), "valid": str(valid_file)}


def config(data: dict[str, str], **values: object) -> TrainConfig:
    defaults = {
        "data": data,
        "model": {"dim": 16, "layers": 2, "heads": 2, "ffn": 32, "dropout": 0.1, "noise": 0.1},
        "steps": 6,
        "batch_tokens": 256,
        "context": 64,
        "log_every": 1,
        "valid_every": 3,
        "save_every": 0,
    }
    return TrainConfig.parse(defaults | values, "test")


def resume_state(directory: Path) -> dict:
    return torch.load(directory / "resume.pt", weights_only=True)["parts"]


def assert_equal(one: object, two: object) -> None:
    if isinstance(one, dict):
        assert one.keys() == two.keys()
        for key in one:
            assert_equal(one[key], two[key])
    elif isinstance(one, list):
        for a, b in zip(one, two, strict=True):
            assert_equal(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    else:
        assert one == two


def test_learns_what_an_n_gram_cannot(tmp_path: Path, source: WordSource) -> None:
    training, test = source.sample(30_000, 1), source.sample(2000, 2)
    files = {"train": write(tmp_path / "t.jsonl", training, SMALL), "valid": write(tmp_path / "v.jsonl", test, SMALL)}
    values = config(
        {name: str(path) for name, path in files.items()},
        model={"dim": 64, "layers": 2, "heads": 4, "ffn": 128, "dropout": 0.1},
        optimizer={"lr": 5e-3, "schedule": {"warmup_steps": 10}},
        steps=300,
        batch_tokens=1024,
        context=128,
        log_every=0,
        valid_every=0,
    )
    train(values, tmp_path / "lm", device="cpu")
    model = load_language_model(tmp_path / "lm")
    n_units = sum(map(len, test))
    bits = lambda m: -sum(float(row.sum()) for row in m.log_probs(test)) / n_units / 0.6931472  # noqa: E731
    learned, entropy = bits(model), source.bits_per_unit(test)
    trigram, five = (bits(NgramModel.fit(training, 20, order)) for order in (3, 5))
    assert entropy < learned < min(trigram, five)
    assert learned < 1.25 * entropy


@pytest.mark.parametrize("micro_batch_tokens", [0, 64])
def test_resumed_is_uninterrupted_bit_for_bit(
    tmp_path: Path, data: dict[str, str], monkeypatch: pytest.MonkeyPatch, micro_batch_tokens: int
) -> None:
    values = config(data, micro_batch_tokens=micro_batch_tokens)
    train(values, tmp_path / "whole", device="cpu")
    real = Run.stopping
    calls = iter([False, False, False, True])
    monkeypatch.setattr(Run, "stopping", lambda _: next(calls))
    train(values, tmp_path / "parts", device="cpu")
    assert read_metrics(tmp_path / "parts")[-1]["step"] == 3
    monkeypatch.setattr(Run, "stopping", real)
    torch.manual_seed(123)  # the random state of the process must not matter
    train(values, tmp_path / "parts", device="cpu")
    assert_equal(resume_state(tmp_path / "whole"), resume_state(tmp_path / "parts"))
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "parts/model.safetensors").read_bytes()
    without_time = lambda d: [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(d)]  # noqa: E731
    assert without_time(tmp_path / "whole") == without_time(tmp_path / "parts")


def test_a_finished_run_is_left_alone_unless_forced(
    tmp_path: Path, data: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    train(config(data, steps=2), tmp_path / "lm", device="cpu")
    before = (tmp_path / "lm/model.safetensors").stat().st_mtime_ns
    train(config(data, steps=2), tmp_path / "lm", device="cpu")
    assert "is finished" in capsys.readouterr().err
    assert (tmp_path / "lm/model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"another configuration \(seed"):
        train(config(data, steps=2, seed=1), tmp_path / "lm", device="cpu")
    train(config(data, steps=2, seed=1), tmp_path / "lm", device="cpu", force=True)
    assert (tmp_path / "lm/model.safetensors").stat().st_mtime_ns != before


def test_parts_of_a_batch_change_nothing_but_memory(tmp_path: Path, data: dict[str, str]) -> None:
    model = {"dim": 16, "layers": 2, "heads": 2, "ffn": 32, "dropout": 0.0, "noise": 0.0}
    losses = []
    for size in (0, 64, 128):
        values = config(data, model=model, micro_batch_tokens=size, precision="fp32", valid_every=0)
        train(values, tmp_path / str(size), device="cpu")
        losses.append([row["bits_per_token"] for row in read_metrics(tmp_path / str(size)) if "lr" in row])
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)
    assert losses[2] == pytest.approx(losses[0], abs=1e-5)


def test_best_and_last_and_no_validation(tmp_path: Path, data: dict[str, str]) -> None:
    wild = {"lr": 0.3, "clip": 0.0, "schedule": {"name": "constant", "warmup_steps": 0}}
    rows = {}
    for keep in ("best", "last"):
        train(config(data, keep=keep, optimizer=wild, valid_every=1), tmp_path / keep, device="cpu")
        bits = [row["valid_bits_per_unit"] for row in read_metrics(tmp_path / keep) if "valid_bits_per_unit" in row]
        rows[keep] = bits
    # The model's own validation, in the precision of training, is close to scoring it in float32.
    for keep, expected in (("best", min(rows["best"])), ("last", rows["last"][-1])):
        from ulm.score import score

        found = score(Path(data["valid"]), tmp_path / f"{keep}.tsv", tmp_path / keep, device="cpu")
        assert found.bits_per_unit == pytest.approx(expected, rel=0.03)
    train(config({"train": data["train"]}), tmp_path / "alone", device="cpu")
    assert load_language_model(tmp_path / "alone").units_per_second == pytest.approx(25.0)


def toml(path: Path, data: dict[str, str], **values: object) -> Path:
    lines = [f"{key} = {value!r}".lower() for key, value in values.items()]
    lines += ["[data]", f'train = "{Path(data["train"]).name}"', f'valid = "{Path(data["valid"]).name}"']
    lines += ["[model]", "dim = 16", "layers = 2", "heads = 2", "ffn = 32", "dropout = 0.0", "noise = 0.0"]
    path.write_text("\n".join(lines) + "\n")
    return path


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


COMMAND = ["-c", "from ulm.cli import app; app()", "train"]


def test_two_processes_are_one(tmp_path: Path, data: dict[str, str]) -> None:
    path = toml(tmp_path / "c.toml", data, steps=3, batch_tokens=320, context=64, log_every=1, precision="fp32")
    script = tmp_path / "launch.py"
    script.write_text("from ulm.cli import app\napp()\n")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    arguments = ["train", str(path), str(tmp_path / "two"), "--device", "cpu"]
    done = subprocess.run([*launch, *arguments], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    train(TrainConfig.load(path), tmp_path / "one", device="cpu")
    keys = ("bits_per_token", "valid_bits_per_unit")
    one, two = ([row[k] for row in read_metrics(tmp_path / d) for k in keys if k in row] for d in ("one", "two"))
    assert len(one) == 4
    assert two == pytest.approx(one, abs=1e-5)
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


def test_paths_are_relative_to_where_they_are_written(
    tmp_path: Path, data: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = toml(tmp_path / "c.toml", data)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    loaded = TrainConfig.load(path, ["data.valid=here.jsonl", "steps=3"])
    assert loaded.data.train == tmp_path / "train.jsonl"
    assert loaded.data.valid == elsewhere / "here.jsonl"
    assert loaded.steps == 3
