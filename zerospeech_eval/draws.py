"""Reproducible draws: every name has a random number of its own, and the lowest ones are drawn.

A draw then depends on the seed and on names alone, not on their order, nor on what else there is to draw from.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numba import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def hash_names(names: Sequence[str]) -> np.ndarray:
    """A 64-bit number for every name, `(n,)` uint64."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype=np.uint64)


@njit(cache=True, nogil=True)
def mix(key: np.uint64, value: np.uint64) -> np.uint64:
    """Fold a value into a key, by the finaliser of splitmix64."""
    z = (key ^ value) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def mix_columns(seed: int, columns: np.ndarray) -> np.ndarray:
    """Random numbers `(n,)` uint64 for the rows of `(n, columns)` uint64."""
    result = np.empty(len(columns), dtype=np.uint64)
    for row in range(len(columns)):
        key = mix(np.uint64(0), np.uint64(seed))
        for value in columns[row]:
            key = mix(key, value)
        result[row] = key
    return result


@njit(cache=True, nogil=True)
def draw_partners(
    partners: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    sides: np.ndarray,
    keys: np.ndarray,
    names: np.ndarray,
    most: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keep `most` of the partners of every bucket: those whose name, mixed with the bucket's key, is lowest.

    Args:
        partners: buckets, `(m,)`; bucket k may have `partners[first[k]:last[k]]` with other sides than its own.
        first: `(n,)`.
        last: `(n,)`.
        sides: `(n, columns)`; partners differ in all of them.
        keys: `(n,)` uint64.
        names: `(n,)` uint64.
        most: partners to keep.

    Returns:
        New `partners`, `first` and `last`; partners stay in order.
    """
    bounds = np.zeros(len(first) + 1, dtype=np.int64)
    for bucket in range(len(first)):
        bounds[bucket + 1] = bounds[bucket] + min(most, last[bucket] - first[bucket])
    kept = np.empty(bounds[-1], dtype=partners.dtype)
    last_kept = bounds[:-1].copy()
    for bucket in range(len(first)):
        candidates = partners[first[bucket] : last[bucket]]
        candidates = candidates[np.array([(sides[other] != sides[bucket]).all() for other in candidates])]
        if len(candidates) > most:
            priorities = np.array([mix(keys[bucket], names[other]) for other in candidates])
            candidates = np.sort(candidates[np.argsort(priorities)[:most]])
        last_kept[bucket] += len(candidates)
        kept[bounds[bucket] : last_kept[bucket]] = candidates
    return kept, bounds[:-1], last_kept
