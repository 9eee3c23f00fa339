"""ABX by the book: loops over triplets and cells, float64 frame distances, nothing shared with the engine.

Frame distances are rounded to multiples of 2^-40 and held as Python integers: sums are then exact in any order, and
d = total / length is an exact fraction, so that a tie is a tie.
"""

import math
from collections.abc import Callable, Mapping, Sequence
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
    if kind == "kl":
        return sum(p * math.log((p + 1e-6) / (q + 1e-6)) for p, q in zip(x, y, strict=True))
    if kind == "kl_abxpy":
        p, q = (v / v.sum() + np.finfo(float).eps for v in (x, y))
        p, q = p / p.sum(), q / q.sum()
        return max(sum(0.5 * (a - b) * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True)), 0.0)
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


def edits(x: list, y: list) -> int:
    """Levenshtein distance, by its recursion."""
    if not x or not y:
        return len(x) + len(y)
    table = [[i + j for j in range(len(y) + 1)] for i in range(len(x) + 1)]
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            substituted = table[i - 1][j - 1] + (x[i - 1] != y[j - 1])
            table[i][j] = min(substituted, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


def distance(x: np.ndarray, y: np.ndarray, kind: str) -> Fraction:
    if kind in {"edit", "levenshtein"}:
        x, y = ([tuple(frame) for frame in token] for token in (x, y))
        if kind == "levenshtein":
            return Fraction(edits(x, y))
        x, y = ([f for i, f in enumerate(token) if i == 0 or token[i - 1] != f] for token in (x, y))
        return Fraction(edits(x, y), max(len(x), len(y)))
    return warp([[round(frame_distance(p, q, kind) * GRID) for q in y] for p in x])


def pooled(frames: np.ndarray, pooling: str) -> np.ndarray:
    if pooling == "none":
        return frames
    n = len(frames)
    weights = [1.0] * n
    if pooling == "hamming" and n > 1:
        weights = [0.54 - 0.46 * math.cos(2 * math.pi * i / (n - 1)) for i in range(n)]
    mean = sum(w * np.asarray(f, dtype=np.float64) for w, f in zip(weights, frames, strict=True)) / sum(weights)
    return mean[None, :]


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


def label(item: object, column: str) -> str:
    if column == "context":
        return f"{item.previous} {item.next}"
    return getattr(item, column) if hasattr(item, column) else dict(item.extra)[column]


def abx(
    items: Sequence,
    features: Mapping,
    frequency: str,
    kind: str,
    by: Sequence[str],
    across: Sequence[str] = (),
    on: str = "phone",
    pooling: str = "none",
) -> dict[tuple, tuple[float, int]]:
    """Error and number of triplets of every cell, by (labels BY, labels ACROSS, those of X, a, b)."""
    frames = []
    for item in items:
        first, last = slice_of(item.onset, item.offset, frequency)
        frames.append(pooled(features[item.file][first : last + 1], pooling))
    d = Distances(frames, kind)
    buckets: dict[tuple, list[int]] = {}
    for number, item in enumerate(items):
        fixed, kept = (tuple(label(item, column) for column in columns) for columns in (by, across))
        buckets.setdefault((fixed, kept, label(item, on)), []).append(number)
    cells = {}
    for (fixed, kept, a), a_tokens in buckets.items():
        for (b_fixed, b_kept, b), b_tokens in buckets.items():
            if (b_fixed, b_kept) != (fixed, kept) or a == b:
                continue
            for (x_fixed, x_kept, x), x_tokens in buckets.items():
                if x_fixed != fixed or x != a or any(p == q for p, q in zip(x_kept, kept, strict=True)):
                    continue
                cell = cell_error(a_tokens, b_tokens, x_tokens, d)
                if cell is not None:
                    cells[fixed, kept, x_kept, a, b] = cell
    return cells


def score(cells: Mapping[tuple, tuple[float, int]], levels: Sequence[Callable[[tuple], tuple]]) -> float:
    """Mean of means: a level maps a key to the key that is left of it, and what share that one are averaged."""
    values = {key: error for key, (error, _) in cells.items()}
    for level in (*levels, lambda _: ()):
        groups: dict[tuple, list[float]] = {}
        for key, value in values.items():
            groups.setdefault(level(key), []).append(value)
        values = {key: sum(group) / len(group) for key, group in groups.items()}
    return values[()]


def by_context_and_x(key: tuple) -> tuple:
    """Libri-light's first level: what is left is the speaker of A and B, a and b."""
    fixed, kept, _, a, b = key
    return (kept or fixed[-1:], a, b)


def zerospeech(
    items: Sequence, features: Mapping, frequency: str, speaker: str, context: str, kind: str, pooling: str = "none"
) -> tuple[dict[tuple, tuple[float, int]], float]:
    """Cells and score of a ZeroSpeech task, averaged as in Libri-light."""
    by = ("context",) if context == "within" else ()
    by, across = ((*by, "speaker"), ()) if speaker == "within" else (by, ("speaker",))
    cells = abx(items, features, frequency, kind, by, across, pooling=pooling)
    return cells, score(cells, [by_context_and_x, lambda key: key[1:]]) if cells else math.nan
