"""Sentences as they are written → words in lower case, without punctuation.

Kept are letters, marks, digits, and apostrophes and hyphens inside of words (as wav2vec-U prepares its text, Baevski et
al. 2021, appendix A). A number of five digits or more is not a word.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable

LONGEST_NUMBER = 4  # digits
APOSTROPHES = "'’ʼ`´"
HYPHENS = "-‐‑"


def words_of(sentence: str) -> list[str]:
    """Words of a sentence, in Unicode's composed form."""
    spaced = "".join(_kept(character) for character in unicodedata.normalize("NFC", sentence.lower()))
    words = (word.strip("'-") for word in spaced.split())
    return [word for word in words if any(c.isalnum() for c in word) and not _long_number(word)]


def _kept(character: str) -> str:
    if character in APOSTROPHES:
        return "'"
    if character in HYPHENS:
        return "-"
    return character if unicodedata.category(character)[0] in "LM" or character.isdecimal() else " "


def _long_number(word: str) -> bool:
    return word.isdecimal() and len(word) > LONGEST_NUMBER


def script_of(word: str) -> str:
    """The script of a word's first letter, by its Unicode name: "LATIN", "CYRILLIC", "CJK"; "" without a letter."""
    for character in word:
        if character.isalpha():
            return unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    return ""


def main_script(words: Iterable[tuple[str, int]]) -> str:
    """The script of most running words, given `(word, count)`; "" if no word has a letter."""
    counts: Counter[str] = Counter()
    for word, count in words:
        counts[script_of(word)] += count
    del counts[""]
    return counts.most_common(1)[0][0] if counts else ""
