"""How much texts repeat each other (self-BLEU) and themselves (auto-BLEU).

*Self-BLEU* (Zhu et al. 2018) of text i is its BLEU with all other texts as references,

    p_n(i) = Σ_g min(c_i(g), max_{j ≠ i} c_j(g)) / Σ_g c_i(g),        self-BLEU(i) = Π_{n=1..N} p_n(i)^{1/N},

c_i(g) being how often text i has the n-gram g. As in GSLM there is no smoothing (a p_n of 0 makes it 0) and, unless
asked for, no brevity penalty.

*Auto-BLEU* (Lakhotia et al. 2021) of a text is the share of its n-grams that it has elsewhere too,

    q_n(i) = |{p : the n-gram at p also begins at some p' with |p - p'| ≥ n}| / (number of n-grams of i),

auto-BLEU(i) = Π_{n=1..N} q_n(i)^{1/N}. Occurrences that overlap do not count, as in GSLM's program (the paper's formula
leaves it open); slamkit counts them, and takes n = 2 alone: `repeated_share(texts, 2, overlapping=True)`.

A text too short for an n-gram has p_n = q_n = 0. All n-grams of a corpus are numbered and counted at once.
"""

from collections.abc import Sequence

import numpy as np

from units.ngrams import NgramIds

Texts = Sequence[Sequence[str]]


def self_bleu(texts: Texts, order: int = 2, *, brevity_penalty: bool = False) -> np.ndarray:
    """Self-BLEU of every text `(T,)`, 0 to 1.

    Args:
        texts: tokens of every text.
        order: N, the longest n-grams.
        brevity_penalty: times exp(1 - r / h) for a text of h tokens that is shorter than r, the closest length of
            another (of two equally close, the smaller): Papineni et al. 2002, as in nltk.

    Raises:
        ValueError: there are fewer than two texts.
    """
    if len(texts) < 2:
        raise ValueError("self-BLEU compares a text with others: it wants at least two")
    ngrams = _numbered(texts)
    lengths = _lengths(texts)
    score = np.ones(len(texts))
    for n, ids in enumerate(ngrams.up_to(order)[1:], 1):
        there = ids >= 0
        pairs, counts = np.unique(ids[there] * len(texts) + ngrams.sequence[there], return_counts=True)
        gram, text = np.divmod(pairs, len(texts))
        matched = np.bincount(text, np.minimum(counts, _most_elsewhere(gram, counts)), minlength=len(texts))
        score *= matched / np.maximum(lengths - n + 1, 1)
    score **= 1 / order
    return score * _brevity(lengths) if brevity_penalty else score


def _most_elsewhere(gram: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For every pair of an n-gram and a text, how often the n-gram occurs in the text, of the others, that has most.

    Args:
        gram: `(P,)`, sorted.
        counts: `(P,)` in that text.
    """
    order = np.lexsort((-counts, gram))
    first = np.flatnonzero(np.diff(gram[order], prepend=-1))  # where each n-gram's most frequent place is
    follows = np.append(first[1:], len(order)) - first > 1
    second = np.zeros(len(first), dtype=counts.dtype)
    second[follows] = counts[order[first[follows] + 1]]
    most = counts[order[first]][np.cumsum(np.diff(gram, prepend=-1) > 0) - 1] if len(gram) else counts.copy()
    most[order[first]] = second
    return most


def _brevity(lengths: np.ndarray) -> np.ndarray:
    different, place, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    closest = different.astype(float)
    for index in np.flatnonzero(counts == 1):  # elsewhere a length is its own closest
        others = np.delete(different, index)
        closest[index] = others[np.abs(others - different[index]).argmin()]  # sorted: of equals the smaller
    penalty = np.exp(np.minimum(1 - closest / np.maximum(different, 1), 0))
    return np.where(different > 0, penalty, 0)[place]


def auto_bleu(texts: Texts, order: int = 2) -> np.ndarray:
    """Auto-BLEU of every text `(T,)`, 0 to 1; `order` is N, the longest n-grams."""
    score = np.ones(len(texts))
    for n in range(1, order + 1):
        score *= repeated_share(texts, n)
    return score ** (1 / order)


def repeated_share(texts: Texts, n: int, *, overlapping: bool = False) -> np.ndarray:
    """Share of the n-grams of every text that it has elsewhere too `(T,)`; `overlapping` ones count if asked for."""
    ngrams = _numbered(texts)
    ids = ngrams.up_to(n)[n]
    there = np.flatnonzero(ids >= 0)
    key = ids[there] * len(texts) + ngrams.sequence[there]
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    last = len(key) - 1 - np.unique(key[::-1], return_index=True)[1]
    place = ngrams.position[there]
    apart = 1 if overlapping else n
    elsewhere = (place - place[first][group] >= apart) | (place[last][group] - place >= apart)
    repeated = np.bincount(ngrams.sequence[there], elsewhere, minlength=len(texts))
    return repeated / np.maximum(_lengths(texts) - n + 1, 1)


def _numbered(texts: Texts) -> NgramIds:
    number = {token: index for index, token in enumerate(dict.fromkeys(token for text in texts for token in text))}
    return NgramIds(
        [np.array([number[token] for token in text], dtype=np.int64) for text in texts], max(len(number), 1)
    )


def _lengths(texts: Texts) -> np.ndarray:
    return np.array([len(text) for text in texts], dtype=np.int64)
