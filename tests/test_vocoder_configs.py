"""The configurations given as examples are ones, of the sizes they say; the published recipe is the published one."""

from pathlib import Path

import pytest
import torch

from units.identity import QuantizerIdentity
from vocoder.config import VocoderConfig
from vocoder.critics import Critic
from vocoder.model import VocoderModel

EXAMPLES = Path(__file__).parents[1] / "examples/configs"
QUANTIZER = QuantizerIdentity(encoder="hubert-base:6", k=100, frame_rate=50.0, sha256="0" * 64)
# Millions of parameters of generator and predictors, for 100 units and one speaker.
MILLIONS = {"vocoder": 2.1, "vocoder-f0": 2.8, "vocoder-gpu": 35.5, "hifigan": 13.8, "hifigan-cpu": 0.82}


@pytest.mark.parametrize("name", MILLIONS)
def test_examples_load_and_have_their_size(name: str) -> None:
    config = VocoderConfig.load(EXAMPLES / f"{name}.toml")
    assert config.data.units == EXAMPLES / "units.jsonl"
    with torch.device("meta"):
        model = VocoderModel(config.model, QUANTIZER, ["a"])
        Critic(config.adversarial, len(config.loss.fft_sizes))
    # Weight norm's magnitudes are no parameters of the network that it makes.
    sizes = [p.numel() for name, p in model.named_parameters() if not name.endswith("original0")]
    assert sum(sizes) / 1e6 == pytest.approx(MILLIONS[name], rel=0.01)


def test_the_published_recipe() -> None:
    config = VocoderConfig.load(EXAMPLES / "hifigan.toml")
    assert config.segment_seconds * 16_000 == 8960
    assert (config.batch_size, config.steps) == (16, 400_000)
    assert (config.optimizer.lr, config.adversarial.lr, config.optimizer.betas) == (2e-4, 2e-4, (0.8, 0.99))
    assert config.optimizer.epoch_decay == 0.999
    weights = (config.loss.mel, config.loss.stft, config.adversarial.weight, config.adversarial.feature_matching)
    assert weights == (45.0, 0.0, 1.0, 2.0)
    assert config.adversarial.start_step == 0
