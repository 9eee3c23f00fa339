"""CPC against a literal re-implementation of Libri-Light's network."""

import pytest
import torch
import torch.nn.functional as F

from textless.audio.batches import pad
from textless.encoders import cpc
from textless.encoders.checkpoints import load_foreign
from textless.encoders.cpc import Cpc, CpcConfig
from textless.encoders.directory import load_encoder_directory, save_encoder
from textless.encoders.encoder import load_encoder
from textless.errors import AudioError, UserError

LENGTHS = (159, 16_000, 7777, 1001)


def librilight_weights(conv_dim=24, dim=16, levels=3):
    weights = {}
    for i, kernel in enumerate((10, 8, 4, 4, 4)):
        weights[f"gEncoder.conv{i}.weight"] = torch.randn(conv_dim, conv_dim if i else 1, kernel) * 0.2
        weights[f"gEncoder.conv{i}.bias"] = torch.randn(conv_dim) * 0.1
        weights[f"gEncoder.batchNorm{i}.weight"] = 1 + torch.randn(1, conv_dim, 1) * 0.3
        weights[f"gEncoder.batchNorm{i}.bias"] = torch.randn(1, conv_dim, 1) * 0.3
    lstm = torch.nn.LSTM(conv_dim, dim, num_layers=levels, batch_first=True)
    return weights | {f"gAR.baseNet.{name}": tensor.detach() for name, tensor in lstm.state_dict().items()}


def librilight_layer(weights, waveform, layer):
    """The network of the facts: convolutions, norms over channels with torch's unbiased variance, a stacked LSTM."""
    x = waveform[None, None]
    for i, (stride, padding) in enumerate(((5, 3), (4, 2), (2, 1), (2, 1), (2, 1))):
        x = F.conv1d(x, weights[f"gEncoder.conv{i}.weight"], weights[f"gEncoder.conv{i}.bias"], stride, padding)
        x = (x - x.mean(dim=1, keepdim=True)) / torch.sqrt(x.var(dim=1, keepdim=True) + 1e-5)
        x = F.relu(x * weights[f"gEncoder.batchNorm{i}.weight"] + weights[f"gEncoder.batchNorm{i}.bias"])
    z = x[0].T
    if layer == 0:
        return z
    dim = weights["gAR.baseNet.weight_hh_l0"].shape[1]
    lstm = torch.nn.LSTM(z.shape[1], dim, num_layers=layer)
    lstm.load_state_dict({name: weights[f"gAR.baseNet.{name}"] for name in lstm.state_dict()})
    return lstm(z)[0]


@pytest.fixture
def checkpoint(tmp_path):
    weights = librilight_weights()
    path = tmp_path / "cpc.pt"
    config = {"hiddenEncoder": 24, "hiddenGar": 16, "nLevelsGRU": 3}
    torch.save({"weights": weights | {"cpcCriterion.w": torch.zeros(1)}, "config": config}, path)
    return path, weights


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_features_are_librilights_for_every_length_in_one_batch(checkpoint, layer):
    path, weights = checkpoint
    waveforms = [torch.randn(n) * 0.1 for n in LENGTHS]
    with torch.no_grad():
        expected = [librilight_layer(weights, waveform, layer) for waveform in waveforms]
    for found, wanted in zip(load_encoder(f"{path}:{layer}").encode(waveforms), expected, strict=True):
        assert found.shape[1] == load_foreign(path).encoder.layer_dim(layer)
        assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()  # float32 rounding through eight layers


def test_blocks_of_any_size_give_the_same_and_so_does_training(monkeypatch):
    model = Cpc(CpcConfig(conv_dim=12, dim=8, levels=2))
    waveforms, lengths = pad([torch.randn(n) for n in LENGTHS])
    whole, frames = model(waveforms, lengths, 2)  # with gradients: in one block
    monkeypatch.setattr(cpc, "BLOCK_FRAMES", 7)
    with torch.inference_mode():
        blocks, _ = model(waveforms, lengths, 2)
    torch.testing.assert_close(blocks, whole, rtol=1e-5, atol=1e-6)  # sums are blocked differently
    assert frames.tolist() == [1, 100, 48, 6]
    assert not whole[0, 1:].any(), "what lies beyond an utterance is zero"
    whole.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_a_checkpoint_holds(checkpoint, tmp_path):
    path, weights = checkpoint
    foreign = load_foreign(path)
    assert foreign.ignored == ("cpcCriterion.w",)
    assert foreign.encoder.config == CpcConfig(conv_dim=24, dim=16, levels=3)
    assert (foreign.encoder.frame_rate, foreign.encoder.min_samples, foreign.encoder.num_layers) == (100.0, 159, 3)
    save_encoder(tmp_path / "ours", foreign.encoder)
    assert load_encoder_directory(tmp_path / "ours").sha256() == foreign.encoder.sha256()
    torch.save({"gEncoder": weights, "optimizer": {}}, tmp_path / "trained.pt")  # as Libri-Light's training writes it
    assert load_foreign(tmp_path / "trained.pt").encoder.sha256() == foreign.encoder.sha256()


def test_what_cannot_be_used_is_said(checkpoint, tmp_path):
    path, weights = checkpoint
    with pytest.raises(AudioError, match="158 samples are less than one frame"):
        load_encoder(f"{path}:1").encode([torch.zeros(158)])
    gru = torch.nn.GRU(24, 16).state_dict()
    for name, message, context in (("gru", "no LSTM", gru), ("none", "no recurrent context", {})):
        others = {key: tensor for key, tensor in weights.items() if not key.startswith("gAR")}
        torch.save(others | {f"gAR.baseNet.{key}": tensor for key, tensor in context.items()}, tmp_path / name)
        with pytest.raises(UserError, match=message):
            load_foreign(tmp_path / name)
    del weights["gEncoder.conv3.bias"]
    torch.save(weights, tmp_path / "part")
    with pytest.raises(UserError, match=r"missing: convs\.3\.bias"):
        load_foreign(tmp_path / "part")
