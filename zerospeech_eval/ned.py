"""Normalised edit distances of very many short strings, 64 columns of the table at a time (Myers, 1999; Hyyrö, 2003).

The table of the Levenshtein distance changes by -1, 0 or 1 from a cell to the next, so a column of up to 64 cells fits
in two machine words, one bit for the increases and one for the decreases, and takes some ten operations.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

WORD = 64  # bits


def mean_normalised(groups: Sequence[Sequence[tuple[int, ...]]]) -> tuple[float, int]:
    """Mean over all pairs inside the groups of the edit distance divided by the longer length, and how many pairs.

    Pairs of two empty strings count 1, as ZeroSpeech defines it. Equal strings are compared once, so the time depends
    on the number of different ones. Integers are summed, so that no order changes the result.

    Args:
        groups: strings of small integers.

    Returns:
        The mean, nan if there is no pair, and the number of pairs.
    """
    counted = []
    for group in groups:
        counts: dict[tuple[int, ...], int] = {}
        for string in group:
            counts[string] = counts.get(string, 0) + 1
        counted.append(counts)
    strings = [string for counts in counted for string in counts]
    n_pairs = sum(n * (n - 1) // 2 for n in map(len, groups))
    if not n_pairs:
        return float("nan"), 0
    lengths = np.array([len(string) for string in strings], dtype=np.int64)
    symbols = np.array([symbol for string in strings for symbol in string], dtype=np.int64)
    edits = _edits_by_length(
        symbols,
        np.concatenate([[0], np.cumsum(lengths)]),
        np.array([n for counts in counted for n in counts.values()], dtype=np.int64),
        np.concatenate([[0], np.cumsum([len(counts) for counts in counted])]).astype(np.int64),
        int(symbols.max(initial=0)) + 1,
    )
    empty = sum(n * (n - 1) // 2 for n in (counts.get((), 0) for counts in counted))
    by_length = edits[1:] / np.arange(1, len(edits))
    return (float(by_length.sum()) + empty) / n_pairs, n_pairs


@njit(cache=True)
def _edits_by_length(
    symbols: np.ndarray, bounds: np.ndarray, counts: np.ndarray, groups: np.ndarray, n_symbols: int
) -> np.ndarray:
    """Edits between different strings of a group, times how often they meet, by the longer length, `(longest + 1,)`.

    String i is `symbols[bounds[i]:bounds[i + 1]]` and there `counts[i]` times; group g is strings
    `groups[g]:groups[g + 1]`.
    """
    longest = 0
    for i in range(len(bounds) - 1):
        longest = max(longest, bounds[i + 1] - bounds[i])
    totals = np.zeros(longest + 1, dtype=np.int64)
    masks = np.zeros(n_symbols, dtype=np.uint64)  # where a symbol stands in the string at hand
    for group in range(len(groups) - 1):
        for i in range(groups[group], groups[group + 1]):
            one = symbols[bounds[i] : bounds[i + 1]]
            if len(one) <= WORD:
                for k in range(len(one)):
                    masks[one[k]] |= np.uint64(1) << np.uint64(k)
            for j in range(i + 1, groups[group + 1]):
                other = symbols[bounds[j] : bounds[j + 1]]
                distance = _distance(masks, len(one), other) if len(one) <= WORD else _long_distance(one, other)
                totals[max(len(one), len(other))] += distance * counts[i] * counts[j]
            masks[one] = np.uint64(0)
    return totals


@njit(cache=True)
def _distance(masks: np.ndarray, length: int, other: np.ndarray) -> int:
    """From the string of `masks`, of `length` up to 64, to `other`."""
    if length == 0:
        return len(other)
    one = np.uint64(1)
    increases, decreases = ~np.uint64(0), np.uint64(0)  # down the column
    last = one << np.uint64(length - 1)
    distance = length
    for symbol in other:
        equal = masks[symbol]
        stays = equal | decreases
        runs = (((equal & increases) + increases) ^ increases) | equal
        across_up = decreases | ~(runs | increases)
        across_down = increases & runs
        if across_up & last:
            distance += 1
        if across_down & last:
            distance -= 1
        across_up = (across_up << one) | one
        across_down <<= one
        increases = across_down | ~(stays | across_up)
        decreases = across_up & stays
    return distance


@njit(cache=True)
def _long_distance(one: np.ndarray, other: np.ndarray) -> int:
    """By the table, a row at a time."""
    row = np.arange(len(other) + 1)
    for i in range(len(one)):
        diagonal, row[0] = row[0], i + 1
        for j in range(len(other)):
            replaced = diagonal + (one[i] != other[j])
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
    return row[-1]
