"""Distances between frames: one matrix product for a whole block of tokens, rounded to integers.

Frame distances are rounded to multiples of 2⁻³⁰ of the largest one, finer than float32 resolves them, so that the sums
of the alignment are exact integers and ties between tokens made of the same frames are ties. For the same reason equal
frames share one row of the product (a product of matrices may round differently in different places), and the distance
of a frame to itself is 0 exactly, which arccos of a rounded cosine is not.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

from textless.errors import UserError

FrameDistance = Literal["angular", "euclidean", "kl", "kl_symmetric", "kl_abxpy", "identical"]
SYMMETRIC = frozenset({"angular", "euclidean", "kl_symmetric", "kl_abxpy", "identical"})

GRID = 1 << 30
KL_EPSILON = 1e-6
NEARLY_PARALLEL = int(0.015 * GRID)  # where arccos has lost a quarter of the digits of a float32 cosine


@dataclass(frozen=True)
class FrameTable:
    """Frames made ready for one distance.

    Shape:
        vectors: `(F, D)`: unit vectors in float32 (angular), else float64; `(F, 2 D)` of a divergence: p, log(p + ε).
        keys: `(F,)` uint64, equal for equal frames.
        is_zero: `(F,)` whether a frame has no direction.
    """

    vectors: np.ndarray
    keys: np.ndarray
    is_zero: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, frames: slice | np.ndarray) -> "FrameTable":
        return FrameTable(self.vectors[frames], self.keys[frames], self.is_zero[frames])


def prepare(frames: np.ndarray, distance: FrameDistance) -> FrameTable:
    """Normalise or convert `(F, D)` frames as `distance` needs them.

    Raises:
        UserError: a divergence was asked for and some values are negative, or a whole frame is 0 where it has to be
            scaled to sum to 1.
    """
    is_zero = np.zeros(len(frames), dtype=bool)
    match distance:
        case "angular":
            vectors, is_zero = unit_vectors(frames)
        case "euclidean" | "identical":  # codes are exact up to 2⁵³
            vectors = frames.astype(np.float64)
        case "kl" | "kl_symmetric" | "kl_abxpy":
            vectors = _probabilities(frames, distance)
        case _:
            raise ValueError(f"unknown distance {distance!r}")
    vectors += 0.0  # -0 becomes 0, which is the same frame
    keys = hash_rows(vectors.view(np.uint32))
    if distance.startswith("kl"):
        vectors = np.hstack([vectors, np.log(vectors + (0 if distance == "kl_abxpy" else KL_EPSILON))])
    return FrameTable(vectors, keys, is_zero)


def unit_vectors(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames `(F, D)` at length 1, float32, and which of them were 0 and stay so, `(F,)`."""
    vectors, is_zero = np.empty(frames.shape, dtype=np.float32), np.empty(len(frames), dtype=bool)
    _scale(frames if frames.dtype in {np.float32, np.float64} else frames.astype(np.float64), vectors, is_zero)
    return vectors, is_zero


@njit(cache=True, nogil=True, fastmath={"contract", "nsz", "reassoc", "nnan"})
def _scale(frames: np.ndarray, vectors: np.ndarray, is_zero: np.ndarray) -> None:
    for row in range(len(frames)):
        # By the largest value first: squares of very large or small values leave the range of float32.
        largest = frames[row, 0] * 0
        for value in frames[row]:
            largest = max(largest, abs(value))
        is_zero[row] = largest == 0
        divisor = largest if largest > 0 else largest + 1
        square = np.float32(0)
        for column in range(frames.shape[1]):
            value = np.float32(frames[row, column] / divisor)
            vectors[row, column] = value
            square += value * value
        length = np.sqrt(square) if square > 0 else np.float32(1)
        for column in range(frames.shape[1]):
            vectors[row, column] /= length


def _probabilities(frames: np.ndarray, distance: FrameDistance) -> np.ndarray:
    if frames.min(initial=0) < 0:
        raise UserError(f"{distance} compares probabilities, but these features hold negative values; use angular")
    if distance != "kl_abxpy":
        return frames.astype(np.float64)
    totals = frames.sum(axis=1, keepdims=True, dtype=np.float64)
    if not totals.all():
        raise UserError("kl_abxpy scales frames to sum to 1, but some of these are 0 throughout; use angular")
    smoothed = frames / totals + np.finfo(np.float64).eps
    return smoothed / smoothed.sum(axis=1, keepdims=True)


def frame_distances(
    rows: FrameTable, columns: FrameTable, distance: FrameDistance, repeated: np.ndarray
) -> tuple[np.ndarray, float]:
    """Distances between distinct frames, `(U, V)` int32, and the number they are multiples of.

    Args:
        rows: U frames, no two of them equal.
        columns: V frames, no two of them equal.
        distance: which.
        repeated: keys of frames that several tokens hold. The distance of such a frame to itself is 0 exactly, and
            where distances are symmetric, d(p, q) between two of them equals d(q, p) bit for bit.
    """
    twins = _twins(rows.keys, columns.keys, repeated)
    match distance:
        case "angular":
            products = rows.vectors @ columns.vectors.T
            _symmetrise(products, *twins)
            if rows is columns:  # a frame and itself: no angle worth the refining, since it is 0 or never looked up
                np.fill_diagonal(products, 0)
            costs, unit = products.view(np.int32), 1 / GRID  # in place: memory that is new is slow
            angles(products, rows.vectors, columns.vectors, costs)
            costs[rows.is_zero] = GRID  # the direction of a zero frame is as far as can be from any other
            costs[:, columns.is_zero] = GRID
        case "euclidean":
            squares = -2 * (rows.vectors @ columns.vectors.T)
            squares += np.einsum("fd,fd->f", rows.vectors, rows.vectors)[:, None]
            squares += np.einsum("fd,fd->f", columns.vectors, columns.vectors)
            _symmetrise(squares, *twins)
            costs, unit = _round(np.sqrt(np.maximum(squares, 0, out=squares), out=squares))
        case "kl" | "kl_symmetric" | "kl_abxpy":
            divergences = _kl(rows.vectors, columns.vectors)
            if distance != "kl":
                back = divergences if rows is columns else _kl(columns.vectors, rows.vectors)
                divergences = 0.5 * (divergences + back.T)
                np.maximum(divergences, 0, out=divergences)
                _symmetrise(divergences, *twins)
            costs, unit = _round(divergences)
        case "identical":
            costs, unit = np.full((len(rows), len(columns)), GRID, dtype=np.int32), 1 / GRID
        case _:
            raise ValueError(f"unknown distance {distance!r}")
    costs[twins] = 0
    return costs, unit


