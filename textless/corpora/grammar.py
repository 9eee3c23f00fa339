"""A probabilistic grammar of simple English: sentences of 3 to 12 words over the embedded lexicon.

Sentences are lower case and end in a full stop or a question mark. They have subjects and objects with determiners,
adjectives, prepositional phrases, relative clauses and coordination; past, present, perfect and modal verbs; complement
clauses; and questions.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from textless.corpora.lexicon import Lexicon, Noun, Verb, Zipf

SHORTEST, LONGEST = 3, 12
SINGULAR = (
    "the",
    "the",
    "the",
    "a",
    "a",
    "a",
    "this",
    "that",
    "every",
    "my",
    "his",
    "her",
    "our",
    "their",
    "one",
    "another",
)
PLURAL = (
    "the",
    "the",
    "the",
    "these",
    "those",
    "some",
    "many",
    "two",
    "three",
    "four",
    "five",
    "several",
    "my",
    "his",
    "her",
    "our",
    "their",
)
MODALS = ("will", "can", "must", "should", "may", "could", "would")
SUBJECTS = (("he", False), ("she", False), ("they", True), ("we", True), ("it", False), ("you", True), ("i", True))
OBJECTS = ("him", "her", "them", "us", "it", "me", "you")


@dataclass(frozen=True)
class Phrase:
    """Words of a noun phrase, and what a verb or a reflexive must agree with."""

    words: list[str]
    plural: bool
    reflexive: str | None = None


class Grammar:
    """Draws sentences; the same generator state gives the same sentences."""

    def __init__(self, lexicon: Lexicon, rng: random.Random) -> None:
        self.lexicon = lexicon
        self.rng = rng

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.rng.random() < probability

    def sentences(self, seen: set[str]) -> Iterator[str]:
        """Endless sentences that are not in `seen`, which grows by what is drawn."""
        while True:
            sentence = self.sentence()
            if sentence not in seen:
                seen.add(sentence)
                yield sentence

    def sentence(self) -> str:
        """One sentence."""
        kinds: tuple[Callable[[], list[str]], ...] = (
            *(self.statement,) * 5,
            self.copular,
            self.auxiliary,
            self.complement,
            self.coordinated,
            self.fronted,
        )
        while True:
            if self.chance(0.12):
                words, mark = self.question(), "?"
            else:
                words, mark = self.rng.choice(kinds)(), "."
            if SHORTEST <= len(words) <= LONGEST:
                return " ".join(words) + mark

    # Sentences

    def statement(self) -> list[str]:
        """The old teacher saw three children in the garden."""
        subject = self.subject()
        return subject.words + self.predicate(self.finite(plural=subject.plural), subject.reflexive)

    def copular(self) -> list[str]:
        """Those apples are red."""
        noun, adjectives = self.noun_and_adjectives()
        subject = self.determined(noun, plural=self.chance(0.4))
        be = self.rng.choice(("are", "were") if subject.plural else ("is", "was"))
        degree = [self.rng.choice(("very", "so", "too", "not"))] if self.chance(0.25) else []
        end = self.location() if self.chance(0.15) else [*degree, adjectives.draw(self.rng)]
        return [*subject.words, be, *end]

    def auxiliary(self) -> list[str]:
        """My sister will buy the boat; the dogs have slept."""
        subject = self.subject()
        if self.chance(0.4):
            have = "had" if self.chance(0.3) else "have" if subject.plural else "has"
            return [*subject.words, have, *self.predicate(lambda verb: verb.participle, subject.reflexive)]
        negation = ["not"] if self.chance(0.2) else []
        modal = self.rng.choice(MODALS)
        return [*subject.words, modal, *negation, *self.predicate(lambda verb: verb.base, subject.reflexive)]

    def complement(self) -> list[str]:
        """He thinks that the farmer laughed."""
        subject = self.subject()
        verb = self.finite(plural=subject.plural)(self.lexicon.clausal.draw(self.rng))
        return [*subject.words, verb, *(["that"] if self.chance(0.6) else []), *self.statement()]

    def coordinated(self) -> list[str]:
        """The cat ran and the dog slept; the cat ran and slept."""
        conjunction = self.rng.choice(("and", "and", "but", "because", "when"))
        if self.chance(0.5):
            return [*self.statement(), conjunction, *self.statement()]
        subject = self.subject()
        finite = self.finite(plural=subject.plural)
        return [*subject.words, *self.predicate(finite, None), "and", *self.predicate(finite, None)]

    def fronted(self) -> list[str]:
        """In the morning she walks."""
        return [*(self.location() if self.chance(0.4) else self.moment()), *self.statement()]

    def question(self) -> list[str]:
        """Did the king see the river; where does he live; are the boys hungry."""
        subject = self.subject()
        if self.chance(0.25):
            be = self.rng.choice(("are", "were") if subject.plural else ("is", "was"))
            if subject.words != ["i"]:
                return [be, *subject.words, self.lexicon.adjective.draw(self.rng)]
        do = self.rng.choice(("did", "do" if subject.plural else "does"))
        if self.chance(0.35):
            where = self.rng.choice(("where", "why", "when", "how"))
            return [where, do, *subject.words, self.lexicon.intransitive.draw(self.rng).base]
        return [do, *subject.words, *self.predicate(lambda verb: verb.base, subject.reflexive)]

    # Phrases

    def subject(self) -> Phrase:
        """Any noun phrase that acts."""
        draw = self.rng.random()
        if draw < 0.14:
            word, plural = self.rng.choice(SUBJECTS)
            return Phrase([word], plural)
        if draw < 0.24:
            female = self.chance(0.5)
            name = (self.lexicon.female if female else self.lexicon.male).draw(self.rng)
            return Phrase([name.lower()], plural=False, reflexive="herself" if female else "himself")
        if draw < 0.29:
            both = self.determined(self.actor(), plural=False), self.determined(self.actor(), plural=False)
            return Phrase([*both[0].words, "and", *both[1].words], plural=True, reflexive="themselves")
        return self.described(self.actor(), plural=self.chance(0.4))

    def object(self) -> list[str]:
        """Any noun phrase that is acted upon."""
        if self.chance(0.1):
            return [self.rng.choice(OBJECTS)]
        noun, _ = self.noun_and_adjectives()
        return self.described(noun, plural=self.chance(0.35)).words

    def described(self, noun: Noun, *, plural: bool) -> Phrase:
        """A determined noun, perhaps with a prepositional phrase or a relative clause after it."""
        phrase = self.determined(noun, plural=plural)
        draw = self.rng.random()
        if draw < 0.06:
            return Phrase([*phrase.words, *self.location()], plural, phrase.reflexive)
        if draw < 0.12:
            relative = "who" if noun in self.lexicon.human.items else "that"
            clause = [relative, *self.predicate(self.finite(plural=plural), None)]
            return Phrase([*phrase.words, *clause], plural, phrase.reflexive)
        return phrase

    def determined(self, noun: Noun, *, plural: bool, determiner: str | None = None, described: float = 0.3) -> Phrase:
        """Determiner, perhaps an adjective, noun."""
        determiner = determiner or self.rng.choice(PLURAL if plural else SINGULAR)
        thing = noun in self.lexicon.thing.items or noun in self.lexicon.place.items
        adjectives = self.lexicon.thing_adjective if thing else self.lexicon.adjective
        words = [*([adjectives.draw(self.rng)] if self.chance(described) else []), noun.form(plural=plural)]
        if determiner == "a" and (words[0][0] in "aeiou" or words[0] == "honest"):
            determiner = "an"
        gendered = {"f": "herself", "m": "himself", None: None}[noun.gender]
        return Phrase([determiner, *words], plural, "themselves" if plural else gendered)

    def actor(self) -> Noun:
        """A person or an animal."""
        return (self.lexicon.human if self.chance(0.7) else self.lexicon.animal).draw(self.rng)

    def noun_and_adjectives(self) -> tuple[Noun, Zipf[str]]:
        """A person, an animal or a thing, and what can be said of it."""
        if self.chance(0.5):
            return self.actor(), self.lexicon.adjective
        return self.lexicon.thing.draw(self.rng), self.lexicon.thing_adjective

    def location(self) -> list[str]:
        """In the old garden."""
        place = self.determined(self.lexicon.place.draw(self.rng), plural=self.chance(0.1), described=0.15)
        return [self.lexicon.preposition.draw(self.rng), *place.words]

    def moment(self) -> list[str]:
        """In the morning."""
        return [self.rng.choice(("in", "during")), "the", self.lexicon.time.draw(self.rng).singular]

    def finite(self, *, plural: bool) -> Callable[[Verb], str]:
        """One tense for all verbs of a clause: past, or the present that agrees."""
        past = self.chance(0.55)
        return lambda verb: verb.past if past else verb.present(plural=plural)

    def predicate(self, form: Callable[[Verb], str], reflexive: str | None) -> list[str]:
        """A verb in that form with what it needs, and perhaps where, when or how."""
        if reflexive is not None and self.chance(0.12):
            words = [form(self.lexicon.reflexive.draw(self.rng)), reflexive]
        elif self.chance(0.58):
            words = [form(self.lexicon.transitive.draw(self.rng)), *self.object()]
        else:
            words = [form(self.lexicon.intransitive.draw(self.rng))]
        draw = self.rng.random()
        if draw < 0.25:
            return words + self.location()
        if draw < 0.32:
            return words + self.moment()
        return [*words, self.lexicon.adverb.draw(self.rng)] if draw < 0.5 else words
