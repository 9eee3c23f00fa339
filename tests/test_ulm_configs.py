"""The configurations given as examples are ones, of the sizes they say."""

from pathlib import Path

import pytest
import torch

from textless.files import read_json, write_json
from ulm.config import ModelConfig, TrainConfig
from ulm.language_model import TransformerLanguageModel, load_language_model
from ulm.model import UnitTransformer
from units.identity import stated_identity

EXAMPLES = Path(__file__).parents[1] / "examples/configs"
K = 500
MILLIONS = {"small": 11.6, "gslm": 151.7, "modern-5m": 4.85, "modern-150m": 151.5, "modern-1b": 993}


@pytest.mark.parametrize("name", MILLIONS)
def test_examples_load_and_have_their_size(name: str) -> None:
    config = TrainConfig.load(EXAMPLES / f"ulm-{name}.toml")
    assert config.data.train == EXAMPLES / "train.jsonl"
    assert config.batch_tokens % config.context == 0
    with torch.device("meta"):
        network = UnitTransformer(config.model, K + 1)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(MILLIONS[name], rel=0.01)


def test_models_saved_before_there_were_shapes_load(tmp_path: Path) -> None:
    network = UnitTransformer(ModelConfig(dim=16, heads=2, layers=1), 11).eval()
    TransformerLanguageModel(network, stated_identity("mfcc@50", 10, 50.0), context=32).save(tmp_path)
    header = read_json(tmp_path / "config.json")
    first = ("dim", "layers", "heads", "ffn", "lookback", "ngram_rows", "noise", "dropout", "tied")
    header["model"] = {name: header["model"][name] for name in first}
    for later in ("inert", "tokens"):
        del header[later]
    write_json(tmp_path / "config.json", header)
    tokens = torch.randint(0, 11, (2, 9))
    assert torch.equal(load_language_model(tmp_path).network(tokens), network(tokens))
