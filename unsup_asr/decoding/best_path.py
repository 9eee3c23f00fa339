"""The likeliest path through the rows of a recogniser: free (greedy), or through given phones (where they lie).

A path gives every row one column. Neighbours of one phone are that phone once, and blanks are nothing.
"""

import math

import numpy as np
from numba import njit

from unsup_asr.recognizers import Topology


def greedy(log_probs: np.ndarray, topology: Topology) -> np.ndarray:
    """Rows `(N, V)`, in ctc `(N, V + 1)` → phones `(M,)` of the likeliest path."""
    return collapsed(log_probs.argmax(axis=1), log_probs.shape[1], topology)


def collapsed(path: np.ndarray, n_columns: int, topology: Topology) -> np.ndarray:
    """Columns `(N,)` of a path → its phones `(M,)`; in ctc the last column is the blank."""
    phones = path[np.concatenate([[True], path[1:] != path[:-1]])] if len(path) else path
    return phones[phones != n_columns - 1] if topology == "ctc" else phones


def spans(log_probs: np.ndarray, phones: np.ndarray, topology: Topology) -> np.ndarray:
    """First row and the row after the last `(M, 2)` of every phone on the likeliest path through phones `(M,)`.

    Raises:
        ValueError: no path has these phones, as there are more of them than rows, or equal ones meet without a blank.
    """
    if not len(phones):
        return np.empty((0, 2), dtype=np.int64)
    # The states that a path goes through, in order: the phones, in ctc with blanks around.
    if topology == "ctc":
        states = np.full(2 * len(phones) + 1, log_probs.shape[1] - 1)
        states[1::2] = phones
    else:
        states = np.asarray(phones)
        if (states[1:] == states[:-1]).any():
            raise ValueError("equal neighbours are one phone")
    path = _path(np.asarray(log_probs, dtype=np.float64), states.astype(np.int64), topology == "ctc")
    if not len(path):
        raise ValueError(f"{len(log_probs)} rows have no path through {len(phones)} phones")
    places = np.arange(1, len(states), 2) if topology == "ctc" else np.arange(len(states))
    return np.stack([np.searchsorted(path, places), np.searchsorted(path, places, side="right")], axis=1)


@njit(cache=True)
def _path(log_probs: np.ndarray, states: np.ndarray, skips_blanks: bool) -> np.ndarray:  # noqa: FBT001
    """State `(N,)` of every row, never falling; empty where there is no path."""
    n, m = len(log_probs), len(states)
    score = np.full(m, -math.inf)
    steps = np.zeros((n, m), dtype=np.int8)  # how many states the path came up by
    for row in range(n):
        before = score.copy()
        for state in range(m):
            best, by = before[state], 0
            if row == 0:
                best = 0.0 if state == 0 or (skips_blanks and state == 1) else -math.inf
            else:
                if state >= 1 and before[state - 1] > best:
                    best, by = before[state - 1], 1
                # From phone to phone, over a blank that is not needed.
                over = skips_blanks and state >= 2 and state % 2 == 1 and states[state] != states[state - 2]
                if over and before[state - 2] > best:
                    best, by = before[state - 2], 2
            score[state] = best + log_probs[row, states[state]]
            steps[row, state] = by
    state = m - 1
    if skips_blanks and score[m - 2] > score[m - 1]:
        state = m - 2
    if score[state] == -math.inf:
        return np.empty(0, dtype=np.int64)
    path = np.empty(n, dtype=np.int64)
    for row in range(n - 1, -1, -1):
        path[row] = state
        state -= steps[row, state]
    return path
