"""The words that a search may write, as a tree of their phones.

Without a lexicon the words are the phones themselves, so that one search serves both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np

from textless.errors import UserError
from textless.files import require
from unsup_asr.phone_text import LEXICON

Pronunciations = Mapping[str, Sequence[tuple[str, ...]]]  # by word, one or several


class Tree(NamedTuple):
    """Nodes of the tree; 0 is the root, where words begin.

    Shape:
        first_child: `(nodes + 1,)` the children of node n are first_child[n]..first_child[n + 1] of
        phones: `(edges,)` the phone that leads there, ascending, and
        children: `(edges,)` the node.
        first_word: `(nodes + 1,)` the words that end in node n are first_word[n]..first_word[n + 1] of
        words: `(pronunciations,)`.
        outlook: `(nodes,)` the best log-probability, without a history, of a word below or at a node; 0 at the root.
    """

    first_child: np.ndarray
    phones: np.ndarray
    children: np.ndarray
    first_word: np.ndarray
    words: np.ndarray
    outlook: np.ndarray


@dataclass(frozen=True)
class Lexicon:
    """W words and how they sound: `pronunciations` are pairs of a word and its phones, as numbers."""

    words: tuple[str, ...]
    pronunciations: tuple[tuple[int, tuple[int, ...]], ...]

    def among(self, known: Iterable[str]) -> tuple["Lexicon", list[str]]:
        """The lexicon of those of its words that are known, and the others."""
        allowed = set(known)
        kept = [number for number, word in enumerate(self.words) if word in allowed]
        numbers = {number: place for place, number in enumerate(kept)}
        pairs = tuple((numbers[word], phones) for word, phones in self.pronunciations if word in numbers)
        left = [word for word in self.words if word not in allowed]
        return Lexicon(tuple(self.words[number] for number in kept), pairs), left

    def tree(self, log_probs: np.ndarray, *, merge_equal: bool) -> Tree:
        """Build the tree.

        Args:
            log_probs: `(W,)` of the words without a history; they guide the search before a word has ended.
            merge_equal: equal neighbours inside of a word are one phone, as in a topology without a blank.
        """
        entries = {
            (tuple(phone for phone, _ in groupby(phones)) if merge_equal else phones, word)
            for word, phones in self.pronunciations
        }
        nodes: list[dict[int, int]] = [{}]
        words: list[list[int]] = [[]]
        outlook = [0.0]
        for phones, word in sorted(entries):
            node = 0
            for phone in phones:
                if phone not in nodes[node]:
                    nodes[node][phone] = len(nodes)
                    nodes.append({})
                    words.append([])
                    outlook.append(-np.inf)
                node = nodes[node][phone]
                outlook[node] = max(outlook[node], float(log_probs[word]))
            words[node].append(word)
        edges = [edge for children in nodes for edge in sorted(children.items())]
        return Tree(
            _edges(map(len, nodes)),
            np.array([phone for phone, _ in edges], dtype=np.int64),
            np.array([node for _, node in edges], dtype=np.int64),
            _edges(map(len, words)),
            np.array([word for ending in words for word in ending], dtype=np.int64),
            np.array(outlook),
        )


def phone_lexicon(phones: Sequence[str]) -> Lexicon:
    """Every phone is a word."""
    return Lexicon(tuple(phones), tuple((number, (number,)) for number in range(len(phones))))


def word_lexicon(pronunciations: Pronunciations, phones: Sequence[str], where: str) -> tuple[Lexicon, list[str]]:
    """Words that the phones of a recogniser can write, and those they cannot.

    Raises:
        UserError: there is no such word at all.
    """
    numbers = {phone: number for number, phone in enumerate(phones)}
    kept: dict[str, list[tuple[int, ...]]] = {}
    for word, spellings in pronunciations.items():
        possible = [said for said in spellings if said and all(phone in numbers for phone in said)]
        if possible:
            kept[word] = [tuple(numbers[phone] for phone in said) for said in possible]
    if not kept:
        strange = sorted({p for spellings in pronunciations.values() for said in spellings for p in said} - set(phones))
        raise UserError(
            f"no word of {where} can be written in the phones of the recogniser; it has {' '.join(strange[:8])}, the "
            f"recogniser {' '.join(phones[:8])}: use the lexicon of the text it was trained on"
        )
    pairs = tuple((index, said) for index, spellings in enumerate(kept.values()) for said in spellings)
    return Lexicon(tuple(kept), pairs), [word for word in pronunciations if word not in kept]


def read_pronunciations(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """Every line a word and its phones, with white space between; a word may have several lines. Or prepared text.

    Raises:
        UserError: there is no such file, it is empty, or a line has no phones.
    """
    file_path = path / LEXICON if path.is_dir() else path
    found: dict[str, list[tuple[str, ...]]] = {}
    with require(file_path, "lexicon").open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            word, *phones = line.split() or [""]
            if word and not phones:
                raise UserError(f"{file_path}:{number} should be a word and its phones, found {line.strip()!r}")
            if word:
                found.setdefault(word, []).append(tuple(phones))
    if not found:
        raise UserError(f"{file_path} is an empty lexicon")
    return found


def _edges(sizes: Iterable[int]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(list(sizes))]).astype(np.int64)
