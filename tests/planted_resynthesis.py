"""Buzzes of two speakers and their resyntheses, a speaker encoder and a recogniser of random weights, the verb."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.speakers.config import SpeakerEncoderConfig
from textless.speakers.model import SpeakerEncoder
from zerospeech_eval.cli import app
from zerospeech_eval.recognizer import Recognizer, RecognizerConfig, save

RATE = 16_000


def buzz(pitch: float, seconds: float = 0.6, seed: int = 0) -> np.ndarray:
    """Harmonics that fall with the frequency, a little noise, and silence at either end."""
    t = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch * k * t + k) / k for k in range(1, 20))
    tone *= np.minimum(1, np.minimum(t, t[::-1]) / 0.05)
    return (0.1 * tone + 0.001 * np.random.default_rng(seed).standard_normal(len(t))).astype(np.float32)


class Folders:
    """Originals of two speakers, and resyntheses with their manifests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.originals, self.copies = root / "original", root / "copy"
        rows: dict[str, list[Utterance]] = {"original": [], "copy": []}
        for number in range(6):
            name, speaker = f"{'ab'[number % 2]}/{number}", "ab"[number % 2]
            waveform = buzz(110 + 25 * number, 0.5 + 0.05 * number, seed=number)
            for folder, pitch in (("original", 0.0), ("copy", 3.0)):
                sound = waveform if not pitch else buzz(113 + 25 * number, 0.5 + 0.05 * number, seed=99)
                io.save(root / folder / f"{name}.wav", sound)
                other = speaker if folder == "original" else "ba"[number % 2]
                rows[folder].append(Utterance(name, f"{name}.wav", len(sound), other, f"say {number}"))
        for folder, utterances in rows.items():
            write_manifest(root / f"{folder}.tsv", Manifest(root / folder, tuple(utterances)))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = SpeakerEncoderConfig(width=8, dilations=(1,), pooled=8, attention=4, dim=6)
    folder = tmp_path_factory.mktemp("speaker") / "encoder"
    SpeakerEncoder(config).save(folder, step=0)
    return folder


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("recognizer") / "r"
    save(Recognizer(RecognizerConfig(phones=("p", "q", "r"), dim=16, blocks=1)), folder, {})
    return folder


def run(*arguments: object) -> Result:
    command = ["resynthesis", *(str(argument) for argument in arguments), "--device", "cpu"]
    return CliRunner().invoke(app, command, catch_exceptions=False)
