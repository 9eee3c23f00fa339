r"""Transcripts by utterance. This module owns `phones.tsv`, which passes between the verbs of `textless asr`.

    id<TAB>phones            or `words`, or `text` as `textless eval` writes them
    anna-1<TAB>h ə l oʊ      tokens with single spaces between; there may be none

What a recogniser wrote, what a student learns from and what is scored have this form.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from textless.errors import UserError
from textless.files import atomic_write, require

Column = Literal["phones", "words"]
COLUMNS = ("phones", "words", "text")


def read_transcripts(path: Path) -> dict[str, list[str]]:
    """Tokens of every utterance, in the order of the file.

    Raises:
        UserError: there is no such file, its first line is no header, or a line is malformed or repeats an id.
    """
    try:
        lines = require(path, "transcripts").read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: {error}") from error
    if not lines or lines[0].split("\t") not in [["id", column] for column in COLUMNS]:
        found = repr(lines[0][:80]) if lines else "nothing"
        raise UserError(f"{path}:1 should be id<TAB>phones or id<TAB>words, found {found}")
    transcripts: dict[str, list[str]] = {}
    for number, line in enumerate(lines[1:], 2):
        if not line:
            continue
        name, tab, tokens = line.partition("\t")
        if not tab or "\t" in tokens or name in transcripts:
            raise UserError(f"{path}:{number} should be an id, a tab and tokens, each id once, found {line[:80]!r}")
        transcripts[name] = tokens.split()
    return transcripts


def write_transcripts(path: Path, transcripts: Mapping[str, Sequence[str]], column: Column = "phones") -> None:
    """Write the tokens of every utterance.

    Raises:
        UserError: an id has a tab or a line break, or a token has white space.
    """
    with atomic_write(path) as file:
        file.write(f"id\t{column}\n")
        for name, tokens in transcripts.items():
            line = f"{name}\t{' '.join(tokens)}"
            if len(line.splitlines()) != 1 or line.count("\t") != 1 or len(line.split("\t")[1].split()) != len(tokens):
                raise UserError(f"{name!r} or its transcript has white space where {path.name} cannot hold it")
            file.write(line + "\n")
