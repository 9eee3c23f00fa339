"""Unpaired text as phones. This module owns the folder of prepared text.

    text.json      header: how it was made, the phones, counts
    phones.txt     a sentence a line, phones with spaces between, silence among them
    words.txt      the same sentences as words
    lexicon.txt    every word that occurs in them and its phones

Of two kinds of data, this is the one that knows nothing of any recording: training and selection read it as they
please.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.errors import UserError
from textless.files import read_json, require
from textless.progress import say
from textless.provenance import check_header

FORMAT, VERSION = "textless-phone-text", 1
HEADER, PHONES, WORDS, LEXICON = "text.json", "phones.txt", "words.txt", "lexicon.txt"
SILENCE = "<SIL>"


@dataclass(frozen=True)
class PhoneText:
    """Sentences of phones.

    Attributes:
        phones: names; silence, if there is any, is the last.
        sentences: `(N,)` numbers of the phones of every sentence.
    """

    phones: tuple[str, ...]
    sentences: list[np.ndarray]

    @property
    def silence(self) -> int | None:
        """Number of the silence; None if the text has none."""
        return len(self.phones) - 1 if self.phones[-1] == SILENCE else None

    @classmethod
    def load(cls, directory: Path) -> "PhoneText":
        """Read a prepared folder.

        Raises:
            UserError: it is none, or its sentences have phones that its header does not name.
        """
        phones = tuple(read_header(directory)["phones"])
        numbers = {phone: number for number, phone in enumerate(phones)}
        sentences = []
        for number, line in enumerate(_lines(directory / PHONES), 1):
            try:
                sentences.append(np.array([numbers[phone] for phone in line.split()], dtype=np.int64))
            except KeyError as error:
                raise UserError(f"{directory / PHONES}:{number} has {error}, which {HEADER} does not name") from error
        used = np.unique(np.concatenate(sentences)) if sentences else np.empty(0, dtype=np.int64)
        unused = np.setdiff1d(np.arange(len(phones)), used)
        if len(unused):
            names = ", ".join(phones[number] for number in unused)
            say(f"{len(unused)} phones of {directory} never occur in its sentences: {names}; they cannot be learnt")
        return cls(phones, sentences)


def read_header(directory: Path) -> dict[str, Any]:
    """The header of a prepared folder."""
    path = directory / HEADER
    if not path.is_file():
        raise UserError(
            f"{directory} is not prepared text ({HEADER} is missing); make it with `textless asr prepare-text`"
        )
    return check_header(read_json(path), FORMAT, VERSION, path)


def read_words(directory: Path) -> list[list[str]]:
    """The sentences of a prepared folder as words."""
    return [line.split() for line in _lines(directory / WORDS)]


def read_lexicon(directory: Path) -> dict[str, tuple[str, ...]]:
    """The pronunciations that the sentences of a prepared folder were made with."""
    entries = (line.split() for line in _lines(directory / LEXICON))
    return {word: tuple(phones) for word, *phones in entries}


def _lines(path: Path) -> Iterator[str]:
    with require(path, "prepared text").open(encoding="utf-8") as file:
        yield from file
