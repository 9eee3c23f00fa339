"""Words → phones: by espeak-ng, from a lexicon, or letter by letter for languages that write what they say.

Text may also be phones already, with white space between; then a word is its phones, joined by `JOINT`.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from textless.errors import UserError
from textless.files import require

SOURCES = "espeak:LANGUAGE, lexicon:FILE, letters or phones"
GIVEN = "phones"  # the source of text that is phones already
WORD_BOUNDARY = "|"  # in such text, where silences may be put
JOINT = "_"


class Pronouncer(Protocol):
    """Says how words sound."""

    def pronounce(self, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Phones of every word; those it does not know are left out."""
        ...


class Espeak:
    """The phones of espeak-ng (extra `synth`), without stress; the same inventory as the embedded corpus has."""

    def __init__(self, language: str) -> None:
        from textless.corpora.synthesizer import require_language

        require_language(language)
        self.language = language

    def pronounce(self, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """See `Pronouncer`."""
        from textless.corpora.synthesizer import phones_of_words

        return phones_of_words(words, self.language)


class Lexicon:
    """A file of one word a line, followed by its phones, with white space between; the first of several counts."""

    def __init__(self, path: Path) -> None:
        self.entries: dict[str, tuple[str, ...]] = {}
        with require(path, "lexicon").open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                fields = line.split()
                if len(fields) == 1:
                    raise UserError(f"{path}:{number} should be a word and its phones, found {line.strip()!r}")
                if fields:
                    self.entries.setdefault(fields[0].lower(), tuple(fields[1:]))
        if not self.entries:
            raise UserError(f"{path} is an empty lexicon")

    def pronounce(self, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """See `Pronouncer`."""
        return {word: self.entries[word] for word in words if word in self.entries}


class Letters:
    """Every letter is a phone; marks stay with their letter, apostrophes and hyphens are silent."""

    def pronounce(self, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """See `Pronouncer`."""
        return {word: _letters(word) for word in words}


class Given:
    """Words that are phones already, as `words_of_phones` makes them."""

    def pronounce(self, words: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """See `Pronouncer`."""
        return {word: tuple(word.split(JOINT)) for word in words}


def words_of_phones(sentence: str) -> list[str]:
    """A line of phones → its words, each spelled by its phones; a line without word boundaries is one word.

    Raises:
        UserError: a phone has `JOINT` in its name.
    """
    if JOINT in sentence:
        raise UserError(f"phones cannot have {JOINT!r} in their names: {sentence.strip()[:60]!r}")
    return [JOINT.join(word.split()) for word in sentence.split(WORD_BOUNDARY) if word.strip()]


def _letters(word: str) -> tuple[str, ...]:
    letters: list[str] = []
    for character in word:
        if letters and unicodedata.category(character)[0] == "M":
            letters[-1] += character
        elif character.isalnum():
            letters.append(character)
    return tuple(letters)


def load_pronouncer(source: str) -> Pronouncer:
    """`espeak:en-us`, `lexicon:FILE`, `letters` or `phones`.

    Raises:
        UserError: it is none of these, espeak-ng lacks the language, or the file is no lexicon.
    """
    kind, _, argument = source.partition(":")
    match kind, bool(argument):
        case "espeak", True:
            return Espeak(argument)
        case "lexicon", True:
            return Lexicon(Path(argument))
        case "letters", False:
            return Letters()
        case "phones", False:
            return Given()
        case _:
            raise UserError(f"--phones takes {SOURCES}, not {source!r}")
