"""Self-BLEU and auto-BLEU against plain loops and by hand."""

import math

import pytest
from generated_texts import write
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import bleu as oracle

from zerospeech_eval.ngram_overlap import auto_bleu, repeated_share, self_bleu

texts_of_few_words = st.lists(st.lists(st.sampled_from("abc"), max_size=9), min_size=2, max_size=7)


@settings(max_examples=200, deadline=None)
@given(texts_of_few_words, st.integers(1, 4), st.booleans())
def test_self_bleu_is_bleu_with_all_others_as_references(texts: list[list[str]], order: int, brevity: bool) -> None:
    expected = oracle.self_bleu(texts, order, brevity_penalty=brevity)
    assert self_bleu(texts, order, brevity_penalty=brevity) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(texts_of_few_words, st.integers(1, 4))
def test_auto_bleu_is_that_of_the_definition(texts: list[list[str]], order: int) -> None:
    assert auto_bleu(texts, order) == pytest.approx([oracle.auto_bleu(text, order) for text in texts], abs=1e-12)
    expected = [oracle.repeated_bigrams(text) for text in texts]
    assert repeated_share(texts, 2, overlapping=True) == pytest.approx(expected, abs=1e-12)


def test_bleus_by_hand() -> None:
    # 3 of 4 words, and 1 of 3 pairs, are found in the other text; of "the" only as many as that has.
    texts = [["the", "the", "cat", "sat"], ["the", "cat", "ran", "far", "away"]]
    assert self_bleu(texts)[0] == pytest.approx(math.sqrt(2 / 4 * 1 / 3))
    assert self_bleu(texts, brevity_penalty=True)[0] == pytest.approx(math.sqrt(2 / 4 * 1 / 3) * math.exp(1 - 5 / 4))
    # All words and 4 of 5 pairs occur twice; the pairs of "a a a" overlap.
    assert auto_bleu([["a", "b", "a", "b", "a", "b"]])[0] == 1
    assert auto_bleu([["a", "a", "a"]])[0] == 0
    assert repeated_share([["a", "a", "a"]], 2, overlapping=True)[0] == 1
    assert auto_bleu(["a"]) == [0]
    with pytest.raises(ValueError, match="at least two"):
        self_bleu([["a"]])


def test_order_of_texts_changes_nothing() -> None:
    texts = [write(0.3, seed).split() for seed in range(50)]
    assert self_bleu(texts[::-1], 3)[::-1] == pytest.approx(self_bleu(texts, 3))
