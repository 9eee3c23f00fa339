"""Skip-gram matching finds planted phones, and does not find what is not there."""

import numpy as np
import pytest

from unsup_asr.matching import Matching, MatchingOptions, match_clusters
from unsup_asr.skipgrams import statistics, stretch

PHONES, CLUSTERS = 20, 40


class Language:
    """Words of random phones, some frequent and most rare, in random order."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        following = random.dirichlet(np.full(PHONES, 0.15), PHONES)
        self.words = []
        for length in random.integers(2, 7, 300):
            word = [int(random.integers(PHONES))]
            while len(word) < length:
                word.append(int(random.choice(PHONES, p=following[word[-1]])))
            self.words.append(np.array(word))
        self.frequency = 1 / np.arange(3, 303)
        self.frequency /= self.frequency.sum()

    def sentences(self, n: int, seed: int) -> list[np.ndarray]:
        random = np.random.default_rng(seed)
        lengths = random.integers(4, 12, n)
        return [np.concatenate([self.words[w] for w in random.choice(300, k, p=self.frequency)]) for k in lengths]


def spoken(sentences: list[np.ndarray], seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Clusters of segments, two or so for every phone, and the phone that each cluster stands for."""
    random = np.random.default_rng(seed)
    owners = random.permutation(np.arange(CLUSTERS) % PHONES)
    clusters = np.argsort(owners, kind="stable").reshape(PHONES, CLUSTERS // PHONES)
    return [
        clusters[s, random.integers(CLUSTERS // PHONES, size=len(s))] for s in stretch(sentences, 0.1, seed)
    ], owners


@pytest.fixture(scope="module")
def speech() -> tuple[list[np.ndarray], np.ndarray]:
    return spoken(Language(0).sentences(1200, seed=1), seed=2)


def matched(speech: list[np.ndarray], language: Language) -> Matching:
    options = MatchingOptions(restarts=3, steps=800)
    return match_clusters(speech, CLUSTERS, language.sentences(4000, seed=3), PHONES, options)


def test_planted_phones_are_found_and_the_loss_of_another_language_is_higher(
    speech: tuple[list[np.ndarray], np.ndarray],
) -> None:
    clusters, owners = speech
    found = matched(clusters, Language(0))
    spoken_clusters = np.concatenate(clusters)
    errors = [(table.argmax(axis=1) != owners)[spoken_clusters].mean() for table in found.tables]
    assert errors[0] < 0.05  # chance is 0.95; not every beginning ends there, but the lowest loss does
    assert errors[1] < 0.05
    assert (np.diff(found.losses) >= 0).all()

    other = matched(clusters, Language(7))  # text of a language that nobody spoke
    assert other.losses[0] > 2 * found.losses[0]


def test_statistics_by_hand() -> None:
    counted = statistics([np.array([0, 1, 1, 2]), np.array([2, 0]), np.array([], dtype=int)], 3, lags=2, parts=2)
    assert counted.joint[0] * 4 == pytest.approx(np.array([[0, 1, 0], [0, 1, 1], [1, 0, 0]]))
    assert counted.joint[1] * 2 == pytest.approx(np.array([[0, 1, 0], [0, 0, 1], [0, 0, 0]]))
    assert counted.positions * 3 == pytest.approx(np.array([[1, 1, 1], [1, 1, 1]]))
