"""ABX by the book: loops over triplets and cells, float64 frame distances, nothing shared with the engine.

Frame distances are rounded to multiples of 2^-40 and held as Python integers: sums are then exact in any order, and
d = total / length is an exact fraction, so that a tie is a tie.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

GRID = 2**40


def slice_of(onset: str, offset: str, frequency: str) -> tuple[int, int]:
    """First and last frame, inclusive: those whose centre (i + 1/2) / f lies within [onset, offset]."""
    f, on, off = Fraction(frequency), Fraction(onset), Fraction(offset)
    inside = [i for i in range(math.ceil(f * off) + 2) if on <= (i + Fraction(1, 2)) / f <= off]
    return (inside[0], inside[-1]) if inside else (0, -1)


def frame_distance(x: np.ndarray, y: np.ndarray, kind: str) -> float:
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if np.array_equal(x, y):
        return 0.0
    if kind == "angular":
        if not x.any() or not y.any():
            return 1.0
        x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
        # The angle by its two half-angle sides: exact near 0, where arccos of the dot product is not.
        return 2 * math.atan2(float(np.linalg.norm(x - y)), float(np.linalg.norm(x + y))) / math.pi
    if kind == "euclidean":
        return float(np.linalg.norm(x - y))
    if kind == "kl_symmetric":
        forth = sum(p * math.log((p + 1e-6) / (q + 1e-6)) for p, q in zip(x, y, strict=True))
        back = sum(q * math.log((q + 1e-6) / (p + 1e-6)) for p, q in zip(x, y, strict=True))
        return max(0.5 * forth + 0.5 * back, 0.0)
    assert kind == "identical"
    return 1.0


def warp(costs: Sequence[Sequence[int]]) -> Fraction:
    """Dynamic time warping of a lattice of integers, divided by the cells on the path."""
    n, m = len(costs), len(costs[0])
    total = [[0] * m for _ in range(n)]
    for i in range(n):
        for j in range(m):
            before = []
            if i > 0 and j > 0:
                before.append(total[i - 1][j - 1])
            if i > 0:
                before.append(total[i - 1][j])
            if j > 0:
                before.append(total[i][j - 1])
            total[i][j] = costs[i][j] + (min(before) if before else 0)
    return Fraction(total[n - 1][m - 1], path_length(total))


def path_length(total: Sequence[Sequence[int]]) -> int:
    """Cells on the way back: diagonal if no worse than both others, else left if no worse than up, else up."""
    i, j, length = len(total) - 1, len(total[0]) - 1, 1
    while (i, j) != (0, 0):
        if i == 0:
            j -= 1
        elif j == 0:
            i -= 1
        else:
            diagonal, left, up = total[i - 1][j - 1], total[i][j - 1], total[i - 1][j]
            if diagonal <= left and diagonal <= up:
                i, j = i - 1, j - 1
            elif left <= up:
                j -= 1
            else:
                i -= 1
        length += 1
    return length


def distance(x: np.ndarray, y: np.ndarray, kind: str) -> Fraction:
    return warp([[round(frame_distance(p, q, kind) * GRID) for q in y] for p in x])


def cell_error(a: list[int], b: list[int], x: list[int], d: Mapping) -> tuple[float, int] | None:
    outcomes = []
    for i in x:
        for j in a:
            if i == j:
                continue
            for k in b:
                xa, xb = d[i, j], d[i, k]
                outcomes.append(1.0 if xa < xb else 0.5 if xa == xb else 0.0)
    return (1 - sum(outcomes) / len(outcomes), len(outcomes)) if outcomes else None


class Distances(dict):
    """d(x, y) of tokens by number, computed when asked for."""

    def __init__(self, frames: list[np.ndarray], kind: str) -> None:
        self.frames, self.kind = frames, kind

    def __missing__(self, pair: tuple[int, int]) -> Fraction:
        self[pair] = distance(self.frames[pair[0]], self.frames[pair[1]], self.kind)
        return self[pair]


def abx(
    items: Sequence, features: Mapping, frequency: str, speaker: str, context: str, kind: str
) -> dict[tuple, tuple]:
    """Error and number of triplets of every cell (context, speaker, x_speaker, a, b)."""
    frames = []
    for item in items:
        first, last = slice_of(item.onset, item.offset, frequency)
        frames.append(features[item.file][first : last + 1])
    d = Distances(frames, kind)
    groups: dict[tuple, list[int]] = {}
    for number, item in enumerate(items):
        where = (item.previous, item.next) if context == "within" else "any"
        groups.setdefault((where, item.speaker, item.phone), []).append(number)
    cells = {}
    for (where, s, a), a_tokens in groups.items():
        for (other_where, other_s, b), b_tokens in groups.items():
            if (other_where, other_s) != (where, s) or a == b:
                continue
            for (x_where, x_s, x_phone), x_tokens in groups.items():
                if x_where != where or x_phone != a or (x_s == s) != (speaker == "within"):
                    continue
                cell = cell_error(a_tokens, b_tokens, x_tokens, d)
                if cell is not None:
                    cells[where, s, x_s, a, b] = cell
    return cells


def score(cells: Mapping[tuple, tuple]) -> float:
    """Mean over contexts and X speakers, then over speakers, then over ordered phone pairs."""
    by_speaker: dict[tuple, list[float]] = {}
    for (_, s, _, a, b), (error, _) in cells.items():
        by_speaker.setdefault((a, b, s), []).append(error)
    by_pair: dict[tuple, list[float]] = {}
    for (a, b, _), errors in by_speaker.items():
        by_pair.setdefault((a, b), []).append(sum(errors) / len(errors))
    pairs = [sum(errors) / len(errors) for errors in by_pair.values()]
    return sum(pairs) / len(pairs)
