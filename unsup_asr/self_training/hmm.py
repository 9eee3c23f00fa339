r"""A hidden Markov model of phones, with the bigrams or trigrams of text between them.

A state is a phone and what is remembered from before it: with bigrams nothing, with trigrams the phone before. It
stays, or is left for another phone with the probability of the n-gram. What a frame says of a phone is how much
likelier the network finds it than it is on the whole, (p(v | x) / p(v))^scale. A bonus for every new phone sets how
many there are: without it the chain prefers to stay, and half of the phones are lost.

Pairs of 47 phones are 2,256 states, of which few are likely at any one time: only those are followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numba
import numpy as np

from units.kneser_ney import NgramModel

HALVINGS = 11  # to a hundredth of a nat
LARGEST_BONUS = 16.0
BEAM = 10.0  # nats behind the best path at which another one is given up
LEAST_SHARE = 1e-8  # of all paths to a frame; states that fewer of them lead to are given up


@dataclass(frozen=True)
class Hmm:
    """Natural logs over V phones and H memories: 1 with bigrams; V + 1 with trigrams, the last before the first phone.

    Attributes:
        initial: `(V,)` of the first phone.
        moves: `(H, V, V)` from memory and phone to another phone; the diagonal is of staying.
        final: `(H, V)` of the end.
    """

    initial: np.ndarray
    moves: np.ndarray
    final: np.ndarray

    @classmethod
    def of_text(cls, sentences: Sequence[np.ndarray], n_phones: int, stay: float, order: int) -> "Hmm":
        """N-grams (modified Kneser-Ney) of sentences `(N,)`, in which equal neighbours are one.

        Args:
            sentences: phones.
            n_phones: V.
            stay: probability that the next frame is of the same phone.
            order: 2 or 3.
        """
        ngrams = NgramModel.fit([joined(sentence) for sentence in sentences], n_phones, order)
        memories: list[list[int]] = [[]] if order == 2 else [*([phone] for phone in range(n_phones)), []]
        following = np.array(
            [[ngrams.distribution([*memory, phone]) for phone in range(n_phones)] for memory in memories]
        )  # (H, V, V + 1)
        phones = np.arange(n_phones)
        following[:, phones, phones] = 0
        following /= following.sum(axis=2, keepdims=True)
        moves = (1 - stay) * following[:, :, :-1]
        moves[:, phones, phones] = stay
        initial = ngrams.distribution([])[:-1]
        logs = (np.log(np.maximum(p, 1e-30)).astype(np.float32) for p in (initial, moves, following[:, :, -1]))
        return cls(*logs)

    @classmethod
    def without_text(cls, n_phones: int, stay: float) -> "Hmm":
        """Every phone follows every other with the same probability."""
        moves = np.full((1, n_phones, n_phones), (1 - stay) / max(1, n_phones - 1))
        moves[:, np.arange(n_phones), np.arange(n_phones)] = stay
        initial, final = np.full(n_phones, 1 / n_phones), np.ones((1, n_phones))
        return cls(*(np.log(p).astype(np.float32) for p in (initial, moves, final)))

    def with_bonus(self, bonus: float) -> "Hmm":
        """The same, with a bonus for every phone but the first."""
        phones = np.arange(len(self.initial))
        moves = self.moves + np.float32(bonus)
        moves[:, phones, phones] = self.moves[:, phones, phones]
        return replace(self, moves=moves)

    def viterbi(self, scores: np.ndarray, beam: float = BEAM) -> np.ndarray:
        """Scores of phones in every frame `(T, V)` → the best phones `(T,)`; exactly so with an infinite beam."""
        if len(scores) == 0:
            return np.empty(0, dtype=np.int64)
        scores = np.ascontiguousarray(scores, dtype=np.float32)
        return _viterbi(self.initial, self.moves, self.final, scores, np.float32(beam))

    def posteriors(self, scores: np.ndarray) -> np.ndarray:
        """Scores `(T, V)` → probability `(T, V)` of every phone in every frame, given all of the utterance.

        Forward and backward over all states, so the whole n-gram has its say.
        """
        if len(scores) == 0:
            return np.empty_like(scores, dtype=np.float32)
        largest = scores.max(axis=1, keepdims=True)
        arrays = (np.exp(logs).astype(np.float32) for logs in (self.initial, self.moves, self.final, scores - largest))
        return _posteriors(*arrays)


def joined(phones: np.ndarray) -> np.ndarray:
    """Phones `(T,)` with equal neighbours as one."""
    return phones[np.flatnonzero(np.diff(phones, prepend=-1))]


def bonus_for(hmm: Hmm, scores: Sequence[np.ndarray], phones_per_frame: float) -> float:
    """The bonus at which the best paths through scores `(T, V)` have so many phones a frame, by halving an interval."""
    wanted = phones_per_frame * sum(map(len, scores))
    low, high = -LARGEST_BONUS, LARGEST_BONUS
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        chain = hmm.with_bonus(middle)
        found = sum(len(joined(chain.viterbi(row))) for row in scores)
        low, high = (middle, high) if found < wanted else (low, middle)
    return (low + high) / 2


@numba.njit(nogil=True, cache=True)
def _viterbi(
    initial: np.ndarray, moves: np.ndarray, final: np.ndarray, scores: np.ndarray, beam: np.float32
) -> np.ndarray:
    """States are numbers memory × V + phone; `states[:n]` are those that paths reached, `best[:n]` their scores."""
    n_frames, n_phones = scores.shape
    n_states = final.size
    origins = np.empty((n_frames, n_states), dtype=np.int32)
    reached = np.full(n_states, -np.inf, dtype=np.float32)
    following = np.empty(n_states, dtype=np.int32)
    states = np.empty(n_states, dtype=np.int32)
    best = np.empty(n_states, dtype=np.float32)
    n = n_phones
    states[:n] = np.arange(n_states - n_phones, n_states)  # of the last memory, of nothing
    best[:n] = initial + scores[0]
    for t in range(1, n_frames):
        n_following = _leave(moves, states[:n], best[:n], beam, reached, origins[t], following)
        n = n_following
        for i in range(n):
            state = following[i]
            states[i] = state
            best[i] = reached[state] + scores[t, state % n_phones]
            reached[state] = -np.inf
    for i in range(n):
        best[i] += final[states[i] // n_phones, states[i] % n_phones]
    state = states[np.argmax(best[:n])]
    path = np.empty(n_frames, dtype=np.int64)
    path[-1] = state % n_phones
    for t in range(n_frames - 1, 0, -1):
        state = origins[t, state]
        path[t - 1] = state % n_phones
    return path


@numba.njit(nogil=True, cache=True)
def _leave(
    moves: np.ndarray,
    states: np.ndarray,
    best: np.ndarray,
    beam: np.float32,
    reached: np.ndarray,
    origins: np.ndarray,
    following: np.ndarray,
) -> int:
    """Where paths go from their states: fills `reached` and `origins` by state; returns how many are in `following`."""
    n_memories, n_phones = moves.shape[:2]
    lowest = best.max() - beam
    n = 0
    for i in range(len(states)):
        if best[i] < lowest:
            continue
        memory, phone = states[i] // n_phones, states[i] % n_phones
        first = phone * n_phones if n_memories > 1 else 0  # state of this memory and phone 0
        for after in range(n_phones):
            target = states[i] if after == phone else first + after
            score = best[i] + moves[memory, phone, after]
            if score > reached[target]:
                if reached[target] == -np.inf:
                    following[n] = target
                    n += 1
                reached[target] = score
                origins[target] = states[i]
    return n


@numba.njit(nogil=True, cache=True)
def _posteriors(initial: np.ndarray, moves: np.ndarray, final: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Forward and backward, on probabilities that are scaled in every frame."""
    n_frames, n_phones = scores.shape
    forward = np.zeros((n_frames, *final.shape), dtype=np.float32)
    reached = initial * scores[0]
    forward[0, -1] = reached / reached.sum()
    for t in range(1, n_frames):
        _forward(moves, scores[t], forward[t - 1], forward[t])
    found = np.zeros((n_frames, n_phones), dtype=np.float32)
    backward = final / final.sum()
    for t in range(n_frames - 1, -1, -1):
        joint = (forward[t] * backward).sum(axis=0)
        found[t] = joint / joint.sum()
        if t:
            backward = _backward(moves, scores[t], forward[t - 1], backward)
    return found


