"""A planted source of units with words, grammar and speakers, whose entropy is known; and a test of the source."""

import math
from pathlib import Path

import numpy as np

from units.files import Units, write_units
from units.identity import QuantizerIdentity

IDENTITY = QuantizerIdentity(encoder="planted", k=100, frame_rate=50.0, sha256="0" * 64)


class WordSource:
    """Words of 4-8 units follow one another by a sparse bigram grammar; a speaker turns half of the units into his own.

    A unit is replaced by any other with probability `noise`. An utterance ends after a word with probability
    1 / `words`; its speaker is drawn uniformly.
    """

    def __init__(
        self,
        *,
        k: int = 100,
        lexicon: int = 500,
        speakers: int = 4,
        noise: float = 0.05,
        words: int = 12,
        successors: int = 12,
        seed: int = 0,
    ) -> None:
        random = np.random.default_rng(seed)
        self.k, self.noise, self.p_end = k, noise, 1 / words
        self.words = [random.integers(0, k, random.integers(4, 9)) for _ in range(lexicon)]
        weights = 1 / np.arange(1, successors + 1)
        popularity = 1 / np.arange(1, lexicon + 1) ** 0.7
        self.start = popularity / popularity.sum()
        self.bigram = np.zeros((lexicon, lexicon))
        for word in range(lexicon):
            following = random.choice(lexicon, successors, replace=False, p=self.start)
            self.bigram[word, following] = weights / weights.sum()
        self.voices = np.tile(np.arange(k), (speakers, 1))
        for voice in self.voices[1:]:
            own = random.permutation(k)[: k // 2]
            voice[own] = own[random.permutation(len(own))]

    def sample(self, n_units: int, seed: int) -> list[list[int]]:
        """Utterances of about `n_units` in all."""
        random = np.random.default_rng(seed)
        utterances: list[list[int]] = []
        total = 0
        while total < n_units:
            voice = self.voices[random.integers(len(self.voices))]
            word = random.choice(len(self.words), p=self.start)
            clean = list(self.words[word])
            while random.random() >= self.p_end:
                word = random.choice(len(self.words), p=self.bigram[word])
                clean.extend(self.words[word])
            units = voice[np.array(clean)]
            replaced = random.random(len(units)) < self.noise
            units = np.where(replaced, (units + random.integers(1, self.k, len(units))) % self.k, units)
            utterances.append([int(unit) for unit in units])
            total += len(units)
        return utterances

    def log_prob(self, units: list[int]) -> float:
        """Natural log of the exact probability of an utterance and its end, by the forward algorithm."""
        lengths = np.array([len(word) for word in self.words])
        first = np.cumsum(lengths) - lengths  # state of the first unit of each word
        last = first + lengths - 1
        per_speaker = []
        for voice in self.voices:
            states = voice[np.concatenate(self.words)]
            alpha, log_total = np.zeros(len(states)), 0.0
            for position, unit in enumerate(units):
                if position == 0:
                    alpha[first] = self.start
                else:
                    entering = (alpha[last] * (1 - self.p_end)) @ self.bigram
                    alpha = np.concatenate([[0.0], alpha[:-1]])
                    alpha[first] = entering
                alpha *= np.where(states == unit, 1 - self.noise, self.noise / (self.k - 1))
                scale = alpha.sum()
                alpha, log_total = alpha / scale, log_total + math.log(scale)
            per_speaker.append(log_total + math.log(max(alpha[last].sum() * self.p_end, 1e-300)))
        top = max(per_speaker)
        return top + math.log(sum(math.exp(value - top) for value in per_speaker) / len(per_speaker))

    def bits_per_unit(self, utterances: list[list[int]]) -> float:
        """What a perfect model would need, the ends included."""
        return -sum(map(self.log_prob, utterances)) / math.log(2) / sum(map(len, utterances))


def write(path: Path, utterances: list[list[int]], identity: QuantizerIdentity = IDENTITY) -> Path:
    """A units file with a duration of two frames for every unit."""
    items = [Units(f"u{i:05d}", units, [2] * len(units)) for i, units in enumerate(utterances)]
    write_units(path, identity, items)
    return path


def test_the_probabilities_of_a_tiny_source_sum_to_one() -> None:
    source = WordSource(k=3, lexicon=3, speakers=2, noise=0.2, words=2, successors=2)
    source.words = [np.array([0]), np.array([1, 2]), np.array([2, 2])]
    total = 0.0
    for length in range(1, 8):
        for code in range(3**length):
            total += math.exp(source.log_prob([code // 3**i % 3 for i in range(length)]))
    # What is missing are the utterances of eight units and more; every word but the last goes on with probability 1/2.
    assert 0.9 < total < 1.0
