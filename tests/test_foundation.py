import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from textless import cli, distributed, files
from textless.config import Config
from textless.errors import UserError
from textless.provenance import check_header, make_header
from textless.training.best import Best
from textless.training.run import Run, read_metrics
from textless.training.schedule import ScheduleConfig, multiplier


class Optimizer(Config):
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)


class Settings(Config):
    optimizer: Optimizer = Optimizer()
    name: str = "a"
    steps: int = 10


def test_config_states_differences_and_names_unknown_keys(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("steps = 5\n[optimizer]\nlr = 0.1\n")
    config = Settings.load(path, ["optimizer.lr=3e-4", "name=gslm", "optimizer.betas=[0.8, 0.9]"])
    assert config == Settings(steps=5, name="gslm", optimizer=Optimizer(lr=3e-4, betas=(0.8, 0.9)))
    for override, message in {
        "optimizer.lrr=1": r"unknown key optimizer\.lrr \(did you mean lr\?\)",
        "steps=many": "steps: input should be a valid integer",
        "steps": "takes key=value",
        "name.x=1": "unknown|string",
    }.items():
        with pytest.raises(UserError, match=message):
            Settings.load(path, [override])
    path.write_text("steps = \n")
    with pytest.raises(UserError, match="not valid TOML"):
        Settings.load(path)


def test_relative_paths_mean_the_tomls_folder_or_the_working_directory(tmp_path, monkeypatch):
    class Data(Config):
        train: Path
        valid: Path | None = None

    class Training(Config):
        data: Data

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "c.toml").write_text('[data]\ntrain = "../units/a.jsonl"\n')
    config = Training.load(Path("configs/c.toml"), ["data.valid=units/b.jsonl"])
    assert config.data == Data(train=tmp_path / "units/a.jsonl", valid=tmp_path / "units/b.jsonl")
    assert Training.load(Path("configs/c.toml"), ["data.train=/x/y"]).data.train == Path("/x/y")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), files.atomic_write(path) as file:
        file.write("new")
        raise RuntimeError("half way")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    with pytest.raises(RuntimeError, match="half way"), files.atomic_directory(tmp_path / "d") as directory:
        (directory / "x").touch()
        raise RuntimeError("half way")
    assert not (tmp_path / "d").exists()


def test_a_full_disk_is_one_line_and_exit_2(monkeypatch, capsys):
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out.npy")

    monkeypatch.setattr(cli, "build", lambda: full)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    assert "no space left on the disk" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_while_writing_leaves_no_half_file(tmp_path, monkeypatch):
    monkeypatch.setattr(files.Path, "with_name", lambda *_: Path("/dev/full"))
    monkeypatch.setattr(files.Path, "unlink", lambda *_, **__: None)
    with pytest.raises(OSError, match="No space left") as error:
        files.write_jsonl(tmp_path / "units.jsonl", [{"id": "x" * 9999}] * 9)
    assert error.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_shards_are_found_in_order_and_missing_ones_named(tmp_path):
    for index in (2, 0, 1):
        files.shard_path(tmp_path / "u.jsonl", index, 3).write_text(str(index))
    assert [p.read_text() for p in files.shard_paths(tmp_path / "u.jsonl")] == ["0", "1", "2"]
    (tmp_path / "u-00001-of-00003.jsonl").unlink()
    with pytest.raises(UserError, match="u-00001-of-00003.jsonl is missing"):
        files.shard_paths(tmp_path / "u.jsonl")
    with pytest.raises(UserError, match="not found"):
        files.shard_paths(tmp_path / "v.jsonl")
    items = list(range(10))
    assert [x for i in range(4) for x in distributed.shard_slice(items, i, 4)] == items


def test_headers_refuse_other_kinds_and_the_future(tmp_path):
    header = make_header("textless-units", 1, k=5)
    assert check_header(json.loads(json.dumps(header)), "textless-units", 1, tmp_path)["k"] == 5
    with pytest.raises(UserError, match="not a textless-features file but a textless-units file"):
        check_header(header, "textless-features", 1, tmp_path)
    with pytest.raises(UserError, match="upgrade"):
        check_header({**header, "version": 2}, "textless-units", 1, tmp_path)


def test_ranks_come_from_the_launcher(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    assert distributed.world() == distributed.World()
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_MIN", "1")
    monkeypatch.setenv("SLURM_ARRAY_TASK_STEP", "2")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "5")
    assert distributed.file_world() == distributed.World(3, 5)
    assert distributed.world().size == 1
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    assert distributed.file_world() == distributed.World(1, 4)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert distributed.world() == distributed.World(2, 3)
    assert distributed.first_host("gpu[03-05,9],cpu1") == "gpu03"
    assert distributed.first_host("node7,node8") == "node7"


