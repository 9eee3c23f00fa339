"""Beam search for words through the rows of a recogniser, with a lexicon and an n-gram model of the words.

The score of words W and the phones X that they are heard as is

    log p(X | rows) + lm_weight · log p(W) + insertion · |words| + silence · |silences|,

where p(X | rows) is that of the likeliest path through X or, with `sum_paths`, the sum over all of its paths. A silence
may stand between words and at both ends; a model that knows the silence takes it for a word.

A hypothesis is where a path has got to: node of the lexicon, last phone, whether a blank came after it, state of the
n-gram model. Two that agree in this have the same future, and the better one is kept; for sums, they must also agree in
all that was written. With a beam wide enough the search is exact. Where there is no blank, equal neighbours are one
phone: then the last phone of a word may also be the first of the next ("its so"), which has another phone of its own.

Source: Graves & Jaitly 2014 (prefix search); the guidance of unfinished words by their likeliest end is that of
wav2letter's decoder (Collobert et al. 2016).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from unsup_asr.decoding.automaton import Automaton, step
from unsup_asr.decoding.lexicon import Tree

NONE = -1
SPREAD = -7046029254386353131  # 2⁶⁴ divided by the golden ratio, odd: Fibonacci hashing


class Weights(NamedTuple):
    """What the search goes by.

    Attributes:
        lm: of the n-gram model; not negative.
        insertions: `(W,)` score of every word.
        silence: score of a silence that is no word.
        beam: hypotheses kept after a row.
        threshold: those are dropped whose score is so much below the best.
        sum_paths: whether the paths of the same phones count together.
    """

    lm: float
    insertions: np.ndarray
    silence: float
    beam: int
    threshold: float
    sum_paths: bool


class Task(NamedTuple):
    """What is searched for.

    Attributes:
        blank: column of the blank; -1: there is none.
        silence: the phone that may stand between words without being one; -1: there is none.
        tree: the lexicon.
        automaton: the n-gram model.
        tokens: `(W,)` of the words in that model.
    """

    blank: int
    silence: int
    tree: Tree
    automaton: Automaton
    tokens: np.ndarray


class Found(NamedTuple):
    """The best hypothesis.

    Attributes:
        phones: `(M,)` with silences.
        words: `(W,)`.
        word_ends: `(W,)` how many of the phones there are up to the last of every word.
        score: see the module; minus infinity, and nothing found, if no hypothesis of the beam ended with a whole word.
    """

    phones: np.ndarray
    words: np.ndarray
    word_ends: np.ndarray
    score: float


# A hypothesis, or a move: one way on for it. `written` is the entry of `WRITTEN` with all that it wrote; of a move,
# `parent` is the hypothesis, `phone` and `word` what it adds, if anything, `identity` what must agree, with where it
# leads, for two to be one, and `slot` its place in the hash table.
HYPOTHESIS = np.dtype(
    [("score", "f8"), ("identity", "i8")]
    + [(name, "i4") for name in ("written", "node", "last", "after_blank", "state")]
    + [(name, "i4") for name in ("parent", "phone", "word", "slot")]
)
# A tree: every entry adds a phone, and a word where one ends, to what its parent has. Entry 0 is empty. Entries with
# one parent are a chain, from its `newest` by `before`.
WRITTEN = np.dtype([(name, "i4") for name in ("parent", "phone", "word", "newest", "before")])


def search(log_probs: np.ndarray, task: Task, weights: Weights) -> Found:
    """Find the best words in rows `(N, V)` of phones, or `(N, V + 1)` with the blank, natural logs."""
    ways = np.concatenate([[0], np.cumsum(1 + 2 * np.diff(task.tree.first_word)[task.tree.children])])
    most = weights.beam * (3 + int(np.diff(ways[task.tree.first_child]).max()))
    hypotheses, moves = np.zeros(weights.beam, HYPOTHESIS), np.empty(most, HYPOTHESIS)
    hypotheses[0]["last"], hypotheses[0]["state"] = NONE, task.automaton.start
    written = np.empty(len(log_probs) * weights.beam + 1, WRITTEN)
    written[:] = (NONE,) * 5
    table = np.full(1 << (2 * most).bit_length(), NONE)
    rows = np.asarray(log_probs, dtype=np.float64)
    phones, words, score = _search(rows, task, weights, hypotheses, moves, written, table)
    heard, said = phones != NONE, words != NONE
    return Found(phones[heard], words[said], np.cumsum(heard)[said], score)


@njit(cache=True)
def _search(
    log_probs: np.ndarray,
    task: Task,
    weights: Weights,
    hypotheses: np.ndarray,
    moves: np.ndarray,
    written: np.ndarray,
    table: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Phones and words of the best hypothesis, side by side, and its score."""
    count, n_written = 1, 1
    for row in range(len(log_probs)):
        n_moves = _move(hypotheses[:count], log_probs[row], task, weights, moves)
        n_moves = _join(moves[:n_moves], hypotheses, weights, written, table)
        count, n_written = _keep(moves[:n_moves], hypotheses, weights, written, n_written)
    winner, score = _finish(hypotheses[:count], task, weights)
    length, entry = 0, winner
    while entry > 0:
        length, entry = length + 1, written[entry].parent
    phones, words = np.empty(length, np.int64), np.empty(length, np.int64)
    while winner > 0:
        length -= 1
        phones[length], words[length] = written[winner].phone, written[winner].word
        winner = written[winner].parent
    return phones, words, score


