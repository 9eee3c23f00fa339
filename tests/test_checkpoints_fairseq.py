"""Encoders in files of fairseq, Spirit-LM and WavLM's own: weights, settings and features."""

import argparse
import sys
import types
from functools import partial

import pytest
import torch
import torchaudio
from foreign_encoders import FAMILIES, assert_same_features, fairseq_checkpoint, make, save, torchaudio_layers
from torchaudio.models.wav2vec2.utils import import_fairseq

from textless.encoders.checkpoints import load_foreign
from textless.encoders.checkpoints_fairseq import read_convolutions
from textless.errors import UserError


def assert_same_weights(first, second):
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)
    loose = {"waveform_epsilon": 0, "normalise_waveform": False}
    assert first.config.model_copy(update=loose) == second.config.model_copy(update=loose)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "distilhubert"])
def test_fairseq_files_hold_the_same_encoders(tmp_path, family):
    model = make(family)
    reference = load_foreign(save(model, tmp_path / "reference")).encoder
    state, settings = fairseq_checkpoint(family, model)
    heads = {"final_proj.weight": torch.zeros(2, 2), "label_embs_concat": torch.zeros(2), "_ema": {"a": torch.zeros(1)}}
    content = {"args": None, "cfg": {"model": settings, "task": {"normalize": True}}, "model": state | heads}
    torch.save(content, tmp_path / "model.pt")
    foreign = load_foreign(tmp_path / "model.pt")
    assert_same_weights(foreign.encoder, reference)
    assert set(foreign.ignored) == heads.keys() | ({"mask_emb"} & state.keys())
    assert foreign.source == f"fairseq: {family}"
    assert foreign.encoder.config.normalise_waveform
    assert foreign.encoder.config.waveform_epsilon == 1e-5


def test_settings_come_as_namespaces_omegaconf_groups_or_flat_and_may_lie_within_others(tmp_path, monkeypatch):
    model = make("hubert-base")
    reference = load_foreign(save(model, tmp_path / "reference")).encoder
    state, settings = fairseq_checkpoint("hubert-base", model)
    fakes = {}
    packages = ("omegaconf", "omegaconf.dictconfig", "omegaconf.nodes", "fairseq", "fairseq.data")
    for module, name in zip(packages, ("", "DictConfig", "AnyNode", "", "Dictionary"), strict=True):
        fakes[name] = type(name, (), {"__module__": module})
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: fakes[name]}))

    def node(value):
        made = fakes["DictConfig" if isinstance(value, dict) else "AnyNode"]()
        if isinstance(value, dict):
            made._content = {key: node(item) for key, item in value.items()}
        else:
            made._val = value
        return made

    task = {"normalize": False}
    both = {"model": settings, "task": task}
    tuned = {f"w2v_encoder.w2v_model.{key}": tensor for key, tensor in state.items()}
    tuned["w2v_encoder.proj.weight"] = torch.zeros(1)
    files = {
        "namespace": {"args": argparse.Namespace(**settings, **task), "cfg": {"model": {}}, "model": state},
        "omegaconf": {"cfg": node(both), "model": state, "task_state": {"dictionaries": [fakes["Dictionary"]()]}},
        "spirit-lm": {"model_cfg": settings, "task_cfg": task, "model_weight": state, "dictionaries_symbols": []},
        "flat": {"cfg": settings | task, "model": state},
        "tuned": {"cfg": {"model": {"_name": "ctc", "w2v_args": both}, "task": task}, "model": tuned},
        "tuned long ago": {"args": argparse.Namespace(w2v_args=argparse.Namespace(**settings)), "model": tuned},
        "half": {"cfg": both, "model": {key: tensor.half() for key, tensor in state.items()}},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=name != "tuned long ago")
    for module in packages:
        monkeypatch.delitem(sys.modules, module)
    for name in files:
        foreign = load_foreign(tmp_path / name)
        if name == "half":
            assert foreign.encoder.projection.weight.dtype == torch.float32
        else:
            assert foreign.encoder.sha256() == reference.sha256(), name
        assert ("w2v_encoder.proj.weight" in foreign.ignored) == name.startswith("tuned")


def test_fairseq_features_are_those_of_torchaudios_own_conversion(tmp_path):
    model = make("xls-r")
    state, settings = fairseq_checkpoint("xls-r", model)
    torch.save({"args": argparse.Namespace(**settings, normalize=True), "model": state}, tmp_path / "model.pt")
    converted = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tensor
        for key, tensor in import_fairseq._convert_state_dict(state).items()
    }
    names = {
        "extractor_conv_layer_config": list(
            zip(model.config.conv_dim, model.config.conv_kernel, model.config.conv_stride, strict=True)
        ),
        "extractor_mode": "layer_norm",
        "extractor_conv_bias": True,
        "encoder_embed_dim": 48,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": 4,
        "encoder_ff_interm_features": 96,
        "encoder_layer_norm_first": True,
        "aux_num_out": None,
    }
    drops = ("projection_dropout", "attention_dropout", "ff_interm_dropout", "dropout", "layer_drop")
    peer = torchaudio.models.wav2vec2_model(**names, **{f"encoder_{name}": 0.0 for name in drops}).eval()
    peer.load_state_dict(converted)
    peer.requires_grad_(False)
    waveforms = [torch.randn(n) * 0.1 + 0.02 for n in (4001, 400)]
    assert_same_features(tmp_path / "model.pt", waveforms, partial(torchaudio_layers, peer, large=True), 3)


def test_convolutions_are_read_from_an_expression_that_is_not_run(tmp_path):
    expression = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    assert read_convolutions(expression, "x") == [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    assert read_convolutions([[8, 10, 5], [8, 3, 2]], "x") == [(8, 10, 5), (8, 3, 2)]
    touched = tmp_path / "touched"
    for text in (
        f"__import__('os').system('touch {touched}')",
        f"[open({str(touched)!r}, 'w')]",
        "[(1, 2, 3)] * 10 ** 9",
        "[(1, 2, 3)] * 64 * 64",
        "[(1, 2)]",
        "[]",
        "(1, 2",
        "3",
        None,
    ):
        with pytest.raises(UserError, match="conv_feature_layers"):
            read_convolutions(text, "x")
    assert not touched.exists()
