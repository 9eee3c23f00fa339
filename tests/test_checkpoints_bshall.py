"""bshall's HuBERT gives its features here."""

import torch
import torch.nn.functional as F
from foreign_encoders import assert_same_features, randomised
from torch import nn

from textless.encoders.checkpoints import load_foreign
from textless.encoders.encoder import load_encoder


class BshallHubert(nn.Module):
    """The facts of github.com/bshall/hubert, in torch's own modules."""

    def __init__(self):
        super().__init__()
        kernels = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
        convs = {f"conv{i}": nn.Conv1d(16 if i else 1, 16, k, s, bias=False) for i, (k, s) in enumerate(kernels)}
        self.feature_extractor = nn.ModuleDict(convs | {"norm0": nn.GroupNorm(16, 16)})
        self.feature_projection = nn.ModuleDict({"norm": nn.LayerNorm(16), "projection": nn.Linear(16, 768)})
        conv = nn.Conv1d(768, 768, 128, padding=64, groups=16)
        self.positional_embedding = nn.ModuleDict({"conv": nn.utils.parametrizations.weight_norm(conv, dim=2)})
        self.norm = nn.LayerNorm(768)
        layer = nn.TransformerEncoderLayer(768, 12, 64, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.proj = nn.Linear(768, 256)
        self.masked_spec_embed = nn.Parameter(torch.rand(768))
        self.label_embedding = nn.Embedding(100, 256)

    def layers(self, waveform):
        x = F.pad(waveform[None, None], (40, 40))
        for i in range(7):
            x = self.feature_extractor[f"conv{i}"](x)
            x = F.gelu(self.feature_extractor["norm0"](x) if i == 0 else x)
        x = self.feature_projection["projection"](self.feature_projection["norm"](x.mT))
        x = self.norm(x + F.gelu(self.positional_embedding["conv"](x.mT)[..., :-1]).mT)
        result = [x[0]]
        for layer in self.encoder.layers:
            x = layer(x)
            result.append(x[0])
        return result


def test_bshalls_hubert_gives_its_features_at_every_layer(tmp_path):
    model = randomised(BshallHubert())
    path = tmp_path / "hubert-discrete.pt"
    torch.save({"hubert": {f"module.{key}": tensor for key, tensor in model.state_dict().items()}, "step": 3}, path)
    foreign = load_foreign(path)
    assert {key.removeprefix("module.") for key in foreign.ignored} == {
        "proj.weight",
        "proj.bias",
        "masked_spec_embed",
        "label_embedding.weight",
    }
    waveforms = [torch.randn(n) * 0.1 for n in (320, 16_000, 5001)]
    assert_same_features(path, waveforms, model.layers, 2)
    assert len(load_encoder(f"{path}:2").encode(waveforms)[1]) == 50, "samples / 320"
