"""Dynamic time warping of all pairs of tokens, on a matrix of frame distances that are integers.

    C[i, j] = d[i, j] + min(C[i-1, j-1], C[i, j-1], C[i-1, j])        d(x, y) = C[last, last] / length of the path

The path runs back from the last cell: diagonal if that is no worse than both others, else left (j-1) if that is no
worse than up, else up. Any step is allowed and none is weighted, as in ABXpy, Libri-light and fastabx.

Frame distances come as integers (see `distances`), so sums are exact in any order and ties are ties. C is symmetric,
but the length of the path need not be: where left equals up and both beat the diagonal, d(x, y) and d(y, x) may leave
each other. One lattice gives both: the second walk, with up preferred, is made only if the first met such a tie.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def accumulate(costs: np.ndarray, rows: np.ndarray, columns: np.ndarray, lattice: np.ndarray) -> None:
    """Fill `lattice[:n, :m]`; the cost of cell (i, j) is `costs[rows[i], columns[j]]`, by unsigned indices."""
    n, m = len(rows), len(columns)
    row = costs[rows[0]]
    total = np.int64(0)
    for j in range(m):
        total += row[columns[j]]
        lattice[0, j] = total
    for i in range(1, n):
        row, above, here = costs[rows[i]], lattice[i - 1], lattice[i]
        diagonal = above[0]
        left = diagonal + row[columns[0]]
        here[0] = left
        for j in range(1, m):
            up = above[j]
            # `left` is compared last: it is the only one of the three that has to be waited for.
            left = min(diagonal, up, left) + row[columns[j]]
            here[j] = left
            diagonal = up


@njit(cache=True, nogil=True)
def path_length(lattice: np.ndarray, n: int, m: int, prefer_left: bool) -> tuple[int, bool]:  # noqa: FBT001
    """Cells on the path through `lattice[:n, :m]`, and whether left and up tied anywhere on it."""
    i, j = n - 1, m - 1
    length = 1
    tied = False
    while i > 0 and j > 0:
        diagonal, left, up = lattice[i - 1, j - 1], lattice[i, j - 1], lattice[i - 1, j]
        if diagonal <= left and diagonal <= up:
            i -= 1
            j -= 1
        else:
            tied |= left == up
            if left < up or (prefer_left and left == up):
                j -= 1
            else:
                i -= 1
        length += 1
    return length + i + j, tied


@njit(cache=True, nogil=True)
def align_pairs(
    costs: np.ndarray,
    unit: float,
    rows: np.ndarray,
    row_bounds: np.ndarray,
    columns: np.ndarray,
    column_bounds: np.ndarray,
    wanted: np.ndarray,
    forward: np.ndarray,
    backward: np.ndarray,
) -> None:
    """Distances between tokens, in both directions.

    Args:
        costs: `(U, V)` int32 distances between distinct frames, in multiples of `unit`.
        unit: turns the result into a distance.
        rows: row of `costs` of every frame of the row tokens, uint32 (numba tests signed indices for being negative);
            token i has `rows[row_bounds[i]:row_bounds[i + 1]]`.
        row_bounds: `(n + 1,)`.
        columns: like `rows`.
        column_bounds: `(m + 1,)`.
        wanted: `(n, m)` booleans; other pairs are left alone.
        forward: `(n, m)` float64, filled with d(row, column).
        backward: `(m, n)` float64, filled with d(column, row) of the same costs; or empty.
    """
    longest_row = np.max(row_bounds[1:] - row_bounds[:-1])
    longest_column = np.max(column_bounds[1:] - column_bounds[:-1])
    lattice = np.empty((longest_row, longest_column), dtype=np.int64)
    for i in range(len(row_bounds) - 1):
        row_frames = rows[row_bounds[i] : row_bounds[i + 1]]
        n = len(row_frames)
        for j in range(len(column_bounds) - 1):
            if not wanted[i, j]:
                continue
            column_frames = columns[column_bounds[j] : column_bounds[j + 1]]
            m = len(column_frames)
            accumulate(costs, row_frames, column_frames, lattice)
            total = lattice[n - 1, m - 1]
            length, tied = path_length(lattice, n, m, True)
            # Equal fractions round to equal numbers, so the order of operations matters: divide first.
            forward[i, j] = total / length * unit
            if backward.size > 0:
                if tied:
                    length, _ = path_length(lattice, n, m, False)
                backward[j, i] = total / length * unit
