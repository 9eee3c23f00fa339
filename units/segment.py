"""Units that last: duration-penalised segmentation, of whole utterances or of a stream.

Kamper & van Niekerk 2021, "Towards unsupervised phone and word segmentation using self-supervised vector-quantized
neural networks".

Of all unit sequences z the one is chosen that minimises

    Σ_t |x_t − c(z_t)|²  +  λ · #{t : z_t ≠ z_{t−1}}

exactly, by dynamic programming over time. Only the cheapest code so far can be the origin of a change, so a frame costs
O(K), not O(K²), and one bit a code is all that tracing back needs.
"""

import numba
import numpy as np


def segment(distances: np.ndarray, penalty: float) -> np.ndarray:
    """Cost of each code in each frame `(T, K)` and the price of a change → units `(T,)`.

    Ties keep the unit that lasts, then take the lower code.
    """
    if len(distances) == 0:
        return np.empty(0, dtype=np.int64)
    cost = np.zeros(distances.shape[1])
    changed, origins = _advance(distances, penalty, cost, 0)
    return _trace(changed, origins, int(np.argmin(cost)))


class SegmentStream:
    """The same units, as soon as they are certain: whatever comes later, the best sequence begins with them.

    Args:
        penalty: price of a change.
    """

    def __init__(self, penalty: float) -> None:
        self._penalty = penalty
        self._cost: np.ndarray | None = None  # (K,) of the best sequence that ends in each code
        self._seen = 0
        self._changed = np.empty((0, 0), dtype=np.bool_)  # of the frames that are not certain yet
        self._origins = np.empty(0, dtype=np.int64)

    def push(self, distances: np.ndarray) -> np.ndarray:
        """Costs of the next frames `(T, K)` → the units that have become certain `(n,)`."""
        if len(distances) == 0:
            return np.empty(0, dtype=np.int64)
        if self._cost is None:
            self._cost = np.zeros(distances.shape[1])
            self._changed = np.empty((0, distances.shape[1]), dtype=np.bool_)
        changed, origins = _advance(distances, self._penalty, self._cost, self._seen)
        self._seen += len(distances)
        self._changed = np.concatenate([self._changed, changed])
        self._origins = np.concatenate([self._origins, origins])
        count, last = _certain(self._changed, self._origins)
        units = _trace(self._changed[:count], self._origins[:count], last)
        self._changed, self._origins = self._changed[count:], self._origins[count:]
        return units

    def finish(self) -> np.ndarray:
        """The rest of the units; another utterance may follow."""
        last = 0 if self._cost is None else int(np.argmin(self._cost))
        units = _trace(self._changed, self._origins, last)
        self._cost, self._seen, self._origins = None, 0, np.empty(0, dtype=np.int64)
        return units


@numba.njit(nogil=True, cache=True)
def _advance(distances: np.ndarray, penalty: float, cost: np.ndarray, seen: int) -> tuple[np.ndarray, np.ndarray]:
    """Add frames `(T, K)`, after `seen` others, to the cost `(K,)` of the best sequence ending in each code, in place.

    Returns:
        Whether the best sequence ending in a code came from another `(T, K)`, and from which `(T,)`.
    """
    n_frames, k = distances.shape
    changed = np.zeros((n_frames, k), dtype=np.bool_)
    origins = np.zeros(n_frames, dtype=np.int64)
    for t in range(n_frames):
        if seen + t > 0:
            origins[t] = np.argmin(cost)
            limit = cost[origins[t]] + penalty
            for code in range(k):
                changed[t, code] = cost[code] > limit
                cost[code] = min(cost[code], limit)
        for code in range(k):
            cost[code] += distances[t, code]
    return changed, origins


@numba.njit(nogil=True, cache=True)
def _trace(changed: np.ndarray, origins: np.ndarray, last: int) -> np.ndarray:
    """Units `(T,)` of the best sequence whose last unit is `last`."""
    units = np.empty(len(origins), dtype=np.int64)
    code = last
    for t in range(len(origins) - 1, -1, -1):
        units[t] = code
        if changed[t, code]:
            code = origins[t]
    return units


@numba.njit(nogil=True, cache=True)
def _certain(changed: np.ndarray, origins: np.ndarray) -> tuple[int, int]:
    """How many of the first frames have the same units whatever the last one is, and the last of these units."""
    alive = np.ones(changed.shape[1], dtype=np.bool_)  # codes in frame t of a sequence that may still win
    count = changed.shape[1]
    for t in range(len(origins) - 1, -1, -1):
        if count == 1:
            return t + 1, int(np.argmax(alive))
        any_changed = False
        for code in range(len(alive)):
            if alive[code] and changed[t, code]:
                alive[code] = False
                count -= 1
                any_changed = True
        if any_changed and not alive[origins[t]]:
            alive[origins[t]] = True
            count += 1
    return 0, 0
