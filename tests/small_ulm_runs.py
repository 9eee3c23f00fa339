"""Units of planted words, small configurations of runs on them, and what a run left."""

from pathlib import Path

import pytest
import torch
from test_ulm_source import IDENTITY, WordSource, write

from textless.training.run import read_metrics
from ulm.config import TrainConfig

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


def toml(path: Path, data: dict[str, str], **values: object) -> Path:
    lines = [f"{key} = {value!r}".lower() for key, value in values.items()]
    lines += ["[data]", f'train = "{Path(data["train"]).name}"', f'valid = "{Path(data["valid"]).name}"']
    lines += ["[model]", "dim = 16", "layers = 2", "heads = 2", "ffn = 32", "dropout = 0.0", "noise = 0.0"]
    path.write_text("\n".join(lines) + "\n")
    return path
