"""Ready configurations of unsupervised recognition: they are read, and the commands in their headers exist."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from textless.corpora.cli import app as corpus_app
from unsup_asr.cli import app as asr_app
from unsup_asr.gan.config import GanConfig, GeneratorConfig, LossConfig
from unsup_asr.train_config import BootstrapConfig, load_train_config

FOLDER = Path(__file__).parent.parent / "examples" / "configs"
READY = sorted(path for path in FOLDER.glob("asr-*.toml") if not path.name.startswith("asr-student"))
APPS = {"asr": asr_app, "corpus": corpus_app}


def commands_of(header: str) -> list[list[str]]:
    """The `textless ...` lines of a comment, continued lines joined, as words."""
    lines = [line.removeprefix("#").strip() for line in header.splitlines() if line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in joined.splitlines() if line.startswith("textless ")]


def subcommand(words: list[str]) -> tuple[Any, list[str]]:
    """`textless asr train A B` → the command, and its own arguments."""
    group: Any = typer.main.get_command(APPS[words[1]])
    return group.commands[words[2]], words[3:]


@pytest.mark.parametrize("path", READY, ids=lambda path: path.stem)
def test_a_ready_configuration_is_read_and_its_commands_exist(path: Path) -> None:
    load_train_config(path, [])
    commands = commands_of(path.read_text(encoding="utf-8"))
    assert commands
    for words in commands:
        command, arguments = subcommand(words)
        command.make_context(words[2], arguments)  # parses: unknown options and missing arguments raise


def test_published_settings_are_those_of_the_papers() -> None:
    first = load_train_config(FOLDER / "asr-librispeech-960.toml", [])
    second = load_train_config(FOLDER / "asr-librispeech-960-2.toml", [])
    assert isinstance(first, GanConfig)
    assert isinstance(second, GanConfig)
    assert first == GanConfig(data=first.data)
    assert (second.generator, second.loss) == (GeneratorConfig.second(), LossConfig.second())
    assert (second.generator_optimizer.lr, second.discriminator_optimizer.lr) == (5e-5, 3e-4)
    other_encoder = load_train_config(FOLDER / "asr-mls-2.toml", [])
    assert isinstance(other_encoder, GanConfig)
    assert other_encoder.generator.batch_norm == 35.0
    assert isinstance(load_train_config(FOLDER / "asr-timit-matched-matching.toml", []), BootstrapConfig)