@njit(cache=True)
def _move(hypotheses: np.ndarray, row: np.ndarray, task: Task, weights: Weights, moves: np.ndarray) -> int:  # noqa: C901
    """Write down all that the hypotheses can become in a row, but what is hopeless; how much that is."""
    tree = task.tree
    highest = max(0.0, weights.insertions.max())
    n, best = 0, -math.inf
    for h in range(len(hypotheses)):
        score, node, last, state = hypotheses[h].score, hypotheses[h].node, hypotheses[h].last, hypotheses[h].state
        after_blank = hypotheses[h].after_blank
        if task.blank != NONE:
            value = score + row[task.blank]
            n, best = _note(moves, n, h, value, NONE, NONE, node, last, 1, state), max(best, value)
        if last != NONE and not after_blank:
            value = score + row[last]
            n, best = _note(moves, n, h, value, NONE, NONE, node, last, 0, state), max(best, value)
        if node == 0 and task.silence != NONE and (after_blank or last != task.silence):
            value = score + row[task.silence] + weights.silence
            n, best = _note(moves, n, h, value, task.silence, NONE, node, task.silence, 0, state), max(best, value)
        for edge in range(tree.first_child[node], tree.first_child[node + 1]):
            phone, child = tree.phones[edge], tree.children[edge]
            # Without the guess of how the word ends, which is replaced by another or by the truth.
            value = score - weights.lm * tree.outlook[node] + row[phone]
            if value + highest < best - weights.threshold or (phone == last and not after_blank):
                continue  # equal neighbours are one
            if tree.first_child[child] < tree.first_child[child + 1]:
                guessed = value + weights.lm * tree.outlook[child]
                n = _note(moves, n, h, guessed, phone, NONE, child, phone, 0, state)
            for place in range(tree.first_word[child], tree.first_word[child + 1]):
                word = tree.words[place]
                log_prob, after = step(task.automaton, state, task.tokens[word])
                ended = value + weights.lm * log_prob + weights.insertions[word]
                best = max(best, ended)
                if ended < best - weights.threshold:
                    continue
                n = _note(moves, n, h, ended, phone, word, 0, phone, 0, after)
                shared = _child(tree, phone) if task.blank == NONE else NONE
                if shared != NONE and tree.first_child[shared] < tree.first_child[shared + 1]:
                    guessed = ended + weights.lm * tree.outlook[shared]
                    n = _note(moves, n, h, guessed, phone, word, shared, phone, 0, after)
    return n


@njit(cache=True)
def _note(
    moves: np.ndarray,
    n: int,
    h: int,
    score: float,
    phone: int,
    word: int,
    node: int,
    last: int,
    after_blank: int,
    state: int,
) -> int:
    """One more move."""
    move = moves[n]
    move.score, move.node, move.last, move.after_blank, move.state = score, node, last, after_blank, state
    move.parent, move.phone, move.word = h, phone, word
    return n + 1


