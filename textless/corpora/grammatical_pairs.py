"""Sentences that are right, and the same sentences made wrong at one place: what sBLIMP-like scores compare.

Both members have the same number of words. Inside a type the right and the wrong form change places from one pair to
the next (singular and plural, *herself* and *himself*, base and participle), so that the frequency of a form does not
tell which member is right.
"""

import random
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from textless.corpora.grammar import MODALS, Grammar
from textless.corpora.lexicon import Lexicon, Noun, Zipf

# Verbs that cannot do without an object, and verbs that cannot take one.
NEEDS_OBJECT = frozenset(
    (
        "find",
        "take",
        "buy",
        "hold",
        "bring",
        "carry",
        "lose",
        "love",
        "need",
        "catch",
        "fix",
        "build",
        "avoid",
        "borrow",
        "chase",
        "destroy",
        "discover",
        "examine",
        "fetch",
        "greet",
        "inspect",
        "mention",
        "protect",
        "recognize",
        "remove",
        "repair",
        "replace",
        "rescue",
        "wrap",
    )
)
NO_OBJECT = frozenset(
    (
        "sleep",
        "laugh",
        "fall",
        "arrive",
        "listen",
        "come",
        "go",
        "snore",
        "disappear",
        "cough",
        "faint",
        "giggle",
        "kneel",
        "limp",
        "nod",
        "shiver",
        "sneeze",
        "stumble",
        "tremble",
        "vanish",
        "yawn",
    )
)
Draft = tuple[str, list[str], list[str]]  # subtype, right, wrong


@dataclass(frozen=True)
class GrammaticalPair:
    """`good` is a sentence of the grammar, `bad` is not; both in lower case without punctuation."""

    type: str
    subtype: str
    good: str
    bad: str


