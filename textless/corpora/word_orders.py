"""Sentences of any language and the same words in an order that its text never has: sBLIMP-like pairs without grammar.

Three ways to spoil the order: two neighbours change places, a word moves further away, or three words turn around. Both
members have the same words, so that no frequency of words tells them apart; and where words meet that did not before,
they meet nowhere in the text. That makes an order unlikely, not certainly wrong: a linguist's pairs are better.
"""

import itertools
import random
from collections.abc import Callable, Collection, Sequence

from textless.corpora.grammatical_pairs import GrammaticalPair

SHORTEST = 4  # words
TRIES = 20  # for each sentence


def word_order_pairs(
    sentences: Sequence[str], rng: random.Random, n: int, avoid: Collection[str] = ()
) -> list[GrammaticalPair]:
    """Up to `n` pairs, the ways to spoil a sentence in turn; fewer if the sentences do not give as many.

    Args:
        sentences: words separated by spaces, in lower case and without punctuation.
        rng: chooses sentences and changes.
        n: number of pairs wanted.
        avoid: sentences that are to be in no pair.
    """
    met = {pair for sentence in sentences for pair in itertools.pairwise(sentence.split())}
    every = set(sentences) | set(avoid)
    usable = [s for s in dict.fromkeys(sentences) if len(s.split()) >= SHORTEST and s not in avoid]
    rng.shuffle(usable)
    ways: tuple[tuple[str, Callable[[list[str], random.Random], list[str]]], ...] = (
        ("neighbours_exchanged", _exchange),
        ("word_moved", _move),
        ("three_turned_around", _turn_around),
    )
    pairs: list[GrammaticalPair] = []
    for sentence in usable:
        if len(pairs) == n:
            break
        name, spoil = ways[len(pairs) % len(ways)]
        words = sentence.split()
        for _ in range(TRIES):
            spoilt = spoil(words, rng)
            new = set(itertools.pairwise(spoilt)) - set(itertools.pairwise(words))
            if new and not new & met and " ".join(spoilt) not in every:
                pairs.append(GrammaticalPair("word_order", name, sentence, " ".join(spoilt)))
                break
    return pairs


def _exchange(words: list[str], rng: random.Random) -> list[str]:
    i = rng.randrange(len(words) - 1)
    return [*words[:i], words[i + 1], words[i], *words[i + 2 :]]


def _move(words: list[str], rng: random.Random) -> list[str]:
    i, j = rng.sample(range(len(words)), 2)
    rest = [*words[:i], *words[i + 1 :]]
    return [*rest[:j], words[i], *rest[j:]]


def _turn_around(words: list[str], rng: random.Random) -> list[str]:
    i = rng.randrange(len(words) - 2)
    return [*words[:i], *words[i : i + 3][::-1], *words[i + 3 :]]