def _gradients(rank: int, size: int, port: int, path: str) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    with distributed.process_group(torch.device("cpu")):
        parameter, unused = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
        (parameter * torch.tensor([1.0, 2.0, 3.0]) * (rank + 1)).sum().backward()
        distributed.average_gradients([parameter, unused])
        torch.save((parameter.grad, unused.grad, distributed.total(torch.tensor(rank + 1))), f"{path}-{rank}")


def test_two_processes_average_their_gradients(tmp_path):
    port = 20_000 + os.getpid() % 20_000
    torch.multiprocessing.spawn(_gradients, (2, port, str(tmp_path / "g")), nprocs=2)
    for rank in range(2):
        used, unused, total = torch.load(tmp_path / f"g-{rank}")
        assert used.tolist() == [1.5, 3.0, 4.5]
        assert unused.tolist() == [0.0, 0.0]
        assert total == 3


def test_schedules_warm_up_hold_and_decay():
    linear = ScheduleConfig(warmup_steps=10, plateau=0.4)
    assert [multiplier(linear, s, 100) for s in (0, 9, 20, 40, 70, 100)] == pytest.approx([0.1, 1, 1, 1, 0.5, 0])
    assert multiplier(ScheduleConfig(name="inverse_sqrt", warmup_steps=100), 399, 1000) == pytest.approx(0.5)
    cosine = ScheduleConfig(name="cosine", warmup_steps=0, final=0.1)
    assert [multiplier(cosine, s, 10) for s in (0, 5, 10)] == pytest.approx([1, 0.55, 0.1])


def _train(directory: Path, steps: int, stop_after: int | None = None, **config: object) -> torch.Tensor:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    parts = {"model": model, "optimizer": optimizer}
    with Run(directory, Settings(steps=steps, **config)) as run:
        step = run.resume(parts)
        while step < steps:
            loss = model(torch.randn(8, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            run.log(step, loss=loss.item())
            if step == stop_after:
                os.kill(os.getpid(), signal.SIGTERM)
            if run.stopping() or run.due(step, 2):
                run.save(step, parts)
            if run.stopping():
                break
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path):
    whole = _train(tmp_path / "whole", 10)
    with pytest.raises(SystemExit) as stop:  # and whoever runs commands one after the other does not go on
        _train(tmp_path / "stopped", 10, stop_after=5)
    assert stop.value.code == 0
    assert torch.equal(_train(tmp_path / "stopped", 10), whole)
    losses = [[row["loss"] for row in read_metrics(tmp_path / name)] for name in ("whole", "stopped")]
    assert losses[0] == losses[1]
    with pytest.raises(UserError, match=r"\(name differ\)"):
        _train(tmp_path / "stopped", 10, name="b")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").touch()
    with pytest.raises(UserError, match="not a training run"):
        _train(tmp_path / "foreign", 10)


def run_textless(*arguments: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "textless", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_help_never_imports_torch():
    check = (
        "import sys; from textless.cli import build; import typer; typer.main.get_command(build()); "
        "heavy = {'torch', 'numpy', 'faiss', 'numba', 'pydantic', 'soundfile'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
    result = run_textless("--help")
    for verb in ("corpus", "encoder", "units", "ulm", "vocoder", "eval", "bundle", "resynthesize", "continue", "demo"):
        assert verb in result.stdout


def test_doctor_and_version_answer():
    report = json.loads(run_textless("doctor", "--json").stdout)
    assert report["versions"]["torch"].startswith("2.11")
    assert report["devices"][0]["device"] == "cpu"
    assert set(report["extras"]) == {"synth", "plots", "hf"}
    assert run_textless("--version").stdout.strip() == report["versions"]["textless"]


@pytest.mark.slow
def test_help_answers_in_half_a_second():
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        run_textless("--help")
        best = min(best, time.perf_counter() - start)
    assert best < 0.5


def test_the_best_is_the_lowest_and_the_first_where_all_are_infinite() -> None:
    best = Best()
    found = [best.improve(step, value) for step, value in enumerate([math.inf, 3.0, 4.0, 3.0, 2.0, 5.0], 1)]
    assert found == [True, True, False, False, True, False]
    assert (best.step, best.value, best.is_past(2), best.is_past(1), best.is_past(0)) == (5, 2.0, False, True, False)
    again = Best()
    again.load_state_dict(best.state_dict())
    assert vars(again) == vars(best)
