"""The n-gram model: hand-computed probabilities, a slow reference, sums, round trip."""

import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from test_ulm_source import IDENTITY, WordSource

from ulm.language_model import NgramLanguageModel, load_language_model
from units.kneser_ney import NgramModel, discounts

BEGIN, END = "<s>", "</s>"


def reference(sequences: list[list[int]], k: int, order: int):
    """Modified Kneser-Ney with dictionaries of tuples and plain loops; a function (history, token) -> probability."""
    counts = [defaultdict(int) for _ in range(order + 1)]
    before = [defaultdict(set) for _ in range(order + 1)]
    for sequence in sequences:
        tokens = (BEGIN, *sequence, END)
        for m in range(1, order + 1):
            for stop in range(max(2, m), len(tokens) + 1):
                gram = tokens[stop - m : stop]
                counts[m][gram] += 1
                if stop - m > 0:
                    before[m][gram].add(tokens[stop - m - 1])
    adjusted = [
        {gram: len(before[m][gram]) if m < order and gram[0] != BEGIN else count for gram, count in counts[m].items()}
        for m in range(order + 1)
    ]

    def probability(history: tuple, token: object) -> float:
        return interpolate(history[-(order - 1) :] if order > 1 else (), token)

    def interpolate(history: tuple, token: object) -> float:
        m = len(history) + 1
        lower = interpolate(history[1:], token) if history else 1 / (k + 1)
        following = {gram[-1]: a for gram, a in adjusted[m].items() if gram[:-1] == history}
        if not following:
            return lower
        d = (0.0, *discounts(np.array(list(adjusted[m].values()))))
        saved = sum(d[min(a, 3)] for a in following.values())
        a = following.get(token, 0)
        return (a - d[min(a, 3)] + saved * lower) / sum(following.values())

    return probability


def test_a_bigram_model_by_hand() -> None:
    model = NgramModel.fit([[0, 1], [0, 2]], k=3, order=2)
    # Continuations: 0, 1 and 2 follow one token each, the end two. Too few for estimates: discounts 1/2, 1, 3/2.
    # p(0) = p(1) = p(2) = (1 - 1/2)/5 + (3·1/2 + 1)/5 · 1/4 = 0.225; p(end) = (2 - 1)/5 + 0.125 = 0.325
    first = model.distribution([])
    assert first == pytest.approx([1 / 2 + 1 / 2 * 0.225, 0.1125, 0.1125, 1 / 2 * 0.325])
    assert model.distribution([0]) == pytest.approx([0.1125, 0.25 + 0.1125, 0.25 + 0.1125, 0.1625])
    assert model.distribution([0, 1])[3] == pytest.approx(0.5 + 0.5 * 0.325)
    logs = model.log_probs([[0, 1]])[0]
    assert np.exp(logs) == pytest.approx([0.6125, 0.3625, 0.6625])


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_equals_the_slow_reference(order: int) -> None:
    source = WordSource(k=8, lexicon=6, speakers=2, noise=0.1, words=4, successors=3)
    train, test = source.sample(600, 1), source.sample(60, 2)
    model, expected = NgramModel.fit(train, 8, order), reference(train, 8, order)
    for sequence, logs in zip(test, model.log_probs(test), strict=True):
        tokens = (BEGIN, *sequence, END)
        slow = [np.log(expected(tokens[:i], tokens[i])) for i in range(1, len(tokens))]
        assert logs == pytest.approx(slow, abs=1e-5)  # tables are float32


@pytest.mark.parametrize("order", [1, 3, 5])
def test_sums_to_one_after_every_history_and_agrees_with_the_scores(order: int) -> None:
    source = WordSource(k=6, lexicon=5, speakers=1, words=3, successors=2)
    model = NgramModel.fit(source.sample(400, 1), 6, order)
    for history in itertools.chain([()], itertools.product(range(6), repeat=2), [(0,) * 9, (3, 5, 1, 0, 2)]):
        distribution = model.distribution(history)
        assert distribution.sum() == pytest.approx(1.0, abs=1e-6)
        assert (distribution > 0).all()
        assert np.exp(model.log_probs([[*history, 4]])[0][-2]) == pytest.approx(distribution[4], rel=1e-6)


def test_an_order_above_every_utterance_and_unseen_units_are_no_trouble() -> None:
    model = NgramModel.fit([[0], [1]], k=4, order=6)
    assert np.isfinite(model.log_probs([[3, 2, 3], [0]])[0]).all()
    assert model.distribution([3, 2]).sum() == pytest.approx(1.0)
    assert model.log_probs([]) == []


def test_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    source = WordSource(k=100, lexicon=20, speakers=1)
    model = NgramLanguageModel(NgramModel.fit(source.sample(500, 1), 100, 3), IDENTITY)
    model.save(tmp_path / "lm")
    loaded = load_language_model(tmp_path / "lm")
    test = source.sample(100, 2)
    assert np.array_equal(loaded.score(test, eos=True), model.score(test, eos=True))
    assert loaded.quantizer == IDENTITY