@numba.njit(nogil=True, cache=True)
def _forward(moves: np.ndarray, scores: np.ndarray, shares: np.ndarray, following: np.ndarray) -> None:
    """Shares of states `(H, V)` in one frame → those in the next, `following`, which is zero before."""
    n_memories, n_phones = shares.shape
    for memory in range(n_memories):
        for phone in range(n_phones):
            share = shares[memory, phone]
            if share < LEAST_SHARE:
                continue
            target = phone if n_memories > 1 else 0
            for after in range(n_phones):
                gained = share * moves[memory, phone, after] * scores[after]
                following[memory if after == phone else target, after] += gained
    following /= following.sum()


@numba.njit(nogil=True, cache=True)
def _backward(moves: np.ndarray, scores: np.ndarray, shares: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """How likely states `(H, V)` make what comes after one frame → the same before it, for those with a share there."""
    n_memories, n_phones = shares.shape
    before = np.zeros_like(backward)
    for memory in range(n_memories):
        for phone in range(n_phones):
            if shares[memory, phone] < LEAST_SHARE:
                continue  # whatever comes after it, nothing has led there
            target = phone if n_memories > 1 else 0
            likely = np.float32(0)
            for after in range(n_phones):
                goes_on = backward[memory if after == phone else target, after]
                likely += moves[memory, phone, after] * scores[after] * goes_on
            before[memory, phone] = likely
    return before / before.sum()
