"""Words of the corpus, each with a nonword that could be a word: what sWUGGY-like scores compare.

A nonword is a word with one or two phones replaced, vowel by vowel and consonant by consonant, such that every phone
bigram (and where possible every trigram) occurs in some word of the lexicon. Among those, the one is taken that keeps
phone-unigram and phone-bigram probability, as the corpus has them, balanced over all pairs: a model that only counts
phones, or pairs of phones, is right half of the time. Nonwords are no word of the *corpus*; some may be rare English.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

Phones = tuple[str, ...]  # espeak-ng's mnemonics, with the stress mark before the vowel's name

EDGE = "#"
SHORTEST, LONGEST = 4, 11  # phones
VOWEL_LETTERS = "aAeEiIoO0uUV3@"
SMOOTHING = 0.1


@dataclass(frozen=True)
class WordPair:
    """A word, how often the training text has it, its phones, and the nonword's phones, as many."""

    word: str
    frequency: int
    word_phones: Phones
    nonword_phones: Phones


class PhoneNgrams:
    """How often the phones and phone bigrams of a text occur, from its words and their pronunciations."""

    def __init__(self, frequencies: Mapping[str, int], pronunciations: Mapping[str, Phones]) -> None:
        self.unigrams: Counter[str] = Counter()
        self.bigrams: Counter[tuple[str, str]] = Counter()
        self.contexts: Counter[str] = Counter()
        for word, phones in pronunciations.items():
            n = frequencies.get(word, 0)
            for phone in phones:
                self.unigrams[phone] += n
            for bigram in _bigrams(phones):
                self.bigrams[bigram] += n
                self.contexts[bigram[0]] += n
        self.total = self.unigrams.total()
        self.types = len(self.unigrams) + 1

    def unigram_log_probability(self, phones: Phones) -> float:
        """Natural logarithm of the product of the phones' relative frequencies."""
        return sum(math.log((self.unigrams[p] + SMOOTHING) / (self.total + SMOOTHING * self.types)) for p in phones)

    def bigram_log_probability(self, phones: Phones) -> float:
        """Natural logarithm of the probability of the phones between word edges, one after the other."""
        return sum(
            math.log((self.bigrams[bigram] + SMOOTHING) / (self.contexts[bigram[0]] + SMOOTHING * self.types))
            for bigram in _bigrams(phones)
        )


def _bigrams(phones: Sequence[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise((EDGE, *phones, EDGE)))


def _trigrams(phones: Sequence[str]) -> list[tuple[str, str, str]]:
    edged = (EDGE, *phones, EDGE)
    return list(zip(edged, edged[1:], edged[2:], strict=False))


def word_pairs(
    frequencies: Mapping[str, int],
    pronunciations: Mapping[str, Phones],
    n: int,
    rng: random.Random,
    heard: Callable[[Phones], Phones],
    known: Collection[Phones],
) -> list[WordPair]:
    """Up to `n` pairs; fewer if the corpus has not enough words of four phones or more.

    Args:
        frequencies: of words in the training text.
        pronunciations: of every word of the lexicon.
        n: number of pairs wanted.
        rng: chooses words and the replacements to try.
        heard: what the synthesizer makes of mnemonics.
        known: words of the lexicon as they are heard; a nonword must sound like none of them.
    """
    counts = PhoneNgrams(frequencies, pronunciations)
    words = [w for w, phones in pronunciations.items() if frequencies.get(w, 0) and SHORTEST <= len(phones) <= LONGEST]
    # Frequent words first, by chance: a draw without replacement, weighted by frequency (Efraimidis & Spirakis, 2006).
    words.sort(key=lambda word: rng.random() ** (1 / frequencies[word]), reverse=True)
    neighbours = _Neighbours(pronunciations)
    taken = set(known)
    pairs: list[WordPair] = []
    balance = [0, 0]  # words likelier than their nonword minus the others, by unigrams and by bigrams
    for word in words:
        if len(pairs) == n:
            break
        phones = pronunciations[word]
        if heard(phones) not in known:  # spelled and from phones it should sound the same
            continue
        for candidate, gains in _by_cost(phones, neighbours.of(phones, rng), counts, balance):
            sound = heard(candidate)
            if len(sound) == len(phones) and sound not in taken:
                taken.add(sound)
                balance = [total + _sign(gain) for total, gain in zip(balance, gains, strict=True)]
                pairs.append(WordPair(word, frequencies[word], phones, candidate))
                break
    return pairs


def _by_cost(
    phones: Phones, candidates: list[Phones], counts: PhoneNgrams, balance: Sequence[int]
) -> list[tuple[Phones, tuple[float, float]]]:
    """Candidates with the word's advantage over them, best first: small, and against the present imbalance."""
    word = counts.unigram_log_probability(phones), counts.bigram_log_probability(phones)
    ranked = []
    for candidate in candidates:
        gains = (
            word[0] - counts.unigram_log_probability(candidate),
            word[1] - counts.bigram_log_probability(candidate),
        )
        wrong_side = sum(_sign(gain) * total > 0 for gain, total in zip(gains, balance, strict=True))
        ranked.append((sum(map(abs, gains)) + 4 * wrong_side, candidate, gains))
    return [(candidate, gains) for _, candidate, gains in sorted(ranked)]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


class _Neighbours:
    """Sound sequences one or two phones away from a word, built of what occurs in the lexicon."""

    def __init__(self, pronunciations: Mapping[str, Phones]) -> None:
        words = sorted(set(pronunciations.values()))
        self.words = set(words)
        self.bigrams = {bigram for phones in words for bigram in _bigrams(phones)}
        self.trigrams = {trigram for phones in words for trigram in _trigrams(phones)}
        phones = sorted({phone for word in words for phone in word})
        self.replacements = {phone: [p for p in phones if p != phone and _kind(p) == _kind(phone)] for phone in phones}

    def of(self, phones: Phones, rng: random.Random, enough: int = 8, tries: int = 1500) -> list[Phones]:
        """Those with attested trigrams; with attested bigrams only, where there are not enough."""
        near = [self._replace(phones, ((i, p),)) for i in range(len(phones)) for p in self.replacements[phones[i]]]
        for _ in range(tries):
            first, second = rng.sample(range(len(phones)), 2)
            choices = self.replacements[phones[first]], self.replacements[phones[second]]
            if all(choices):
                near.append(self._replace(phones, ((first, rng.choice(choices[0])), (second, rng.choice(choices[1])))))
        possible = [p for p in dict.fromkeys(near) if p not in self.words and self.bigrams.issuperset(_bigrams(p))]
        strict = [p for p in possible if self.trigrams.issuperset(_trigrams(p))]
        return strict if len(strict) >= enough else possible

    @staticmethod
    def _replace(phones: Phones, changes: tuple[tuple[int, str], ...]) -> Phones:
        changed = list(phones)
        for position, phone in changes:
            changed[position] = phone
        return tuple(changed)


def _kind(phone: str) -> str:
    """Stressed, half-stressed or unstressed vowel, or consonant: what may replace each other."""
    stress = phone[0] if phone[0] in "'," else ""
    return f"vowel{stress}" if phone[len(stress)] in VOWEL_LETTERS else "consonant"