def _twins(rows: np.ndarray, columns: np.ndarray, repeated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the repeated keys that are in both."""
    if not len(repeated):
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    _, i, j = np.intersect1d(rows, columns, assume_unique=True, return_indices=True)
    shared = np.isin(rows[i], repeated)
    return i[shared], j[shared]


def _symmetrise(matrix: np.ndarray, row_twins: np.ndarray, column_twins: np.ndarray) -> None:
    if len(row_twins):
        shared = matrix[np.ix_(row_twins, column_twins)]
        matrix[np.ix_(row_twins, column_twins)] = (shared + shared.T) / 2


def _kl(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Σ p (log(p + ε) − log(q + ε)), not renormalised, `(U, V)`, of p, log(p + ε) and q, log(q + ε), `(., 2 D)`."""
    (p, log_p), log_q = np.hsplit(rows, 2), np.hsplit(columns, 2)[1]
    result = p @ log_q.T
    np.subtract(np.einsum("fd,fd->f", p, log_p)[:, None], result, out=result)
    return result


def _round(values: np.ndarray) -> tuple[np.ndarray, float]:
    largest = float(max(values.max(initial=0), -values.min(initial=0)))
    unit = 2.0 ** math.ceil(math.log2(largest)) / GRID if largest > 0 else 1.0
    values *= 1 / unit
    return np.rint(values, out=values).astype(np.int32), unit


@njit(cache=True, nogil=True)
def hash_rows(words: np.ndarray) -> np.ndarray:
    """64-bit key of every row of `(F, W)` uint32 words; a chance collision has probability 2⁻⁶⁴ a pair."""
    keys = np.empty(len(words), dtype=np.uint64)
    lanes = np.empty(4, dtype=np.uint64)  # four chains of multiplications at a time, since each has to wait for itself
    for row in range(len(words)):
        lanes[:] = np.uint64(0x9E3779B97F4A7C15)
        for first in range(0, words.shape[1], 4):
            for lane in range(min(4, words.shape[1] - first)):
                key = (lanes[lane] ^ np.uint64(words[row, first + lane])) * np.uint64(0xBF58476D1CE4E5B9)
                lanes[lane] = key ^ (key >> np.uint64(31))
        keys[row] = 0
        for lane in range(4):
            key = (keys[row] ^ lanes[lane]) * np.uint64(0x94D049BB133111EB)
            keys[row] = key ^ (key >> np.uint64(29))
    return keys


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def angles(cosines: np.ndarray, rows: np.ndarray, columns: np.ndarray, result: np.ndarray) -> None:
    """Arccos(c) / π in multiples of 2⁻³⁰, by the polynomial 4.4.46 of Abramowitz and Stegun (error below 2e-8).

    Near 0 and π, where that loses digits, from the difference or the sum of the unit vectors: |x − y| = 2 sin(θ / 2).
    `result` may lie where `cosines` does: each row is read before it is written.
    """
    scale = np.float32(GRID / math.pi)
    line = np.empty(cosines.shape[1], dtype=np.int32)
    for row in range(len(cosines)):
        nearest = np.int32(GRID)
        for column in range(len(line)):
            c = cosines[row, column]
            x = min(abs(c), np.float32(1))
            p = np.float32(-0.0012624911)
            p = p * x + np.float32(0.0066700901)
            p = p * x + np.float32(-0.0170881256)
            p = p * x + np.float32(0.0308918810)
            p = p * x + np.float32(-0.0501743046)
            p = p * x + np.float32(0.0889789874)
            p = p * x + np.float32(-0.2145988016)
            p = p * x + np.float32(1.5707963050)
            angle = np.int32(p * np.sqrt(np.float32(1) - x) * scale)
            nearest = min(nearest, angle)
            line[column] = angle if c >= 0 else np.int32(GRID) - angle
        if nearest < NEARLY_PARALLEL:
            for column in range(len(line)):
                if not NEARLY_PARALLEL <= line[column] <= GRID - NEARLY_PARALLEL:
                    line[column] = _small_angle(rows[row], columns[column], 2 * line[column] > GRID)
        result[row] = line


@njit(cache=True, nogil=True)
def _small_angle(x: np.ndarray, y: np.ndarray, opposite: bool) -> int:  # noqa: FBT001
    square = 0.0
    for p, q in zip(x, y):  # noqa: B905 -- numba has no strict zip
        square += (p + q) ** 2 if opposite else (p - q) ** 2
    angle = round(2 * math.asin(min(math.sqrt(square) / 2, 1.0)) / math.pi * GRID)
    return GRID - angle if opposite else angle
