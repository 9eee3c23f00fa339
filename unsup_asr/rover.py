"""Several transcripts of one utterance vote on what was said: ROVER (Fiscus 1997).

Transcripts are laid on each other, one after the other, in a row of slots; each slot holds what the transcripts say
there, which may be nothing, and the most votes win.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

NOWHERE = -1


@dataclass(frozen=True)
class Voting:
    """How votes count.

    Attributes:
        frequency: share of a vote that every symbol has, however unsure; the rest is its confidence (Fiscus's alpha).
        nothing: confidence of a transcript that has no symbol where others have one.
    """

    frequency: float = 1.0
    nothing: float = 0.5

    def __post_init__(self) -> None:
        if not (0 <= self.frequency <= 1 and 0 <= self.nothing <= 1):
            raise ValueError(f"frequency and nothing are shares in 0..1, not {self.frequency} and {self.nothing}")

    def votes(self, confidences: np.ndarray) -> np.ndarray:
        """What symbols of these confidences count."""
        return self.frequency + (1 - self.frequency) * confidences


@dataclass(frozen=True)
class Hypothesis:
    """A transcript: symbols, their confidences in 0..1 (1 each by default), and the weight of who wrote it."""

    symbols: Sequence[str]
    confidences: Sequence[float] | None = None
    weight: float = 1.0


def rover(hypotheses: Sequence[Hypothesis], voting: Voting = Voting()) -> list[str]:
    """The transcript that several agree on.

    The first hypothesis is what the second is laid on, and so on: give the best first. Of equal votes an earlier
    hypothesis's symbol wins, and any symbol against none.
    """
    names = list(dict.fromkeys(symbol for hypothesis in hypotheses for symbol in hypothesis.symbols))
    numbers = {name: number for number, name in enumerate(names)}
    slots = Slots(len(names))
    for hypothesis in hypotheses:
        symbols = np.array([numbers[symbol] for symbol in hypothesis.symbols], dtype=np.int64)
        given = hypothesis.confidences if hypothesis.confidences is not None else np.ones(len(symbols))
        votes = hypothesis.weight * voting.votes(np.asarray(given, dtype=np.float64))
        slots.add(symbols, votes, hypothesis.weight * float(voting.votes(np.array(voting.nothing))))
    return [names[winner] for winner in slots.winners().tolist() if winner < len(names)]


class Slots:
    """What several transcripts say, side by side.

    Attributes:
        said: `(M, V + 1)` whether somebody says a symbol in a slot; the last column is nothing.
        votes: `(M, V + 1)` for it.
        absent: votes for nothing in a slot that no transcript so far has.
    """

    def __init__(self, n_symbols: int) -> None:
        self.said = np.zeros((0, n_symbols + 1), dtype=np.bool_)
        self.votes = np.zeros((0, n_symbols + 1))
        self.absent = 0.0

    def add(self, symbols: np.ndarray, votes: np.ndarray, nothing: float) -> None:
        """Lay a transcript `(N,)` on them, with the votes `(N,)` of its symbols and its vote for nothing elsewhere."""
        slots, places = align(self.said, symbols)
        is_new, is_spoken = slots == NOWHERE, places != NOWHERE
        empty = np.zeros((1, self.said.shape[1]))
        self.said = np.vstack([self.said, empty.astype(np.bool_)])[slots]  # a new slot is the empty last row
        self.votes = np.vstack([self.votes, empty])[slots]
        if self.absent:
            self.said[is_new, -1], self.votes[is_new, -1] = True, self.absent
        rows, columns = np.flatnonzero(is_spoken), symbols[places[is_spoken]]
        self.said[rows, columns] = True
        self.votes[rows, columns] += votes[places[is_spoken]]
        self.said[~is_spoken, -1] = True
        self.votes[~is_spoken, -1] += nothing
        self.absent += nothing

    def winners(self) -> np.ndarray:
        """`(M,)` the column of each slot with the most votes; of equal ones the first, nothing last."""
        return np.where(self.said, self.votes, -1.0).argmax(axis=1)


def rover_all(
    transcripts: Sequence[Mapping[str, Sequence[str]]], weights: Sequence[float], voting: Voting = Voting()
) -> dict[str, list[str]]:
    """ROVER of every utterance; one that some transcripts lack is voted on by the others."""
    ids = list(dict.fromkeys(name for file in transcripts for name in file))
    found = {}
    for name in ids:
        present = [(file[name], weight) for file, weight in zip(transcripts, weights, strict=True) if name in file]
        found[name] = rover([Hypothesis(symbols, weight=weight) for symbols, weight in present], voting)
    return found


def align(said: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lay symbols on slots with the fewest disagreements.

    A symbol that a slot has costs nothing, nor does passing a slot in which somebody says nothing; everything else
    costs 1: another symbol, passing a slot, a new slot.

    Args:
        said: `(M, V + 1)` whether somebody says a symbol, the last being nothing, in a slot.
        symbols: `(N,)` in 0..V - 1.

    Returns:
        For every slot of the result, the slot it was and the place in `symbols`; -1 where there is none.
    """
    slots, places = _align(said, symbols)
    return slots[::-1], places[::-1]


def alignment_cost(said: np.ndarray, symbols: np.ndarray) -> int:
    """What `align` minimises."""
    return int(_costs(said, symbols)[-1, -1])


@njit(cache=True)
def _costs(said: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """Fewest disagreements `(M + 1, N + 1)` between the first slots and the first symbols."""
    n_slots, n_symbols, nothing = said.shape[0], len(symbols), said.shape[1] - 1
    cost = np.zeros((n_slots + 1, n_symbols + 1), dtype=np.int64)
    for i in range(n_slots + 1):
        for j in range(n_symbols + 1):
            if i == 0:
                cost[i, j] = j
                continue
            cost[i, j] = cost[i - 1, j] + (not said[i - 1, nothing])
            if j > 0:
                cost[i, j] = min(cost[i, j], cost[i - 1, j - 1] + (not said[i - 1, symbols[j - 1]]), cost[i, j - 1] + 1)
    return cost


@njit(cache=True)
def _align(said: np.ndarray, symbols: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A path of the lowest cost, from its end; symbols are laid on slots rather than beside them."""
    cost = _costs(said, symbols)
    i, j = said.shape[0], len(symbols)
    slots, places = np.full(i + j, NOWHERE), np.full(i + j, NOWHERE)
    n = 0
    while i > 0 or j > 0:
        if i > 0 and j > 0 and cost[i, j] == cost[i - 1, j - 1] + (not said[i - 1, symbols[j - 1]]):
            i, j = i - 1, j - 1
            slots[n], places[n] = i, j
        elif i > 0 and cost[i, j] == cost[i - 1, j] + (not said[i - 1, -1]):
            i -= 1
            slots[n] = i
        else:
            j -= 1
            places[n] = j
        n += 1
    return slots[:n], places[:n]
