"""Training a unit LM: it learns, resumes, stops early or when it diverges, and keeps the best."""

import math
from pathlib import Path

import pytest
import small_ulm_runs
import torch
from small_ulm_runs import PLAIN, SMALL, assert_equal, config, losses, metrics, resume_state, toml
from test_ulm_source import WordSource, write

import ulm.train
from textless.errors import UserError
from textless.training.run import Run, read_metrics
from textless.training.schedule import ScheduleConfig, multiplier
from ulm.config import TrainConfig
from ulm.corpus import read_corpora
from ulm.data import PackedUnits
from ulm.language_model import load_language_model
from ulm.shards import prepare
from ulm.train import train
from units.kneser_ney import NgramModel

source = small_ulm_runs.source
data = small_ulm_runs.data


def test_learns_what_an_n_gram_cannot(tmp_path: Path, source: WordSource) -> None:
    training, test = source.sample(30_000, 1), source.sample(2000, 2)
    files = {"train": write(tmp_path / "t.jsonl", training, SMALL), "valid": write(tmp_path / "v.jsonl", test, SMALL)}
    values = config(
        {name: str(path) for name, path in files.items()},
        model={"dim": 64, "layers": 2, "heads": 4, "ffn": 128, "dropout": 0.1, "ngram_rows": 4096},
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
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")


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
    runs = []
    for size in (0, 64, 128):
        values = config(data, model=PLAIN, micro_batch_tokens=size, precision="fp32", valid_every=0)
        train(values, tmp_path / str(size), device="cpu")
        runs.append(losses(tmp_path / str(size)))
    # Sums in another order: a few units in the last place of float32.
    assert runs[1] == pytest.approx(runs[0], abs=1e-5)
    assert runs[2] == pytest.approx(runs[0], abs=1e-5)


def test_recomputing_activations_and_compiling_change_nothing(tmp_path: Path, data: dict[str, str]) -> None:
    """Not even with dropout and noise, whose random numbers are drawn again when activations are."""
    model = PLAIN | {"dropout": 0.1, "noise": 0.1}
    values = {"steps": 3, "precision": "fp32", "valid_every": 0}
    train(config(data, model=model, **values), tmp_path / "plain", device="cpu")
    train(config(data, model=model | {"checkpoint_activations": True}, **values), tmp_path / "again", device="cpu")
    assert losses(tmp_path / "again") == pytest.approx(losses(tmp_path / "plain"), abs=1e-6)


@pytest.mark.slow
def test_compiling_changes_nothing_but_speed(tmp_path: Path, data: dict[str, str]) -> None:
    values = {"model": PLAIN, "steps": 3, "precision": "fp32", "valid_every": 0}
    for switch in (False, True):
        train(config(data, compile=switch, **values), tmp_path / str(switch), device="cpu")
    # Fused kernels round otherwise.
    assert losses(tmp_path / "True") == pytest.approx(losses(tmp_path / "False"), abs=1e-5)


def test_a_prepared_folder_trains_as_its_units_file_does(tmp_path: Path, data: dict[str, str]) -> None:
    prepare(Path(data["train"]), tmp_path / "train", shards=3)
    prepare(Path(data["valid"]), tmp_path / "valid", shards=2)
    folders = {"train": str(tmp_path / "train"), "valid": str(tmp_path / "valid")}
    for name, source in (("file", data), ("folder", folders)):
        train(config(source), tmp_path / name, device="cpu")
    assert metrics(tmp_path / "file") == metrics(tmp_path / "folder")
    whole, parts = (tmp_path / name / "model.safetensors" for name in ("file", "folder"))
    assert whole.read_bytes() == parts.read_bytes()


def test_training_in_epochs_with_adam_tensorboard_and_wsd(tmp_path: Path, data: dict[str, str]) -> None:
    optimizer = {"name": "adam", "lr": 1e-3, "schedule": {"name": "wsd", "warmup_steps": 2}}
    values = {"optimizer": optimizer, "tensorboard": True, "valid_every": 0, "log_every": 1}
    sizes = {"model": PLAIN, "batch_tokens": 256, "context": 64}
    train(TrainConfig.parse({"data": data, "epochs": 1.25} | values | sizes, "test"), tmp_path / "lm", device="cpu")
    rows = [row for row in read_metrics(tmp_path / "lm") if "lr" in row]
    n_rows = PackedUnits(read_corpora(Path(data["train"]), None, None)[0].documents, 64).n_rows
    assert len(rows) == math.ceil(1.25 * n_rows / 4)
    assert rows[1]["lr"] == rows[3]["lr"] == 1e-3 > rows[-1]["lr"]
    wsd = ScheduleConfig(name="wsd", warmup_steps=10, final=0.1)
    assert [multiplier(wsd, step, 1000) for step in (4, 10, 799)] == [0.5, 1.0, 1.0]
    assert multiplier(wsd, 850, 1000) == pytest.approx(0.1 + 0.9 * (1 - 0.25**0.5))
    assert any((tmp_path / "lm/tensorboard").iterdir())
    with pytest.raises(UserError, match="give one"):
        config(data, steps=3, epochs=1)


def test_early_stopping_ends_the_run_for_good(
    tmp_path: Path, data: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    values = config(data, optimizer={"lr": 1e-30}, steps=50, valid_every=1, patience=3)
    train(values, tmp_path / "lm", device="cpu")
    assert read_metrics(tmp_path / "lm")[-1]["step"] == 4  # the first validation, and three that were no better
    assert "finished" in capsys.readouterr().err
    train(values, tmp_path / "lm", device="cpu")
    assert "is finished (4 steps)" in capsys.readouterr().err
    for lack in ({"valid_every": 0}, {"data": {"train": data["train"]}}):
        with pytest.raises(UserError, match="patience needs"):
            config(**({"data": data} | {"patience": 3} | lack))


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_diverged_run_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, data: dict[str, str], monkeypatch: pytest.MonkeyPatch, poison: float
) -> None:
    real, calls = ulm.train.cross_entropy_sum, iter(range(100))
    monkeypatch.setattr(ulm.train, "cross_entropy_sum", lambda *a: real(*a) * (poison if next(calls) == 6 else 1))
    optimizer = {"lr": 1e-3, "schedule": {"name": "constant", "warmup_steps": 0}}
    values = config({"train": data["train"]}, optimizer=optimizer, steps=20, save_every=4, log_every=0)
    # The update is known exactly, though nobody looked before the next save was due.
    with pytest.raises(
        UserError, match=r"not finite at step 7 \(learning rate 0\.001\); the checkpoint of step 4 stays"
    ):
        train(values, tmp_path / "lm", device="cpu")
    state = torch.load(tmp_path / "lm/resume.pt", weights_only=True)
    assert state["step"] == 4
    assert all(torch.isfinite(weight).all() for weight in state["parts"]["model"].values())
    assert not (tmp_path / "lm/model.safetensors").exists()


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
