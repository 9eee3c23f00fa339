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

Distance = Literal["angular", "euclidean", "kl_symmetric", "identical"]

GRID = 1 << 30
KL_EPSILON = 1e-6
NEARLY_PARALLEL = int(0.015 * GRID)  # where arccos has lost a quarter of the digits of a float32 cosine


@dataclass(frozen=True)
class FrameTable:
    """Frames made ready for one distance.

    Shape:
        vectors: `(F, D)`: unit vectors (angular), float64 (euclidean, kl_symmetric).
        keys: `(F,)` uint64, equal for equal frames.
    """

    vectors: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, frames: slice | np.ndarray) -> "FrameTable":
        return FrameTable(self.vectors[frames], self.keys[frames])


def prepare(frames: np.ndarray, distance: Distance) -> FrameTable:
    """Normalise or convert `(F, D)` frames as `distance` needs them.

    Raises:
        UserError: kl_symmetric was asked for and some values are negative.
    """
    match distance:
        case "angular":
            vectors = frames.astype(np.float32)
            # Scaled by the largest value first: squares of very large or small values leave the range of float32.
            largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
            vectors /= np.where(largest == 0, 1, largest)
            norms = np.sqrt(np.einsum("fd,fd->f", vectors, vectors))
            vectors /= np.where(norms == 0, 1, norms)[:, None]
        case "euclidean":
            vectors = frames.astype(np.float64)
        case "kl_symmetric":
            vectors = frames.astype(np.float64)
            if vectors.min(initial=0) < 0:
                raise UserError(
                    "kl_symmetric compares probabilities, but these features hold negative values; use angular"
                )
        case "identical":
            vectors = frames.astype(np.float64)  # exact for codes up to 2⁵³
        case _:
            raise ValueError(f"unknown distance {distance!r}")
    vectors += 0.0  # -0 becomes 0, which is the same frame
    return FrameTable(vectors, hash_rows(vectors.view(np.uint32)))


def frame_distances(
    rows: FrameTable, columns: FrameTable, distance: Distance, repeated: np.ndarray
) -> tuple[np.ndarray, float]:
    """Distances between distinct frames, `(U, V)` int32, and the number they are multiples of.

    Within each table no two frames are equal; a frame that is in both has distance 0 to itself, exactly.

    Args:
        rows: U frames.
        columns: V frames.
        distance: which.
        repeated: keys of frames p, q between which d(p, q) has to equal d(q, p) bit for bit: those of several tokens.
    """
    _, row_twins, column_twins = np.intersect1d(rows.keys, columns.keys, assume_unique=True, return_indices=True)
    is_repeated = np.isin(rows.keys[row_twins], repeated)
    mirrored = row_twins[is_repeated], column_twins[is_repeated]
    match distance:
        case "angular":
            products = rows.vectors @ columns.vectors.T
            _symmetrise(products, *mirrored)
            costs, unit = angles(products), 1 / GRID
            refine_extremes(costs, rows.vectors, columns.vectors)
            row_zero, column_zero = ~rows.vectors.any(axis=1), ~columns.vectors.any(axis=1)
            costs[row_zero] = GRID  # the direction of a zero frame is as far as can be from any other
            costs[:, column_zero] = GRID
        case "euclidean":
            squares = -2 * (rows.vectors @ columns.vectors.T)
            squares += np.einsum("fd,fd->f", rows.vectors, rows.vectors)[:, None]
            squares += np.einsum("fd,fd->f", columns.vectors, columns.vectors)
            _symmetrise(squares, *mirrored)
            costs, unit = _round(np.sqrt(np.maximum(squares, 0, out=squares), out=squares))
        case "kl_symmetric":
            divergences = _kl_symmetric(rows.vectors, columns.vectors)
            _symmetrise(divergences, *mirrored)
            costs, unit = _round(np.maximum(divergences, 0, out=divergences))
        case "identical":
            costs, unit = np.full((len(rows), len(columns)), GRID, dtype=np.int32), 1 / GRID
        case _:
            raise ValueError(f"unknown distance {distance!r}")
    costs[row_twins, column_twins] = 0
    return costs, unit


def _symmetrise(matrix: np.ndarray, row_twins: np.ndarray, column_twins: np.ndarray) -> None:
    if len(row_twins):
        shared = matrix[np.ix_(row_twins, column_twins)]
        matrix[np.ix_(row_twins, column_twins)] = (shared + shared.T) / 2


def _kl_symmetric(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """½ Σ (p − q) (log(p + ε) − log(q + ε)), not renormalised."""
    log_p, log_q = np.log(p + KL_EPSILON), np.log(q + KL_EPSILON)
    result = p @ log_q.T
    result += log_p @ q.T
    result *= -0.5
    result += 0.5 * np.einsum("fd,fd->f", p, log_p)[:, None]
    result += 0.5 * np.einsum("fd,fd->f", q, log_q)
    return result


def _round(values: np.ndarray) -> tuple[np.ndarray, float]:
    largest = float(values.max(initial=0))
    unit = 2.0 ** math.ceil(math.log2(largest)) / GRID if largest > 0 else 1.0
    values *= 1 / unit
    return np.rint(values, out=values).astype(np.int32), unit


@njit(cache=True, nogil=True)
def hash_rows(words: np.ndarray) -> np.ndarray:
    """64-bit key of every row of `(F, W)` uint32 words; a chance collision has probability 2⁻⁶⁴ a pair."""
    keys = np.empty(len(words), dtype=np.uint64)
    for row in range(len(words)):
        key = np.uint64(0x9E3779B97F4A7C15)
        for word in words[row]:
            key = (key ^ np.uint64(word)) * np.uint64(0xBF58476D1CE4E5B9)
            key ^= key >> np.uint64(31)
        keys[row] = key
    return keys


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def angles(cosines: np.ndarray) -> np.ndarray:
    """Arccos(c) / π in multiples of 2⁻³⁰, by the polynomial 4.4.46 of Abramowitz and Stegun (error below 2e-8)."""
    result = np.empty(cosines.shape, dtype=np.int32)
    scale = np.float32(GRID / math.pi)
    for row in range(len(cosines)):
        for column in range(cosines.shape[1]):
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
            result[row, column] = angle if c >= 0 else np.int32(GRID) - angle
    return result


@njit(cache=True, nogil=True)
def refine_extremes(costs: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> None:
    """Recompute angles near 0 from the difference of unit vectors, |x − y| = 2 sin(angle / 2), near π from the sum."""
    for row in range(len(costs)):
        if costs[row].min() >= NEARLY_PARALLEL and costs[row].max() <= GRID - NEARLY_PARALLEL:
            continue
        for column in range(costs.shape[1]):
            cost = costs[row, column]
            if NEARLY_PARALLEL <= cost <= GRID - NEARLY_PARALLEL:
                continue
            opposite = cost > NEARLY_PARALLEL
            sign = np.float32(1 if opposite else -1)
            square = 0.0
            for x, y in zip(rows[row], columns[column]):  # noqa: B905 -- numba has no strict zip
                square += (x + sign * y) ** 2
            angle = round(2 * math.asin(min(math.sqrt(square) / 2, 1.0)) / math.pi * GRID)
            costs[row, column] = GRID - angle if opposite else angle
