"""Units that last: duration-penalised segmentation.

Kamper & van Niekerk 2021, "Towards unsupervised phone and word segmentation using self-supervised vector-quantized
neural networks".

Of all unit sequences z the one is chosen that minimises

    Σ_t |x_t − c(z_t)|²  +  λ · #{t : z_t ≠ z_{t−1}}

exactly, by dynamic programming over time. Only the cheapest code so far can be the origin of a change, so a frame costs
O(K), not O(K²).
"""

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def segment(distances: np.ndarray, penalty: float) -> np.ndarray:
    """Cost of each code in each frame `(T, K)` and the price of a change → units `(T,)`.

    Ties keep the unit that lasts, then take the lower code.
    """
    n_frames, k = distances.shape
    units = np.empty(n_frames, dtype=np.int64)
    if n_frames == 0:
        return units
    origin = np.empty((n_frames, k), dtype=np.int32)
    cost = distances[0].astype(np.float64)
    for t in range(1, n_frames):
        cheapest = np.argmin(cost)
        changed = cost[cheapest] + penalty
        for code in range(k):
            if cost[code] <= changed:
                origin[t, code] = code
            else:
                origin[t, code] = cheapest
                cost[code] = changed
            cost[code] += distances[t, code]
    units[-1] = np.argmin(cost)
    for t in range(n_frames - 1, 0, -1):
        units[t - 1] = origin[t, units[t]]
    return units
