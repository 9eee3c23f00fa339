"""Texts that repeat themselves the more the lower their temperature, a language model of them, the verbs."""

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textless.errors import UserError
from zerospeech_eval.cli import app
from zerospeech_eval.text_lm import NgramTextLM

WORDS = ["the", "cat", "dog", "sees", "a", "big", "small", "house", "runs", "to", "from", "with", "and", "then", "red"]


def write(temperature: float, seed: int, n: int = 12) -> str:
    """A text in which two words alternate, other pairs taking their turn, the more often the higher the temperature."""
    rng = random.Random(seed)
    words = [rng.choice(WORDS)]
    while len(words) < n:
        if rng.random() < temperature:
            words.append(rng.choice(WORDS))
        else:
            words.append(words[-2] if len(words) > 1 else WORDS[(WORDS.index(words[0]) + 1) % len(WORDS)])
    return " ".join(words)


def transcripts(path: Path, temperature: float, seed: int, prompts: int = 100, samples: int = 3) -> Path:
    lines = [
        f"p{p}__{s}\t{write(temperature, 1_000_000 * seed + 100 * p + s)}\n"
        for p in range(prompts)
        for s in range(samples)
    ]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm") / "lm"
    NgramTextLM.fit([write(0.3, -1 - seed) for seed in range(1500)], 3).save(folder)
    return folder


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result
