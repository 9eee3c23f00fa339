"""Checkpoints of encoders that cannot be used: dangerous, damaged, unknown or of other sizes."""

import json

import pytest
import safetensors.torch
import torch
from foreign_encoders import fairseq_checkpoint, make, save, torchaudio_model
from torch import nn

from textless.encoders.checkpoints import load_foreign
from textless.encoders.encoder import load_encoder
from textless.errors import UserError


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def test_files_that_would_run_something_are_refused(tmp_path):
    touched, path = tmp_path / "touched", tmp_path / "evil.pt"
    for is_zip in (True, False):
        torch.save({"args": Evil(f"touch {touched}"), "model": {}}, path, _use_new_zipfile_serialization=is_zip)
        with pytest.raises(UserError, match=r"asks to import (posix|os)\.system"):
            load_foreign(path)
        assert not touched.exists()
    torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(UserError, match="TorchScript"):
        load_foreign(path)


def test_damaged_and_unknown_files(tmp_path):
    folder = save(make("hubert-base"), tmp_path / "hubert")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    torch.save(state, tmp_path / "whole.pt")
    for name, whole in (("model.safetensors", folder / "model.safetensors"), ("part.pt", tmp_path / "whole.pt")):
        (tmp_path / name).write_bytes(whole.read_bytes()[:-9000])
        with pytest.raises(UserError, match="damaged"):
            load_foreign(tmp_path / name)
    contents = {
        "holds a list": [1, 2],
        "holds a dict": {1: torch.zeros(1)},
        r"unexpected: a\.weight, b\.bias; missing: one of": {"a.weight": torch.zeros(1), "b.bias": torch.zeros(1)},
        "no args or cfg": {"model": fairseq_checkpoint("hubert-base", make("hubert-base"))[0]},
        r"has no config\.json": state,
    }
    for message, content in contents.items():
        torch.save(content, tmp_path / "file.pt")
        with pytest.raises(UserError, match=message):
            load_foreign(tmp_path / "file.pt")
    with pytest.raises(UserError, match="checkpoint not found"):
        load_foreign(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no weights"):
        load_foreign(tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 96}, r"of another shape: .*\(48,\) instead of \(96,\)"),
        ({"num_hidden_layers": 2}, r"unexpected: transformer\.blocks\.2\."),
        ({"num_hidden_layers": 4}, r"missing: transformer\.blocks\.3\."),
        ({"conv_bias": True}, r"missing: front_end\.convs\.0\.bias"),
        ({"conv_kernel": (10, 3)}, "differ in length"),
        ({"conv_kernel": 3}, "are no lists"),
        ({"model_type": "whisper"}, "'whisper' cannot be read, only hubert"),
        ({"hidden_act": "swish"}, "hidden_act|activation"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim 16 is not supported"),
        ({"layer_norm_eps": 1e-3}, "layer_norm_eps"),
    ],
)
def test_a_configuration_that_the_weights_do_not_fit(tmp_path, change, message):
    folder = save(make("hubert-base"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        load_foreign(folder)


def test_layers_parts_and_rates_that_are_not_there(tmp_path):
    folder = save(make("hubert-base"), tmp_path / "a", normalises=False, max_shard_size="60KB")
    with pytest.raises(UserError, match="asks for layer 4: .* has layers 0 to 3"):
        load_encoder(f"{folder}:4")
    with pytest.raises(UserError, match="names no layer"):
        load_encoder(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 24_000}))
    with pytest.raises(UserError, match="sampling_rate 24000"):
        load_foreign(folder)
    next(iter(folder.glob("model-00002*"))).unlink()
    with pytest.raises(UserError, match="file not found: .*model-00002"):
        load_foreign(folder)


def test_bare_weights_of_sizes_that_they_do_not_tell(tmp_path):
    state = torchaudio_model(large=False).state_dict()
    other = {key: tensor[..., :512] if key.endswith("projection.bias") else tensor for key, tensor in state.items()}
    other["encoder.feature_projection.projection.weight"] = torch.zeros(512, 16)
    kernels = state | {"feature_extractor.conv_layers.6.conv.weight": torch.zeros(16, 16, 4)}
    missing = {key: tensor for key, tensor in state.items() if "feature_projection.projection.weight" not in key}
    for content, message in (
        (other, "number of heads"),
        (kernels, "strides of convolutions"),
        (missing, r"missing: projection\.weight"),
    ):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(UserError, match=message):
            load_foreign(tmp_path / "x.pt")
