"""The configurations given as examples are ones."""

from pathlib import Path

import pytest

from ulm.config import load_config

EXAMPLES = Path(__file__).parents[1] / "examples/configs"


@pytest.mark.parametrize("name", ["ulm-small.toml", "ulm-gslm.toml"])
def test_examples_load(name: str) -> None:
    config = load_config(EXAMPLES / name)
    assert config.data.train == EXAMPLES / "train.jsonl"
    assert config.batch_tokens % config.context == 0
