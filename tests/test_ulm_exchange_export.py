"""Our unit LMs give their logits in transformers, or what it cannot hold is named."""

from pathlib import Path

import pytest
import torch
from foreign_unit_lms import QUANTIZER, TOLERANCE, K, tokens, transformers

from textless.errors import UserError
from textless.training.checkpoint import save_model
from ulm.config import ModelConfig, TrainConfig
from ulm.export import export_model
from ulm.language_model import TransformerLanguageModel
from ulm.model import UnitTransformer


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("scale", [False, True])
def test_our_own_models_with_added_positions_load_in_transformers(positions, activation, scale, tmp_path):
    config = ModelConfig(
        dim=32,
        layers=2,
        heads=4,
        ffn=48,
        lookback=0,
        bias="all",
        activation=activation,
        positions=positions,
        max_positions=40,
        embedding_scale=scale,
    )
    torch.manual_seed(0)
    network = UnitTransformer(config, K + 1).eval()
    TransformerLanguageModel(network, QUANTIZER, context=40).save(tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    with torch.no_grad():
        assert (theirs(tokens()).logits - network(tokens())).abs().max() < TOLERANCE


def test_the_modern_example_loads_in_transformers(tmp_path):
    config = TrainConfig.load(Path(__file__).parents[1] / "examples/configs/ulm-modern-5m.toml")
    torch.manual_seed(0)
    network = UnitTransformer(config.model, K + 1).eval()
    TransformerLanguageModel(network, QUANTIZER, config.context).save(tmp_path / "ours")
    assert export_model(tmp_path / "ours", tmp_path / "theirs") == "LlamaForCausalLM"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    with torch.no_grad():
        assert (theirs(tokens(300)).logits - network(tokens(300))).abs().max() < TOLERANCE


def test_what_hugging_face_cannot_hold_is_named(tmp_path):
    TransformerLanguageModel(UnitTransformer(ModelConfig(dim=24), K + 1), QUANTIZER, 64).save(tmp_path / "ours")
    with pytest.raises(UserError, match=r"lookback = 3.*norm = 'layer'.*activation = 'gelu'"):
        export_model(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_an_ngram_model_has_no_folder(tmp_path):
    save_model(tmp_path / "m", "textless-unit-lm", 1, {}, kind="ngram", quantizer=QUANTIZER.model_dump(), order=0)
    with pytest.raises(UserError, match="is an n-gram model"):
        export_model(tmp_path / "m", tmp_path / "theirs")
