"""An n-gram model as a deterministic automaton, for a search that asks for one token at a time.

A state is the longest n-gram, shorter than the order, that what was read ends with. States and n-grams share their
numbers: n-gram e, counted through all orders, leads into state e + 1, and state 0 is the empty history. With s' the
state of the longest proper suffix of s that has one, and the interpolation of `units.kneser_ney`,

    p(w | s) = discounted(sw) + γ(s) p(w | s'),     p(w | 0) = discounted(w) + γ(0) / (K + 1).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numba import njit

from units.kneser_ney import NgramModel

LEAST = 1e-99  # what is never predicted; ARPA files write it as -99
LARGEST_TABLE = 1 << 21  # log-probabilities; those of more states and tokens are looked for in every step


class Automaton(NamedTuple):
    """E n-grams of all orders and Q states.

    Shape:
        tokens: `(E,)` last token, ascending among the n-grams that continue one state.
        discounted: `(E,)` part of the probability that is the n-gram's own.
        first: `(Q + 1,)` the n-grams that continue state q are first[q]..first[q + 1].
        backoff: `(Q,)` γ.
        suffix: `(Q,)` state to back off to.
        log_probs: `(Q, K + 1)` of every token in every state, `(0, 0)` if that is too much.
        targets: `(Q, K + 1)` the states after them, likewise.
        start: state at the beginning of an utterance.
        boundary: the token that ends one, K.
    """

    tokens: np.ndarray
    discounted: np.ndarray
    first: np.ndarray
    backoff: np.ndarray
    suffix: np.ndarray
    log_probs: np.ndarray
    targets: np.ndarray
    start: int
    boundary: int

    @classmethod
    def of(cls, model: NgramModel) -> "Automaton":
        """Build one; it gives the probabilities of the model."""
        sizes = [len(table.keys) for table in model.tables]
        offsets = np.concatenate([[0], np.cumsum(sizes)])  # of every order's first n-gram
        states = np.concatenate([[0, 1], 1 + offsets[1:-1]])  # of every order's first state; order 0 has one
        n_states = 1 + int(offsets[-2])
        parents, tokens, first = [], [], [np.zeros(1, dtype=np.int64)]
        for m, table in enumerate(model.tables):
            history, last = np.divmod(table.keys, model.size)
            parents.append(states[m] + history)
            tokens.append(last)
            first.append(offsets[m] + np.searchsorted(history, np.arange(len(table.backoff)), side="right"))
        automaton = cls(
            np.concatenate(tokens).astype(np.int64),
            np.concatenate([table.discounted for table in model.tables]).astype(np.float64),
            np.concatenate(first).astype(np.int64),
            np.concatenate([table.backoff for table in model.tables]).astype(np.float64),
            np.zeros(n_states, dtype=np.int64),
            np.empty((0, 0)),
            np.empty((0, 0), dtype=np.int64),
            0,
            model.k,
        )
        _link(automaton, np.concatenate(parents), sizes[0])
        if n_states * model.size <= LARGEST_TABLE:
            log_probs, targets = _tables(automaton)
            automaton = automaton._replace(log_probs=log_probs, targets=targets)
        start = 1 + int(find(automaton, 0, model.k)) if model.order > 1 else 0
        return automaton._replace(start=start)

    def log_prob(self, tokens: Iterable[int]) -> float:
        """Natural log of the probability of an utterance, with its end."""
        total, state = 0.0, self.start
        for token in [*tokens, self.boundary]:
            log_prob, state = step(self, state, token)
            total += log_prob
        return total


@njit(cache=True)
def find(automaton: Automaton, state: int, token: int) -> int:
    """The n-gram that continues a state by a token; -1 where there is none."""
    low, high = automaton.first[state], automaton.first[state + 1]
    end = high
    while low < high:
        middle = (low + high) // 2
        if automaton.tokens[middle] < token:
            low = middle + 1
        else:
            high = middle
    return low if low < end and automaton.tokens[low] == token else -1


@njit(cache=True)
def step(automaton: Automaton, state: int, token: int) -> tuple[float, int]:
    """Natural log of the probability of a token in a state, and the state after it."""
    if len(automaton.log_probs):
        return automaton.log_probs[state, token], automaton.targets[state, token]
    return _computed_step(automaton, state, token)


@njit(cache=True)
def _computed_step(automaton: Automaton, state: int, token: int) -> tuple[float, int]:
    probability, share, target = 0.0, 1.0, -1
    while True:
        found = find(automaton, state, token)
        if found >= 0:
            probability += share * automaton.discounted[found]
            if target < 0 and found + 1 < len(automaton.backoff):
                target = found + 1
        share *= automaton.backoff[state]
        if state == 0:
            break
        state = automaton.suffix[state]
    probability += share / (automaton.boundary + 1)
    return math.log(max(probability, LEAST)), max(target, 0)


@njit(cache=True)
def _tables(automaton: Automaton) -> tuple[np.ndarray, np.ndarray]:
    """All steps there are."""
    shape = len(automaton.backoff), automaton.boundary + 1
    log_probs, targets = np.empty(shape), np.empty(shape, dtype=np.int64)
    for state in range(shape[0]):
        for token in range(shape[1]):
            log_probs[state, token], targets[state, token] = _computed_step(automaton, state, token)
    return log_probs, targets


@njit(cache=True)
def _link(automaton: Automaton, parents: np.ndarray, n_unigrams: int) -> None:
    """Fill in the suffixes, from short to long. A pruned model may lack some: then the next shorter one counts."""
    for state in range(1 + n_unigrams, len(automaton.backoff)):
        token = automaton.tokens[state - 1]
        shorter = automaton.suffix[parents[state - 1]]
        found = find(automaton, shorter, token)
        while found < 0 and shorter > 0:
            shorter = automaton.suffix[shorter]
            found = find(automaton, shorter, token)
        automaton.suffix[state] = max(found + 1, 0)
