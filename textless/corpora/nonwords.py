"""Words of the corpus, each with a nonword that could be a word: what sWUGGY-like scores compare.

A nonword is a word with one or two phones replaced, vowel by vowel and consonant by consonant, such that every phone
bigram (and where possible every trigram) occurs in some word of the lexicon. Among those, the one is taken that keeps
phone-unigram and phone-bigram probability, as the corpus has them, balanced over all pairs: a model that only counts
phones, or pairs of phones, is right half of the time. Other measures can be balanced too, such as how many words are
near (`Neighbourhood`). Nonwords are no word of the *corpus*; some may be rare words of the language.
"""

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

Phones = tuple[str, ...]  # espeak-ng's mnemonics, with the stress mark before the vowel's name
Measure = Callable[[Phones], float]  # in nats, so that measures weigh alike

EDGE = "#"
SHORTEST, LONGEST = 4, 11  # phones
STRESS = "',"
VOWEL_LETTERS = "aAeEiIoO0uUV3@"
IPA_VOWELS = frozenset("aeiouyæøœɐɑɒɔəɘɛɜɞɤɨɪɯɵɶʉʊʌʏɚɝᵻ")
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
    kind: Callable[[str], str] | None = None,
    others: Sequence[Measure] = (),
) -> list[WordPair]:
    """Up to `n` pairs; fewer if the corpus has not enough words of four phones or more.

    Args:
        frequencies: of words in the training text.
        pronunciations: of every word of the lexicon.
        n: number of pairs wanted.
        rng: chooses words and the replacements to try.
        heard: what the synthesizer makes of mnemonics.
        known: words of the lexicon as they are heard; a nonword must sound like none of them.
        kind: phones of equal kind may replace each other (none: as espeak-ng names those of English).
        others: measures to balance besides the probabilities of unigrams and bigrams.
    """
    counts = PhoneNgrams(frequencies, pronunciations)
    measures = (counts.unigram_log_probability, counts.bigram_log_probability, *others)
    words = [w for w, phones in pronunciations.items() if frequencies.get(w, 0) and SHORTEST <= len(phones) <= LONGEST]
    # Frequent words first, by chance: a draw without replacement, weighted by frequency (Efraimidis & Spirakis, 2006).
    words.sort(key=lambda word: rng.random() ** (1 / frequencies[word]), reverse=True)
    neighbours = _Neighbours(pronunciations, kind or _kind)
    taken = set(known)
    pairs: list[WordPair] = []
    balance = [0] * len(measures)  # words with more of a measure than their nonword, minus the others
    for word in words:
        if len(pairs) == n:
            break
        phones = pronunciations[word]
        if heard(phones) not in known:  # spelled and from phones it should sound the same
            continue
        for candidate, gains in _by_cost(phones, neighbours.of(phones, rng), measures, balance):
            sound = heard(candidate)
            if len(sound) == len(phones) and sound not in taken:
                taken.add(sound)
                balance = [total + _sign(gain) for total, gain in zip(balance, gains, strict=True)]
                pairs.append(WordPair(word, frequencies[word], phones, candidate))
                break
    return pairs


def _by_cost(
    phones: Phones, candidates: list[Phones], measures: Sequence[Measure], balance: Sequence[int]
) -> list[tuple[Phones, tuple[float, ...]]]:
    """Candidates with the word's advantage over them, best first: small, and against the present imbalance."""
    word = [measure(phones) for measure in measures]
    ranked = []
    for candidate in candidates:
        gains = tuple(value - measure(candidate) for value, measure in zip(word, measures, strict=True))
        wrong_side = sum(_sign(gain) * total > 0 for gain, total in zip(gains, balance, strict=True))
        ranked.append((sum(map(abs, gains)) + 4 * wrong_side, candidate, gains))
    return [(candidate, gains) for _, candidate, gains in sorted(ranked)]


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


class _Neighbours:
    """Sound sequences one or two phones away from a word, built of what occurs in the lexicon."""

    def __init__(self, pronunciations: Mapping[str, Phones], kind: Callable[[str], str]) -> None:
        words = sorted(set(pronunciations.values()))
        self.words = set(words)
        self.bigrams = {bigram for phones in words for bigram in _bigrams(phones)}
        self.trigrams = {trigram for phones in words for trigram in _trigrams(phones)}
        phones = sorted({phone for word in words for phone in word})
        self.replacements = {phone: [p for p in phones if p != phone and kind(p) == kind(phone)] for phone in phones}

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
    stress = phone[0] if phone[0] in STRESS else ""
    return f"vowel{stress}" if phone[len(stress)] in VOWEL_LETTERS else "consonant"


def kind_by_ipa(ipa: Mapping[str, str]) -> Callable[[str], str]:
    """The same for the phones of any language, by their names in IPA; long vowels are a kind of their own."""

    def kind(phone: str) -> str:
        stress = phone[0] if phone[0] in STRESS else ""
        sound = ipa.get(phone, phone)
        length = "ː" if "ː" in sound else ""
        return f"vowel{stress}{length}" if sound[:1] in IPA_VOWELS else "consonant"

    return kind


class Neighbourhood:
    """How many words are one phone away, replaced, left out or put in (Coltheart et al., 1977); stress apart."""

    def __init__(self, words: Collection[Phones]) -> None:
        self._words = {_unstressed(phones) for phones in words}
        self._by_pattern: dict[tuple[str | None, ...], int] = Counter(
            pattern for phones in self._words for pattern in _with_holes(phones)
        )
        self._shortened: dict[Phones, set[Phones]] = {}
        for phones in self._words:
            for shorter in _shortened(phones):
                self._shortened.setdefault(shorter, set()).add(phones)

    def size(self, phones: Phones) -> int:
        """Number of different words one phone away."""
        plain = _unstressed(phones)
        itself = plain in self._words
        replaced = sum(self._by_pattern.get(pattern, 0) - itself for pattern in _with_holes(plain))
        shorter = len(_shortened(plain) & self._words)
        return replaced + shorter + len(self._shortened.get(plain, ()))

    def log_size(self, phones: Phones) -> float:
        """log(1 + size), to be balanced."""
        return math.log1p(self.size(phones))


def _unstressed(phones: Phones) -> Phones:
    return tuple(phone.lstrip(STRESS) or phone for phone in phones)


def _with_holes(phones: Phones) -> Iterator[tuple[str | None, ...]]:
    for i in range(len(phones)):
        yield (*phones[:i], None, *phones[i + 1 :])


def _shortened(phones: Phones) -> set[Phones]:
    return {(*phones[:i], *phones[i + 1 :]) for i in range(len(phones))}
