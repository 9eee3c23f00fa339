"""Training: it learns, and survives being stopped, killed and spread over processes."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from test_ulm_source import IDENTITY, WordSource, write

import ulm.train
from textless.errors import UserError
from textless.training.run import Run, read_metrics
from textless.training.schedule import ScheduleConfig, multiplier
from ulm.config import ModelConfig, TrainConfig
from ulm.corpus import read_corpora
from ulm.data import PackedUnits
from ulm.language_model import NgramLanguageModel, TransformerLanguageModel, load_language_model
from ulm.model import UnitTransformer
from ulm.shards import prepare
from ulm.train import train
from units.kneser_ney import NgramModel

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


def metrics(directory: Path) -> list[dict[str, float]]:
    """What was logged, without the clock."""
    clock = ("seconds", "tokens_per_second")
    return [{name: value for name, value in row.items() if name not in clock} for row in read_metrics(directory)]


def losses(directory: Path) -> list[float]:
    return [row["bits_per_token"] for row in read_metrics(directory) if "bits_per_token" in row]


PLAIN = {"dim": 16, "layers": 2, "heads": 2, "ffn": 32, "dropout": 0.0, "noise": 0.0}


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


def test_warm_start_from_a_unit_model(tmp_path: Path, data: dict[str, str]) -> None:
    optimizer = {"lr": 5e-3, "schedule": {"warmup_steps": 5}}
    train(config(data, steps=60, optimizer=optimizer, valid_every=60), tmp_path / "first", device="cpu")
    first = load_language_model(tmp_path / "first")
    still = {"optimizer": {"lr": 1e-30, "weight_decay": 0}, "steps": 1, "valid_every": 1, "model": {}}
    train(config(data, init={"model": str(tmp_path / "first")}, **still), tmp_path / "second", device="cpu")
    second = load_language_model(tmp_path / "second")
    assert_equal(dict(first.network.state_dict()), dict(second.network.state_dict()))
    bits = [read_metrics(tmp_path / name)[-1]["valid_bits_per_unit"] for name in ("first", "second")]
    assert bits[0] == bits[1]
    # Units of another quantizer: the trunk is kept, what knows the units is new.
    other = write(tmp_path / "o.jsonl", [[1, 2, 3]] * 60, IDENTITY.model_copy(update={"k": 5}))
    values = still | {"valid_every": 0, "init": {"model": str(tmp_path / "first")}}
    train(config({"train": str(other)}, **values), tmp_path / "third", device="cpu")
    third = load_language_model(tmp_path / "third").network
    assert torch.equal(third.trunk[0].ffn.widen.weight, first.network.trunk[0].ffn.widen.weight)
    assert third.embedding.weight.shape[0] == 6


def test_warm_start_from_a_text_model(tmp_path: Path, data: dict[str, str]) -> None:
    transformers = pytest.importorskip("transformers")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=300, num_key_value_heads=1, **shape))
    text.save_pretrained(tmp_path / "text")
    values = {"optimizer": {"lr": 1e-30, "weight_decay": 0}, "steps": 1, "init": {"model": str(tmp_path / "text")}}
    train(config(data, model={"dropout": 0.2}, **values), tmp_path / "lm", device="cpu")
    network = load_language_model(tmp_path / "lm").network
    layer = text.model.layers[1]
    assert torch.equal(network.trunk[1].attention.project.weight, layer.self_attn.o_proj.weight)
    assert torch.equal(network.trunk[1].ffn.shrink.weight, layer.mlp.down_proj.weight)
    assert network.embedding.weight.shape == (21, 16)
    assert network.config.dropout == 0.2


def test_warm_starts_that_cannot_be_say_why(tmp_path: Path, data: dict[str, str]) -> None:
    train(config({"train": data["train"]}, steps=1), tmp_path / "lm", device="cpu")
    NgramLanguageModel(NgramModel.fit([[1, 2]], 20, 2), SMALL).save(tmp_path / "ngram")
    learned = ModelConfig(dim=16, layers=1, heads=2, ffn=32, positions="learned", max_positions=32)
    TransformerLanguageModel(UnitTransformer(learned, 21), SMALL, 32).save(tmp_path / "short")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert/config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    for name, model, message in (
        ("lm", {"dim": 36}, r"another architecture: its dim is 16, model\.dim is 36"),
        ("ngram", {}, "is an n-gram model"),
        ("nowhere", {}, "is not a model directory"),
        ("bert", {}, "bert"),
        ("short", {}, "context 64 is longer than the 32 positions"),
    ):
        values = config(data, model=model, init={"model": str(tmp_path / name)})
        with pytest.raises(UserError, match=message):
            train(values, tmp_path / "out", device="cpu")


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
