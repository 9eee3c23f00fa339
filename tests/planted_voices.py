"""Voices that differ by their vocal tracts, a small configuration to train on them, and the verbs."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.speakers.cli import app

RATE = 16_000
VOWELS = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (490, 1350, 1690))  # Hz
TINY = "{width = 32, dilations = [1, 2], pooled = 48, attention = 16, dim = 24}"


def speak(tract: float, pitch: float, rng: np.random.Generator, seconds: float = 1.2) -> np.ndarray:
    """Random vowels: a train of pulses through three resonances, whose frequencies a short tract raises."""
    pieces = []
    while sum(map(len, pieces)) < seconds * RATE:
        n = int(rng.uniform(0.1, 0.25) * RATE)
        phase = np.cumsum(pitch * (1 + 0.1 * rng.standard_normal()) / RATE * np.ones(n))
        source = np.diff(np.floor(phase), prepend=0.0) + 0.02 * rng.standard_normal(n)
        spectrum = np.fft.rfft(source)
        f = np.fft.rfftfreq(n, 1 / RATE)
        for formant in VOWELS[rng.integers(len(VOWELS))]:
            spectrum *= 1 / (1 + ((f - formant * tract) / 120) ** 2) ** 0.5 + 0.02
        piece = np.fft.irfft(spectrum, n)
        pieces.append(0.3 * piece / np.abs(piece).max())
    return np.concatenate(pieces)[: round(seconds * RATE)].astype(np.float32)


def voices(folder: Path, tracts: list[float], per_speaker: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    utterances = []
    for number, tract in enumerate(tracts):
        for take in range(per_speaker):
            name = f"s{seed}_{number}/{take}"
            waveform = speak(tract, 120 / tract**-1.5, rng)
            io.save(folder / f"{name}.wav", waveform)
            utterances.append(Utterance(name, f"{name}.wav", len(waveform), f"s{seed}_{number}"))
    write_manifest(folder / f"{seed}.tsv", Manifest(folder, tuple(utterances)))
    return folder / f"{seed}.tsv"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Manifests of voices to train on, and of others between them."""
    folder = tmp_path_factory.mktemp("voices")
    return voices(folder, [0.8, 0.87, 0.94, 1.0, 1.07, 1.14, 1.21, 1.28], 5, 1), voices(
        folder, [0.83, 0.97, 1.1, 1.25], 6, 2
    )


def write_toml(path: Path, manifest: Path, valid: Path | None = None, **changes: object) -> Path:
    settings = {"steps": 70, "batch_size": 16, "precision": '"fp32"', "log_every": 10, "save_every": 0} | changes
    lines = [f"{name} = {value}" for name, value in settings.items()]
    data = [f'manifest = "{manifest}"', "seconds = [0.5, 1.0]", "speeds = [1.0]"]
    data += [f'valid_manifest = "{valid}"'] if valid else []
    path.write_text("\n".join([*lines, f"model = {TINY}", "optimizer = {lr = 5e-3}", "[data]", *data]) + "\n")
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
