"""The configurations given as examples are ones, and of the published methods they say."""

from pathlib import Path

import pytest

from unsup_asr.cycle.config import CycleConfig
from unsup_asr.tts.config import TtsConfig

EXAMPLES = Path(__file__).parents[1] / "examples/configs"


@pytest.mark.parametrize("name", ["semi-supervised", "zero-label", "speech-chain", "hori", "baskar"])
def test_examples_load(name: str) -> None:
    config = CycleConfig.load(EXAMPLES / f"cycle-{name}.toml")
    assert config.asr == EXAMPLES / "asr"
    assert config.control
    assert (config.data.labels == "pseudo") == (name == "zero-label")


def test_the_synthesizer_of_the_examples_is_small() -> None:
    assert TtsConfig.load(EXAMPLES / "cycle-tts.toml").network.width == 128


def test_published_settings() -> None:
    hori = CycleConfig.load(EXAMPLES / "cycle-hori.toml")
    assert (hori.speech.samples, hori.speech.baseline, hori.reverse.kind) == (5, "samples", "frozen")
    baskar = CycleConfig.load(EXAMPLES / "cycle-baskar.toml")
    assert (baskar.terms.reinforce, baskar.terms.spoken, baskar.optimizer.tts_factor) == (0.5, 0.5, 0.0)
    chain = CycleConfig.load(EXAMPLES / "cycle-speech-chain.toml")
    assert (chain.terms.paired, chain.terms.transcribed, chain.terms.spoken) == (0.5, 1.0, 1.0)
