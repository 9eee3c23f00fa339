"""The best one-to-one assignment: shortest augmenting paths (Kuhn, 1955; Jonker and Volgenant, 1987)."""

import numpy as np


def best_assignment(gains: np.ndarray) -> np.ndarray:
    """Give rows different columns so that the sum of their gains is as large as can be.

    Takes rows² · columns steps, a row of columns at a time.

    Args:
        gains: `(N, M)`.

    Returns:
        The column of every row, `(N,)`; -1 for the rows left over where N > M.
    """
    n, m = gains.shape
    if n > m:
        rows = best_assignment(gains.T)
        columns = np.full(n, -1)
        columns[rows] = np.arange(m)
        return columns
    costs = gains.max(initial=0) - gains.astype(np.float64)
    row_price, column_price = np.zeros(n), np.zeros(m)
    row_of = np.full(m, -1)
    for row in range(n):
        # Dijkstra from this row over reduced costs, until it reaches a column that is free.
        distance, before = np.full(m, np.inf), np.full(m, -1)
        done = np.zeros(m, dtype=bool)
        current, reached, column = row, 0.0, -1
        while True:
            through = reached + costs[current] - row_price[current] - column_price
            nearer = ~done & (through < distance)
            distance[nearer], before[nearer] = through[nearer], column
            column = int(np.argmin(np.where(done, np.inf, distance)))
            done[column], reached = True, float(distance[column])
            if row_of[column] < 0:
                break
            current = int(row_of[column])
        # Prices keep every reduced cost at 0 or more, and those of the assignment at 0.
        gap = np.where(done, reached - distance, 0.0)
        column_price -= gap
        row_price[row] += reached
        others = done & (row_of >= 0)
        row_price[row_of[others]] += gap[others]
        while column >= 0:  # shift the assignment along the path
            previous = int(before[column])
            row_of[column] = row_of[previous] if previous >= 0 else row
            column = previous
    columns = np.full(n, -1)
    columns[row_of[row_of >= 0]] = np.flatnonzero(row_of >= 0)
    return columns