def grammatical_pairs(
    lexicon: Lexicon, rng: random.Random, n: int, avoid: Collection[str] = ()
) -> list[GrammaticalPair]:
    """`n` different pairs, the types in turn, neither member of which is to be avoided."""
    makers: tuple[tuple[str, Callable[[Grammar, int], Draft]], ...] = (
        ("subject_verb_agreement", _subject_verb),
        ("determiner_noun_agreement", _determiner_noun),
        ("reflexive_agreement", _reflexive),
        ("word_order", _word_order),
        ("subcategorization", _subcategorization),
        ("verb_form", _verb_form),
    )
    grammar = Grammar(lexicon, rng)
    seen = set(avoid)
    pairs: list[GrammaticalPair] = []
    while len(pairs) < n:
        name, make = makers[len(pairs) % len(makers)]
        subtype, good, bad = make(grammar, len(pairs) // len(makers))
        pair = GrammaticalPair(name, subtype, " ".join(good), " ".join(bad))
        if pair.good != pair.bad and not seen & {pair.good, pair.bad}:
            seen |= {pair.good, pair.bad}
            pairs.append(pair)
    return pairs


def sentences_of(pairs: list[GrammaticalPair]) -> Iterator[str]:
    """Every sentence, as the grammar would write it: what training text must not contain."""
    for pair in pairs:
        for mark in ".?":
            yield pair.good + mark
            yield pair.bad + mark


def _simple(grammar: Grammar, noun: Noun, *, plural: bool, described: float = 0.3) -> list[str]:
    return grammar.determined(noun, plural=plural, determiner="the", described=described).words


def _subject_verb(grammar: Grammar, turn: int) -> Draft:
    plural = turn % 2 == 0
    noun = grammar.actor()
    while noun.singular == noun.plural:  # "the sheep run" and "the sheep runs" are both right
        noun = grammar.actor()
    subject = _simple(grammar, noun, plural=plural)
    match turn // 2 % 3:
        case 0:
            verb = grammar.lexicon.transitive.draw(grammar.rng)
            rest = _simple(grammar, grammar.lexicon.thing.draw(grammar.rng), plural=grammar.chance(0.5))
            return (
                "adjacent",
                [*subject, verb.present(plural=plural), *rest],
                [*subject, verb.present(plural=not plural), *rest],
            )
        case 1:  # the nearest noun disagrees
            nearest = _simple(grammar, grammar.lexicon.place.draw(grammar.rng), plural=not plural, described=0)
            subject = [*subject, grammar.lexicon.preposition.draw(grammar.rng), *nearest]
            verb = grammar.lexicon.intransitive.draw(grammar.rng)
            rest = [grammar.lexicon.manner.draw(grammar.rng)]
            return (
                "across_phrase",
                [*subject, verb.present(plural=plural), *rest],
                [*subject, verb.present(plural=not plural), *rest],
            )
        case _:
            forms = ("is", "are") if grammar.chance(0.5) else ("was", "were")
            rest = [grammar.lexicon.adjective.draw(grammar.rng)]
            return "be", [*subject, forms[plural], *rest], [*subject, forms[not plural], *rest]


def _determiner_noun(grammar: Grammar, turn: int) -> Draft:
    plural = turn % 2 == 0
    determiner = grammar.rng.choice(
        ("these", "those", "many", "several") if plural else ("this", "that", "every", "one")
    )
    adjective = turn // 2 % 2 == 1
    start = [
        *_simple(grammar, grammar.actor(), plural=grammar.chance(0.5)),
        grammar.lexicon.transitive.draw(grammar.rng).past,
    ]
    things = Zipf([noun for noun in grammar.lexicon.thing.items if noun.singular != noun.plural])
    noun = things.draw(grammar.rng)
    phrase = grammar.determined(noun, plural=plural, determiner=determiner, described=float(adjective)).words
    end = grammar.location()
    good = [*start, *phrase, *end]
    bad = [*start, *phrase[:-1], noun.form(plural=not plural), *end]
    return "across_adjective" if adjective else "adjacent", good, bad


def _reflexive(grammar: Grammar, turn: int) -> Draft:
    people = Zipf([noun for noun in grammar.lexicon.human.items if noun.gender is not None])
    noun = people.draw(grammar.rng)
    while (noun.gender == "f") != (turn % 2 == 0):
        noun = people.draw(grammar.rng)
    own, other = ("herself", "himself") if noun.gender == "f" else ("himself", "herself")
    plural = turn // 4 % 2 == 1
    if turn // 2 % 2 == 0:
        subtype, plural, right, wrong = "gender", False, own, other
    else:
        subtype, right, wrong = ("number", "themselves", own) if plural else ("number", own, "themselves")
    verb = grammar.lexicon.reflexive.draw(grammar.rng).past
    start = [*_simple(grammar, noun, plural=plural), verb]
    end = grammar.location() if grammar.chance(0.5) else [grammar.lexicon.manner.draw(grammar.rng)]
    return subtype, [*start, right, *end], [*start, wrong, *end]


def _word_order(grammar: Grammar, turn: int) -> Draft:
    subject = _simple(grammar, grammar.actor(), plural=grammar.chance(0.5), described=0)
    verb = grammar.lexicon.transitive.draw(grammar.rng)
    target = _simple(grammar, grammar.lexicon.thing.draw(grammar.rng), plural=grammar.chance(0.5), described=0)
    match turn % 3:
        case 0:
            end = grammar.location()
            return (
                "noun_before_determiner",
                [*subject, verb.past, *target, *end],
                [*subject, verb.past, *reversed(target), *end],
            )
        case 1:
            modal = grammar.rng.choice(MODALS)
            return "verb_before_modal", [*subject, modal, verb.base, *target], [*subject, verb.base, modal, *target]
        case _:
            preposition, *place = grammar.location()
            return (
                "preposition_inside_phrase",
                [*subject, verb.past, *target, preposition, *place],
                [*subject, verb.past, *target, place[0], preposition, *place[1:]],
            )


def _subcategorization(grammar: Grammar, turn: int) -> Draft:
    lexicon, rng = grammar.lexicon, grammar.rng
    verbs = random.Random(f"subcategorization {turn // 2}")  # both subtypes in turn with the same two verbs
    transitive = Zipf([verb for verb in lexicon.transitive.items if verb.base in NEEDS_OBJECT]).draw(verbs).past
    intransitive = Zipf([verb for verb in lexicon.intransitive.items if verb.base in NO_OBJECT]).draw(verbs).past
    subject = _simple(grammar, grammar.actor(), plural=grammar.chance(0.5))
    if turn % 2 == 0:
        rest = _simple(grammar, lexicon.thing.draw(rng), plural=grammar.chance(0.5)) + grammar.moment()
        return "object_of_intransitive", [*subject, transitive, *rest], [*subject, intransitive, *rest]
    rest = [lexicon.manner.draw(rng), *grammar.moment()]
    return "missing_object", [*subject, intransitive, *rest], [*subject, transitive, *rest]


def _verb_form(grammar: Grammar, turn: int) -> Draft:
    verbs = Zipf([verb for verb in grammar.lexicon.transitive.items if verb.base != verb.participle])
    verb = verbs.draw(grammar.rng)
    plural = grammar.chance(0.5)
    subject = _simple(grammar, grammar.actor(), plural=plural)
    rest = _simple(grammar, grammar.lexicon.thing.draw(grammar.rng), plural=grammar.chance(0.5))
    if turn % 2 == 0:
        modal = grammar.rng.choice(MODALS)
        return "after_modal", [*subject, modal, verb.base, *rest], [*subject, modal, verb.participle, *rest]
    have = "have" if plural else "has"
    return "after_have", [*subject, have, verb.participle, *rest], [*subject, have, verb.base, *rest]
