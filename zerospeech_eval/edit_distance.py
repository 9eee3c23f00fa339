"""Edit distance between sequences of units: insertions, deletions and substitutions cost 1 each."""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def edit_pairs(
    rows: np.ndarray,
    row_bounds: np.ndarray,
    columns: np.ndarray,
    column_bounds: np.ndarray,
    wanted: np.ndarray,
    normalise: bool,  # noqa: FBT001
    distances: np.ndarray,
) -> None:
    """Levenshtein distances between tokens, which are symmetric.

    Args:
        rows: keys of units; token i has `rows[row_bounds[i]:row_bounds[i + 1]]`.
        row_bounds: `(n + 1,)`.
        columns: like `rows`.
        column_bounds: `(m + 1,)`.
        wanted: `(n, m)` booleans; other pairs are left alone.
        normalise: divide by the length of the longer sequence.
        distances: `(n, m)` float64, to fill.
    """
    above = np.empty(np.max(column_bounds[1:] - column_bounds[:-1]) + 1, dtype=np.int64)
    for i in range(len(row_bounds) - 1):
        x = rows[row_bounds[i] : row_bounds[i + 1]]
        for j in range(len(column_bounds) - 1):
            if not wanted[i, j]:
                continue
            y = columns[column_bounds[j] : column_bounds[j + 1]]
            for place in range(len(y) + 1):
                above[place] = place
            for unit in x:
                diagonal = above[0]
                above[0] += 1
                for place in range(len(y)):
                    substituted = diagonal + (unit != y[place])
                    diagonal = above[place + 1]
                    above[place + 1] = min(substituted, min(above[place], above[place + 1]) + 1)
            distances[i, j] = above[len(y)] / max(len(x), len(y)) if normalise else above[len(y)]


def drop_repeats(keys: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse runs of equal keys within each token: the keys that are left, and the new bounds."""
    kept = np.ones(len(keys), dtype=bool)
    kept[1:] = keys[1:] != keys[:-1]
    kept[bounds[:-1]] = True
    return keys[kept], np.append(0, np.cumsum(kept))[bounds]
