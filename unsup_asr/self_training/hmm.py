r"""A hidden Markov model of phones: one state each, the bigrams of text between them.

A state is left for another one with the probability of the bigram, or stays. What a frame says of a phone is how much
likelier the network finds it than it is on the whole, (p(v | x) / p(v))^scale. A bonus for every new phone sets how
many there are: without it the chain prefers to stay, and half of the phones are lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from units.kneser_ney import NgramModel

HALVINGS = 16
LARGEST_BONUS = 32.0


@dataclass(frozen=True)
class Hmm:
    """Natural logs: `initial` `(V,)`, `moves` `(V, V)` from row to column, `final` `(V,)`."""

    initial: np.ndarray
    moves: np.ndarray
    final: np.ndarray

    @classmethod
    def of_text(cls, sentences: Sequence[np.ndarray], n_phones: int, stay: float) -> "Hmm":
        """Bigrams (modified Kneser-Ney) of sentences `(N,)`, in which equal neighbours are one.

        Args:
            sentences: phones.
            n_phones: V.
            stay: probability that the next frame is of the same phone.
        """
        bigrams = NgramModel.fit([joined(sentence) for sentence in sentences], n_phones, 2)
        following = np.stack([bigrams.distribution([phone]) for phone in range(n_phones)])  # (V, V + 1)
        np.fill_diagonal(following, 0)
        following /= following.sum(axis=1, keepdims=True)
        moves = (1 - stay) * following[:, :-1]
        np.fill_diagonal(moves, stay)
        initial = bigrams.distribution([])[:-1]
        logs = (np.log(np.maximum(p, 1e-30)).astype(np.float32) for p in (initial, moves, following[:, -1]))
        return cls(*logs)

    def with_bonus(self, bonus: float) -> "Hmm":
        """The same, with a bonus for every phone but the first."""
        moves = self.moves + np.float32(bonus)
        np.fill_diagonal(moves, self.moves.diagonal())
        return Hmm(self.initial, moves, self.final)

    def viterbi(self, scores: np.ndarray) -> np.ndarray:
        """Scores of phones in every frame `(T, V)` → the best phones `(T,)`."""
        if len(scores) == 0:
            return np.empty(0, dtype=np.int64)
        return _viterbi(self.initial, self.moves, self.final, np.ascontiguousarray(scores, dtype=np.float32))

    def posteriors(self, scores: np.ndarray) -> np.ndarray:
        """Scores `(T, V)` → probability `(T, V)` of every phone in every frame, given all of the utterance."""
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
def _viterbi(initial: np.ndarray, moves: np.ndarray, final: np.ndarray, scores: np.ndarray) -> np.ndarray:
    n_frames, n_phones = scores.shape
    origins = np.zeros((n_frames, n_phones), dtype=np.int16)
    best = initial + scores[0]
    for t in range(1, n_frames):
        reached = np.full(n_phones, -np.inf, dtype=np.float32)
        origin = np.zeros(n_phones, dtype=np.int16)
        for before in range(n_phones):
            so_far = best[before]
            for phone in range(n_phones):
                score = so_far + moves[before, phone]
                if score > reached[phone]:
                    reached[phone] = score
                    origin[phone] = before
        origins[t] = origin
        best = reached + scores[t]
    path = np.empty(n_frames, dtype=np.int64)
    path[-1] = np.argmax(best + final)
    for t in range(n_frames - 1, 0, -1):
        path[t - 1] = origins[t, path[t]]
    return path


@numba.njit(nogil=True, cache=True)
def _posteriors(initial: np.ndarray, moves: np.ndarray, final: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Forward and backward, on probabilities that are scaled in every frame."""
    n_frames, n_phones = scores.shape
    forward = np.empty((n_frames, n_phones), dtype=np.float32)
    reached = initial * scores[0]
    forward[0] = reached / reached.sum()
    for t in range(1, n_frames):
        reached = (forward[t - 1] @ moves) * scores[t]
        forward[t] = reached / reached.sum()
    backward = final / final.sum()
    moves_back = np.ascontiguousarray(moves.T)
    for t in range(n_frames - 1, -1, -1):
        joint = forward[t] * backward
        forward[t] = joint / joint.sum()
        if t:
            before = (scores[t] * backward) @ moves_back
            backward = before / before.sum()
    return forward