@njit(cache=True)
def _join(moves: np.ndarray, hypotheses: np.ndarray, weights: Weights, written: np.ndarray, table: np.ndarray) -> int:
    """Make one of the moves that agree, and drop what is too far below the best; how many are left.

    `table` is a hash table of their places, empty before and after.
    """
    least = moves["score"].max() - weights.threshold if len(moves) else 0.0
    n = 0
    for place in range(len(moves)):
        move = moves[place]
        if move.score < least or move.score == -math.inf:
            continue
        move.written = hypotheses[move.parent].written
        move.identity = _identity(written, move) if weights.sum_paths else move.state
        move.slot = _slot(moves, move, table)
        same = table[move.slot]
        if same == NONE:
            table[move.slot] = n
            moves[n] = move
            n += 1
        elif weights.sum_paths:
            moves[same].score = _log_add(moves[same].score, move.score)
        elif move.score > moves[same].score:
            moves[same] = move
    for place in range(n):
        table[moves[place].slot] = NONE
    return n


@njit(cache=True)
def _slot(moves: np.ndarray, move: Any, table: np.ndarray) -> int:  # noqa: ANN401
    """Where a move that agrees is in the hash table, or where there is room for this one."""
    key = ((move.identity * 1_000_003 + move.node) * 1_009 + move.last) * 2 + move.after_blank
    slot = ((key * SPREAD) >> 29) & (len(table) - 1)
    while table[slot] != NONE:
        other = moves[table[slot]]
        if (
            other.identity == move.identity
            and other.node == move.node
            and other.last == move.last
            and other.after_blank == move.after_blank
        ):
            break
        slot = (slot + 1) & (len(table) - 1)
    return slot


@njit(cache=True)
def _keep(
    moves: np.ndarray, hypotheses: np.ndarray, weights: Weights, written: np.ndarray, n_written: int
) -> tuple[int, int]:
    """Make the best moves the hypotheses, and write down what they add; how many there are, and how much is written."""
    order = np.argsort(-moves["score"], kind="mergesort")[: weights.beam]
    for place in range(len(order)):
        move = moves[order[place]]
        if move.phone != NONE:
            entry = _entry(written, move) if weights.sum_paths else NONE
            if entry == NONE:
                entry = n_written
                n_written += 1
                new, parent = written[entry], written[move.written]
                new.parent, new.phone, new.word, new.before = move.written, move.phone, move.word, parent.newest
                parent.newest = entry
            move.written = entry
        hypotheses[place] = move
    return len(order), n_written


@njit(cache=True)
def _finish(hypotheses: np.ndarray, task: Task, weights: Weights) -> tuple[int, float]:
    """What the best hypothesis has written that ends between words, and its score with the end of the utterance."""
    winner, best = 0, -math.inf
    for hypothesis in hypotheses:
        if hypothesis.node != 0:
            continue
        score = -math.inf
        if weights.sum_paths:
            for other in hypotheses:
                if other.written == hypothesis.written and other.node == 0:
                    score = _log_add(score, other.score)
        else:
            score = hypothesis.score
        score += weights.lm * step(task.automaton, hypothesis.state, task.automaton.boundary)[0]
        if score > best:
            winner, best = hypothesis.written, score
    return winner, best


@njit(cache=True)
def _identity(written: np.ndarray, move: Any) -> int:  # noqa: ANN401
    """A number for what is written after a move; that of its entry if it has one."""
    if move.phone == NONE:
        return move.written
    entry = _entry(written, move)
    return (
        entry if entry != NONE else -1 - ((np.int64(move.written) << 37) + (np.int64(move.phone) << 24) + move.word + 1)
    )


@njit(cache=True)
def _entry(written: np.ndarray, move: Any) -> int:  # noqa: ANN401
    """The entry for what a move adds; -1 if there is none yet."""
    entry = written[move.written].newest
    while entry != NONE and (written[entry].phone != move.phone or written[entry].word != move.word):
        entry = written[entry].before
    return entry


@njit(cache=True)
def _child(tree: Tree, phone: int) -> int:
    """The node after the first phone of words; -1 if none begins so."""
    for edge in range(tree.first_child[0], tree.first_child[1]):
        if tree.phones[edge] == phone:
            return tree.children[edge]
    return NONE


@njit(cache=True)
def _log_add(one: float, other: float) -> float:
    high, low = max(one, other), min(one, other)
    return high + math.log1p(math.exp(low - high)) if low > -math.inf else high
