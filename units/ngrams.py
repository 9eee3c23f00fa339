"""How well units are predicted by the units before them: conditional entropies and held-out perplexities.

The plug-in entropy of long contexts is too low when data are few, as most contexts are then seen once; the held-out
perplexity (Witten–Bell smoothing, one utterance in ten held out) is too high for the same reason. The truth lies
between them.
"""

from collections.abc import Sequence

import numpy as np

HELD_OUT = 10  # one utterance in so many


class NgramIds:
    """A corpus of sequences, every n-gram in it numbered: equal n-grams have equal ids.

    Args:
        sequences: integers 0..k-1; n-grams do not cross their ends.
        k: number of different integers.
    """

    def __init__(self, sequences: Sequence[np.ndarray], k: int) -> None:
        lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
        self.units = np.concatenate([np.asarray(s, dtype=np.int64) for s in sequences if len(s)] or [np.empty(0, int)])
        starts = np.cumsum(lengths) - lengths
        self.position = np.arange(len(self.units)) - np.repeat(starts, lengths)  # (N,) place within the sequence
        self.sequence = np.repeat(np.arange(len(sequences)), lengths)
        self.k = k

    def up_to(self, order: int) -> list[np.ndarray]:
        """For n = 0..order, the id of the n-gram that ends in each place `(N,)`; -1 where it would begin too early."""
        ids = [np.zeros(len(self.units), dtype=np.int64)]
        for n in range(1, order + 1):
            whole = self.position >= n - 1
            context = np.concatenate([[0], ids[-1][:-1]]) if n > 1 else ids[0]
            found = np.full(len(self.units), -1)
            found[whole] = np.unique(context[whole] * self.k + self.units[whole], return_inverse=True)[1]
            ids.append(found)
        return ids


def entropy(counts: np.ndarray) -> float:
    """Entropy in bits of the distribution proportional to `counts`."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0


def conditional_entropies(ngrams: NgramIds, order: int) -> list[float]:
    """Bits of a unit given the n − 1 before it, n = 1..order: the plug-in estimate, 0 where no n-gram is that long."""
    ids = ngrams.up_to(order)
    bits = []
    for n in range(1, order + 1):
        last = np.flatnonzero(ids[n] >= 0)
        if not len(last):
            bits.append(0.0)
            continue
        context = np.bincount(ids[n - 1][last - 1] if n > 1 else ids[0][last])
        bits.append(max(entropy(np.bincount(ids[n][last])) - entropy(context), 0.0))
    return bits


def held_out_perplexities(ngrams: NgramIds, order: int) -> list[float]:
    """Perplexity of n-gram models, n = 1..order, on every tenth sequence; they are counted on the others.

    p(w | h) = (c(hw) + t(h) p(w | shorter h)) / (c(h) + t(h)), where t(h) different units follow h (Witten & Bell
    1991). Empty where nothing is held out.
    """
    held = ngrams.sequence % HELD_OUT == HELD_OUT - 1
    if not held.any():
        return []
    ids = ngrams.up_to(order)
    probability = np.full(int(held.sum()), 1 / ngrams.k)
    perplexities = []
    for n in range(1, order + 1):
        context = np.concatenate([[0], ids[n - 1][:-1]]) if n > 1 else ids[0]
        counted = ~held & (ids[n] >= 0)
        count = np.bincount(ids[n][counted], minlength=ids[n].max() + 1)
        total = np.bincount(context[counted], minlength=context.max() + 1)
        first = np.unique(ids[n][counted], return_index=True)[1]  # one place of every different n-gram
        followers = np.bincount(context[counted][first], minlength=context.max() + 1)
        where = np.flatnonzero(held)
        reaches = ids[n][where] >= 0
        gram, history = ids[n][where][reaches], context[where][reaches]
        weight = total[history] + followers[history]
        smoothed = count[gram] + followers[history] * probability[reaches]
        probability[reaches] = np.where(weight > 0, smoothed / np.maximum(weight, 1), probability[reaches])
        perplexities.append(float(2 ** -np.log2(probability).mean()))
    return perplexities
