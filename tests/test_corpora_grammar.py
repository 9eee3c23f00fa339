"""Sentences, pairs of sentences and nonwords of the synthetic corpus: frequencies must not tell."""

import itertools
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("espeakng_loader")

from textless.corpora.grammar import Grammar
from textless.corpora.grammatical_pairs import grammatical_pairs
from textless.corpora.lexicon import english
from textless.corpora.nonwords import PhoneNgrams, word_pairs
from textless.corpora.synth import transcription
from textless.corpora.synthesizer import pronounce


@pytest.fixture(scope="module")
def pronunciations() -> dict[str, tuple[str, ...]]:
    return {word: said.mnemonics for word, said in pronounce(english().words(), "en-us").items()}


def test_grammar_is_varied_seeded_and_within_length() -> None:
    draws = [list(itertools.islice(Grammar(english(), random.Random(1)).sentences(set()), 2000)) for _ in range(2)]
    assert draws[0] == draws[1]
    assert len(set(draws[0])) == 2000
    words = Counter(word for sentence in draws[0] for word in transcription(sentence).split())
    assert len(words) > 800
    assert words["the"] > 20 * words["umbrella"] > 0
    assert all(3 <= len(sentence.split()) <= 12 for sentence in draws[0])
    assert 0.05 < np.mean([sentence.endswith("?") for sentence in draws[0]]) < 0.25


def test_grammatical_pairs_differ_as_their_type_says() -> None:
    pairs = grammatical_pairs(english(), random.Random(0), 300)
    assert set(Counter(pair.type for pair in pairs).values()) == {50}
    assert len({pair.type for pair in pairs}) == 6
    verbs = (*english().transitive.items, *english().intransitive.items)
    numbers = {frozenset((v.base, v.third)) for v in verbs} | {frozenset(("is", "are")), frozenset(("was", "were"))}
    nouns = {frozenset((n.singular, n.plural)) for n in english().thing.items}
    for pair in pairs:
        good, bad = pair.good.split(), pair.bad.split()
        assert len(good) == len(bad)
        if pair.type == "word_order":
            assert sorted(good) == sorted(bad)
            continue
        changed = [{a, b} for a, b in zip(good, bad, strict=True) if a != b]
        assert len(changed) == 1
        match pair.type:
            case "subject_verb_agreement":
                assert changed[0] in numbers
            case "determiner_noun_agreement":
                assert changed[0] in nouns
            case "reflexive_agreement":
                assert changed[0] < {"himself", "herself", "themselves"}
    counts = Counter(
        w
        for s in itertools.islice(Grammar(english(), random.Random(9)).sentences(set()), 4000)
        for w in transcription(s).split()
    )
    wins = defaultdict(list)
    for pair in pairs:
        advantage = sum(math.log(counts[w] + 1) for w in pair.good.split())
        advantage -= sum(math.log(counts[w] + 1) for w in pair.bad.split())
        wins[pair.type].append(0.5 if abs(advantage) < 1e-9 else float(advantage > 0))
    assert all(0.35 <= np.mean(won) <= 0.65 for won in wins.values()), "word frequency must not tell"


def test_nonwords_could_be_words_and_phone_counts_do_not_tell(
    pronunciations: dict[str, tuple[str, ...]], record_property: Callable[[str, object], None]
) -> None:
    sentences = itertools.islice(Grammar(english(), random.Random(4)).sentences(set()), 3000)
    counts = Counter(word for sentence in sentences for word in transcription(sentence).split())
    lexicon = set(pronunciations.values())
    pairs = word_pairs(counts, pronunciations, 150, random.Random(0), lambda phones: phones, lexicon)
    assert len(pairs) == 150
    attested = {b for p in pronunciations.values() for b in itertools.pairwise(("#", *p, "#"))}
    grams = PhoneNgrams(counts, pronunciations)
    advantages = []
    for pair in pairs:
        assert pair.frequency == counts[pair.word] > 0
        assert pronunciations[pair.word] == pair.word_phones
        assert pair.nonword_phones not in lexicon
        assert len(pair.nonword_phones) == len(pair.word_phones)
        assert 1 <= sum(a != b for a, b in zip(pair.word_phones, pair.nonword_phones, strict=True)) <= 2
        assert attested.issuperset(itertools.pairwise(("#", *pair.nonword_phones, "#")))
        advantages.append(
            [
                grams.unigram_log_probability(pair.word_phones) - grams.unigram_log_probability(pair.nonword_phones),
                grams.bigram_log_probability(pair.word_phones) - grams.bigram_log_probability(pair.nonword_phones),
            ]
        )
    unigram, bigram = (np.array(advantages) > 0).mean(axis=0)
    record_property("accuracy of phone unigrams and bigrams", (unigram, bigram))
    assert 0.45 <= unigram <= 0.55
    assert 0.45 <= bigram <= 0.60
