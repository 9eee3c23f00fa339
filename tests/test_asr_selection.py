"""Label-free quality: by hand, and it tells phones of the language from the same phones in disorder."""

import inspect
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from test_asr_matching import PHONES, Language

from unsup_asr import selection
from unsup_asr.gan import train as gan_training
from unsup_asr.phone_text import SILENCE, PhoneText
from unsup_asr.selection import Judge, Quality, choose, jensen_shannon, ngram_counts

NAMES = tuple(map(str, range(PHONES)))


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(PhoneText(NAMES, Language(0).sentences(2000, seed=1)))


def test_the_language_is_told_from_a_permutation_of_it_and_from_collapse(judge: Judge) -> None:
    spoken = Language(0).sentences(300, seed=2)
    permuted = [np.random.default_rng(0).permutation(PHONES)[sentence] for sentence in spoken]
    constant = [np.zeros_like(sentence) for sentence in spoken]
    right, wrong, collapsed = judge(spoken), judge(permuted), judge(constant)
    assert right.weighted_perplexity < wrong.weighted_perplexity < collapsed.weighted_perplexity
    assert all(ours < theirs for ours, theirs in zip(right.divergence, wrong.divergence, strict=True))
    assert (right.is_collapsed, collapsed.is_collapsed) == (False, True)
    assert right.tokens_per_sentence == pytest.approx(1, abs=0.1)
    assert choose([wrong, collapsed, right]) == 2
    assert judge([np.empty(0, int)]).weighted_perplexity == math.inf


def test_silences_change_nothing() -> None:
    text = PhoneText((*NAMES, SILENCE), Language(0).sentences(200, seed=1))
    spoken = Language(0).sentences(50, seed=2)
    silence = np.array([PHONES])
    padded = [np.concatenate([silence, sentence, silence]) for sentence in spoken]
    assert Judge(text)(padded) == Judge(text)(spoken)


def quality(nats: float, usage: float, tokens: int) -> Quality:
    return Quality(tokens, 0, -nats * tokens, usage, (0.0,), 1.0)


def test_the_papers_criterion_prefers_saying_less_among_equals() -> None:
    anchor = quality(2.00, 1.0, 1000)
    shorter = quality(2.15, 1.0, 900)  # within log 1.2 of the anchor, and its sum is larger: -1935 > -2000
    far = quality(2.20, 1.0, 100)  # 0.20 > log 1.2 = 0.18
    unused = quality(2.00, 0.7, 100)  # log 0.7 + 0.18 < 0
    assert choose([far, anchor, unused, shorter]) == 3
    assert choose([far, anchor, unused]) == 1
    assert shorter.weighted_perplexity == pytest.approx(math.exp(2.15))
    assert replace(unused, usage=0.5).weighted_perplexity == pytest.approx(4 * math.exp(2.0))


def test_ngrams_and_their_divergence_by_hand() -> None:
    assert ngram_counts([np.array([1, 0, 1, 0]), np.array([2])], 2, 3) == {3: 2, 1: 1}
    assert jensen_shannon({0: 1}, {0: 5}) == 0
    assert jensen_shannon({0: 1}, {1: 1}) == 1
    # p = (1, 0), q = (1/2, 1/2), mean (3/4, 1/4)
    expected = (math.log2(4 / 3) + 0.5 * math.log2(2 / 3) + 0.5 * math.log2(2)) / 2
    assert jensen_shannon({0: 1}, {0: 1, 1: 1}) == pytest.approx(expected)


@pytest.mark.parametrize("function", [choose, Judge.__call__, gan_training.train, gan_training.train_on])
def test_nothing_that_trains_or_selects_takes_a_reference(function: Callable[..., object]) -> None:
    for module in (selection, gan_training):
        imported = inspect.getsource(module)
        assert "alignment" not in imported
        assert "manifest" not in imported
    assert not {"references", "labels", "transcript", "manifest"} & set(inspect.signature(function).parameters)
