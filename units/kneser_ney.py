"""Interpolated modified Kneser-Ney n-gram models (Chen & Goodman 1999) of any order, as sorted arrays.

With a(g) the adjusted count of an n-gram g (how often the longest n-grams occur; for shorter ones, how many different
tokens come before them, except at the beginning of an utterance, where nothing can), h a history of m - 1 tokens and
h' the same without its first,

    p_m(w | h) = max(0, a(hw) - D(a(hw))) / A(h) + γ(h) p_{m-1}(w | h'),     A(h) = Σ_w a(hw),
    γ(h) = (D_1 N_1(h) + D_2 N_2(h) + D_3+ N_3+(h)) / A(h),                  p_0 = 1 / (K + 1).

An unseen history has γ = 1. The outcomes are K tokens (units, phones, words) and the end of the utterance, and every
p_m sums to 1 over them.

N-grams of order m are numbered by their place in a sorted array of keys, key = (number of the first m - 1 tokens) ×
(K + 1) + last token: a trie in arrays. Keys fit in 64 bits whatever the order, and whole corpora are looked up at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class NgramTable:
    """The n-grams of one order."""

    keys: np.ndarray  # (G,) int64, sorted
    discounted: np.ndarray  # (G,) float32: max(0, a(hw) - D) / A(h)
    backoff: np.ndarray  # (H,) float32: γ(h), of every n-gram of the order below


class NgramModel:
    """Tables of order 1, 2, ... and the probabilities they give.

    Args:
        k: tokens are 0..k-1, and k is the boundary before the first and after the last of an utterance.
        tables: one an order.
    """

    def __init__(self, k: int, tables: Sequence[NgramTable]) -> None:
        self.k = k
        self.tables = list(tables)

    @property
    def size(self) -> int:
        """Tokens and the boundary, K + 1."""
        return self.k + 1

    @property
    def order(self) -> int:
        """Length of the longest n-grams."""
        return len(self.tables)

    @classmethod
    def fit(cls, sequences: Sequence[Sequence[int] | np.ndarray], k: int, order: int) -> "NgramModel":
        """Count and smooth; `sequences` are tokens `(N,)` of every utterance."""
        corpus = Corpus.of(sequences, k)
        keys, numbers = [np.arange(k + 1)], [corpus.tokens]  # numbers[m - 1]: the n-gram of order m that ends here
        occurrences: list[np.ndarray] = []
        firsts: list[np.ndarray] = []  # where each n-gram occurs first
        for m in range(1, order + 1):
            if m > 1:
                key = corpus.keys(numbers[-1], m)
                found, first, number = np.unique(key[key >= 0], return_index=True, return_inverse=True)
                keys.append(found)
                numbers.append(np.full(len(key), -1))
                numbers[-1][key >= 0] = number
                firsts.append(np.flatnonzero(key >= 0)[first])
            predicted = numbers[-1][corpus.has_history(1) & (numbers[-1] >= 0)]
            occurrences.append(np.bincount(predicted, minlength=len(keys[-1])))
        tables = []
        for m in range(1, order + 1):
            counts = occurrences[m - 1]
            if m < order:
                # Every longer n-gram is one more token before its own end: numbers[m - 1] where it first occurs.
                preceded = np.bincount(numbers[m - 1][firsts[m - 1]], minlength=len(counts))
                counts = np.where(preceded > 0, preceded, counts)
            histories = len(keys[m - 2]) if m > 1 else 1
            tables.append(_smooth(keys[m - 1], counts, keys[m - 1] // (k + 1), histories))
        return cls(k, tables)

    def log_probs(self, sequences: Sequence[Sequence[int] | np.ndarray]) -> list[np.ndarray]:
        """Tokens `(N,)` of every utterance → `(N + 1,)` natural logs: of every token, and of the end after the last."""
        corpus = Corpus.of(sequences, self.k)
        number = np.zeros(len(corpus.tokens), dtype=np.int64)  # of the empty n-gram
        probability = np.full(len(corpus.tokens), 1 / self.size)
        for m, table in enumerate(self.tables, 1):
            before = np.roll(number, 1)
            before[~corpus.has_history(m - 1)] = -1
            known = before >= 0
            probability[known] *= table.backoff[before[known]]
            key = np.where(known, before * self.size + corpus.tokens, -1)
            place = np.minimum(np.searchsorted(table.keys, key), max(0, len(table.keys) - 1))
            seen = known & (table.keys[place] == key) if len(table.keys) else np.zeros_like(known)
            probability[seen] += table.discounted[place[seen]]
            number = np.where(seen, place, -1)
        logs = np.log(probability)
        return [logs[start + 1 : stop] for start, stop in pairwise(corpus.edges.tolist())]

    def distribution(self, history: Sequence[int]) -> np.ndarray:
        """Probabilities `(K + 1,)` of what follows the first tokens of an utterance; the last is that of its end."""
        size = self.size
        read = _document(history, self.k)[:-1].tolist()
        probability = np.full(size, 1 / size)
        for m, table in enumerate(self.tables, 1):
            if m - 1 > len(read):
                break
            number = self._find(read[len(read) - (m - 1) :])
            if number >= 0:
                probability *= table.backoff[number]
                start, stop = np.searchsorted(table.keys, [number * size, (number + 1) * size])
                probability[table.keys[start:stop] % size] += table.discounted[start:stop]
        return probability

    def _find(self, ngram: Sequence[int]) -> int:
        """Number of an n-gram in its table; -1 if it never occurred."""
        number = 0
        for token, table in zip(ngram, self.tables, strict=False):
            key = number * self.size + token
            number = int(np.searchsorted(table.keys, key))
            if number == len(table.keys) or table.keys[number] != key:
                return -1
        return number


@dataclass(frozen=True)
class Corpus:
    """Utterances, each between boundaries, one after the other."""

    tokens: np.ndarray  # (T,)
    places: np.ndarray  # (T,) position within the utterance; its first boundary has 0
    edges: np.ndarray  # (utterances + 1,) where each begins, and the end
    size: int

    @classmethod
    def of(cls, sequences: Sequence[Sequence[int] | np.ndarray], k: int) -> "Corpus":
        """Put boundaries (k) around sequences of tokens and join them."""
        documents = [_document(sequence, k) for sequence in sequences]
        lengths = np.array([len(document) for document in documents], dtype=np.int64)
        edges = np.concatenate([[0], np.cumsum(lengths)])
        tokens = np.concatenate(documents) if documents else np.empty(0, dtype=np.int64)
        return cls(tokens, np.arange(len(tokens)) - np.repeat(edges[:-1], lengths), edges, k + 1)

    def has_history(self, n: int) -> np.ndarray:
        """`(T,)` whether a position has `n` tokens of its own utterance before it."""
        return self.places >= n

    def keys(self, shorter: np.ndarray, m: int) -> np.ndarray:
        """`(T,)` keys of the n-grams of order m that end at every position; -1 where there is none.

        Args:
            shorter: numbers of those of order m - 1.
            m: at least 2.
        """
        key = np.roll(shorter, 1) * self.size + self.tokens
        key[~self.has_history(m - 1)] = -1
        return key


def _document(sequence: Sequence[int] | np.ndarray, k: int) -> np.ndarray:
    """Tokens `(N,)` → `(N + 2,)`: boundary, tokens, boundary."""
    return np.concatenate([[k], np.asarray(sequence, dtype=np.int64), [k]])


def _smooth(keys: np.ndarray, counts: np.ndarray, histories: np.ndarray, n_histories: int) -> NgramTable:
    discount = np.array([0.0, *discounts(counts)])[np.minimum(counts, 3)]
    total = np.bincount(histories, weights=counts, minlength=n_histories)
    saved = np.bincount(histories, weights=discount, minlength=n_histories)
    backoff = np.divide(saved, total, out=np.ones(n_histories), where=total > 0)
    share = np.divide(counts - discount, total[histories], out=np.zeros(len(keys)), where=total[histories] > 0)
    return NgramTable(keys, share.astype(np.float32), backoff.astype(np.float32))


def discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """D_1, D_2 and D_3+ from how many n-grams were counted once, twice, three and four times.

    Where too few n-grams are rare for the estimate to make sense (units, unlike words, are all frequent), 1/2, 1 and
    3/2, as KenLM does.
    """
    n1, n2, n3, n4 = (int(np.sum(counts == c)) for c in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) > 0:
        y = n1 / (n1 + 2 * n2)
        estimate = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
        if all(0 < d < c for c, d in enumerate(estimate, 1)):
            return estimate
    return 0.5, 1.0, 1.5
