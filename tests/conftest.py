"""Sounds and corpora small enough to make anew in every test."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

# Helpers that assert show the values that differ, as tests do.
pytest.register_assert_rewrite("foreign_encoders", "foreign_unit_lms", "small_submissions", "small_ulm_runs")

SAMPLE_RATE = 16_000


@pytest.fixture(scope="session")
def speech_root() -> Path:
    """Real human recordings, where the environment names them."""
    root = os.environ.get("TEXTLESS_SPEECH")
    if not root or not Path(root).is_dir():
        pytest.skip("TEXTLESS_SPEECH does not name a folder of human recordings")
    return Path(root)


@pytest.fixture
def tone() -> Callable[..., np.ndarray]:
    """A sine of so many hertz and seconds, at half scale."""

    def make(frequency: float, seconds: float = 1.0, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
        time = np.arange(round(seconds * sample_rate)) / sample_rate
        return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)

    return make


@pytest.fixture
def noise_corpus(tmp_path: Path) -> Path:
    """Six recordings of coloured noise, 0.3 to 1.4 s, two speakers, in folders with unicode and spaces."""
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "corpus" / ("sprecher eins" if number % 2 else "γλώσσα")
        folder.mkdir(parents=True, exist_ok=True)
        length = 4800 + 3517 * number
        samples = np.cumsum(rng.standard_normal(length)) * 0.01 + 0.1 * rng.standard_normal(length)
        soundfile.write(folder / f"take {number}.wav", np.clip(samples, -1, 1), SAMPLE_RATE, subtype="PCM_16")
    return tmp_path / "corpus"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
