"""The English words of the embedded grammar with their inflections. This module reads `lexicon_en.tsv`.

Within a class, words are sampled with Zipf-like weights: the r-th has weight 1 / (r + 3).
"""

import functools
import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Generic, Literal, TypeVar

W = TypeVar("W")
Gender = Literal["f", "m"]


@dataclass(frozen=True)
class Noun:
    """A noun; `gender` only where the word itself tells."""

    singular: str
    plural: str
    gender: Gender | None = None

    def form(self, *, plural: bool) -> str:
        """The form of that number."""
        return self.plural if plural else self.singular


@dataclass(frozen=True)
class Verb:
    """A verb's four forms: they *carry*, she *carries*, she *carried*, she has *carried*."""

    base: str
    third: str
    past: str
    participle: str

    def present(self, *, plural: bool) -> str:
        """The form that agrees with a third person of that number."""
        return self.base if plural else self.third


class Zipf(Generic[W]):
    """Items, most frequent first."""

    def __init__(self, items: Sequence[W]) -> None:
        self.items = tuple(items)
        self._cumulative = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self.items))))

    def draw(self, rng: random.Random) -> W:
        """One item."""
        return rng.choices(self.items, cum_weights=self._cumulative)[0]


@dataclass(frozen=True)
class Lexicon:
    """Words by what the grammar does with them."""

    human: Zipf[Noun]
    animal: Zipf[Noun]
    thing: Zipf[Noun]
    place: Zipf[Noun]
    time: Zipf[Noun]
    transitive: Zipf[Verb]
    intransitive: Zipf[Verb]
    reflexive: Zipf[Verb]
    clausal: Zipf[Verb]
    adjective: Zipf[str]
    thing_adjective: Zipf[str]
    adverb: Zipf[str]
    manner: Zipf[str]
    preposition: Zipf[str]
    female: Zipf[str]
    male: Zipf[str]

    def words(self) -> list[str]:
        """Every content word in every form, in lower case, sorted."""
        found: set[str] = set()
        for nouns in (self.human, self.animal, self.thing, self.place, self.time):
            found |= {form for noun in nouns.items for form in (noun.singular, noun.plural)}
        for verbs in (self.transitive, self.intransitive, self.reflexive, self.clausal):
            found |= {form for verb in verbs.items for form in (verb.base, verb.third, verb.past, verb.participle)}
        for others in (self.adjective, self.thing_adjective, self.adverb, self.manner, self.preposition):
            found |= set(others.items)
        return sorted(found | {name.lower() for name in self.female.items + self.male.items})


@functools.cache
def english() -> Lexicon:
    """The lexicon shipped with the package."""
    text = resources.files("textless.corpora").joinpath("lexicon_en.tsv").read_text(encoding="utf-8")
    rows = dict(line.split("\t") for line in text.splitlines() if not line.startswith("#"))
    nouns = {"human", "animal", "thing", "place", "time"}
    verbs = {"transitive", "intransitive", "reflexive", "clausal"}
    classes: dict[str, Zipf] = {}
    for name, entries in rows.items():
        parse = _noun if name in nouns else _verb if name in verbs else str
        classes[name] = Zipf([parse(entry) for entry in entries.split()])
    return Lexicon(**classes)


def _noun(entry: str) -> Noun:
    head, _, plural = entry.partition(":")
    singular, _, mark = head.partition("@")
    gender: Gender | None = "f" if mark == "f" else "m" if mark == "m" else None
    return Noun(singular, plural or _with_s(singular), gender)


def _verb(entry: str) -> Verb:
    base, _, irregular = entry.partition(":")
    past, _, participle = irregular.partition("/")
    past = past or _with_ed(base)
    return Verb(base, _with_s(base), past, participle or past)


def _with_s(word: str) -> str:
    """Plural of a noun, third person of a verb."""
    if re.search(r"(s|x|z|ch|sh|go)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search(r"[^aeiou]y$", word) else word + "s"


def _with_ed(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ied"
    return verb + (verb[-1] if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb) else "") + "ed"
