"""The configurations given as examples are ones."""

from pathlib import Path

import pytest

from ulm.config import TrainConfig

EXAMPLES = Path(__file__).parents[1] / "examples/configs"


@pytest.mark.parametrize("name", ["ulm-small.toml", "ulm-gslm.toml"])
def test_examples_load(name: str) -> None:
    config = TrainConfig.load(EXAMPLES / name)
    assert config.data.train == EXAMPLES / "train.jsonl"
    assert config.batch_tokens % config.context == 0
