"""Training a unit LM from a unit or text model."""

from pathlib import Path

import pytest
import small_ulm_runs
import torch
from small_ulm_runs import SMALL, assert_equal, config
from test_ulm_source import IDENTITY, write

from textless.errors import UserError
from textless.training.run import read_metrics
from ulm.config import ModelConfig
from ulm.language_model import NgramLanguageModel, TransformerLanguageModel, load_language_model
from ulm.model import UnitTransformer
from ulm.train import train
from units.kneser_ney import NgramModel

source = small_ulm_runs.source
data = small_ulm_runs.data


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
