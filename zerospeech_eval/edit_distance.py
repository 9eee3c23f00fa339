"""Edit distance between sequences of units: insertions, deletions and substitutions cost 1 each."""

import numpy as np
from numba import njit

from units.compare import edit_distance


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
    for i in range(len(row_bounds) - 1):
        x = rows[row_bounds[i] : row_bounds[i + 1]]
        for j in range(len(column_bounds) - 1):
            if wanted[i, j]:
                y = columns[column_bounds[j] : column_bounds[j + 1]]
                edits = edit_distance(x, y)
                distances[i, j] = edits / max(len(x), len(y)) if normalise else edits


def drop_repeats(keys: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Collapse runs of equal keys within each token: the keys that are left, and the new bounds."""
    kept = np.ones(len(keys), dtype=bool)
    kept[1:] = keys[1:] != keys[:-1]
    kept[bounds[:-1]] = True
    return keys[kept], np.append(0, np.cumsum(kept))[bounds]
