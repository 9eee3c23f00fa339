"""Distances between tokens by torch, on a GPU: the same integers as on the CPU, aligned many pairs at a time.

All pairs of a batch are padded to one lattice and go along its anti-diagonals together: cell (i, j) of diagonal
k = i + j needs (i − 1, j − 1) of diagonal k − 2, and (i, j − 1) and (i − 1, j) of diagonal k − 1. Which of the three
the way back would take depends on them alone, so the length of the path is carried along instead of traced; it is so
twice, with left and with up preferred where they tie, which gives both directions of a pair (see `dtw`). Padding lies
after the last cell of a pair and cannot reach it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from zerospeech_eval.distances import GRID, NEARLY_PARALLEL, SYMMETRIC, FrameDistance, FrameTable
from zerospeech_eval.token_distances import Tile, cut
from zerospeech_eval.token_frames import TokenFrames

TILE_FRAMES = 8192
ROWS = 2048  # of cosines turned into angles at once
BATCH_CELLS = 1 << 25  # of all lattices of a batch
NEAR_PAIRS = 1 << 16  # nearly parallel frames refined at once
FAR = 1 << 60


@dataclass(frozen=True)
class TorchDistances:
    """Dynamic time warping over distances of frames, on a device of torch. See `token_distances.TokenDistances`."""

    frame_distance: FrameDistance
    device: torch.device

    @property
    def symmetric(self) -> bool:
        """Whether one comparison of two frames serves both directions."""
        return self.frame_distance in SYMMETRIC

    @torch.inference_mode()
    def fill(
        self, rows: TokenFrames, columns: TokenFrames, wanted: np.ndarray, forward: np.ndarray, backward: np.ndarray
    ) -> None:
        """See `token_distances.TokenDistances`."""
        row_tiles, column_tiles, _ = cut(rows, columns, TILE_FRAMES)
        for row, column in product(row_tiles, column_tiles):
            back = backward[column.span, row.span] if backward.size else backward
            self._fill_tile(row, column, wanted[row.span, column.span], forward[row.span, column.span], back)

    def _fill_tile(
        self, row: Tile, column: Tile, wanted: np.ndarray, forward: np.ndarray, backward: np.ndarray
    ) -> None:
        if not wanted.any():
            return
        costs, unit = self._costs(row.table, column.table)
        row_index, column_index = (self._put(tile.index.astype(np.int64)) for tile in (row, column))
        n, m = np.diff(row.bounds), np.diff(column.bounds)
        for i, j in _batches(wanted, n, m):
            # (P, N, M) lattices of costs, frames beyond the end repeating the last one
            x = row_index[self._frame_numbers(row.bounds, n, i)]
            y = column_index[self._frame_numbers(column.bounds, m, j)]
            total, there, back = warp(costs[x[:, :, None], y[:, None, :]], self._put(n[i]), self._put(m[j]))
            # Equal fractions round to equal numbers, so the order of operations matters: divide first.
            forward[i, j] = (total.double() / there * unit).cpu().numpy()
            if backward.size:
                backward[j, i] = (total.double() / back * unit).cpu().numpy()

    def _put(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _frame_numbers(self, bounds: np.ndarray, lengths: np.ndarray, tokens: np.ndarray) -> torch.Tensor:
        """Numbers of the frames of tokens, `(P, longest)`."""
        steps = np.arange(lengths[tokens].max())
        return self._put(bounds[tokens][:, None] + np.minimum(steps, lengths[tokens][:, None] - 1))

    def _costs(self, rows: FrameTable, columns: FrameTable) -> tuple[torch.Tensor, float]:
        """Distances between distinct frames `(U, V)` int32, and what they are multiples of: see `frame_distances`."""
        x, y = self._put(rows.vectors), self._put(columns.vectors)
        match self.frame_distance:
            case "angular":
                costs, unit = torch.cat([_angles(part, y) for part in x.split(ROWS)]), 1 / GRID
                costs[self._put(rows.is_zero)] = GRID  # no direction is as far as can be from any other
                costs[:, self._put(columns.is_zero)] = GRID
            case "euclidean":
                costs, unit = _round(torch.cdist(x, y, compute_mode="use_mm_for_euclid_dist"))
            case "kl":
                costs, unit = _round(_kl(x, y))
            case "kl_symmetric" | "kl_abxpy":
                costs, unit = _round(((_kl(x, y) + _kl(y, x).T) / 2).clamp(min=0))
            case "identical":
                costs, unit = torch.full((len(x), len(y)), GRID, dtype=torch.int32, device=self.device), 1 / GRID
        _, row_twins, column_twins = np.intersect1d(rows.keys, columns.keys, assume_unique=True, return_indices=True)
        twins = self._put(row_twins), self._put(column_twins)
        if self.symmetric and len(row_twins):  # d(p, q) is d(q, p) bit for bit, so that ties of codes are ties
            place = twins[0][:, None], twins[1][None, :]
            costs[place] = torch.maximum(costs[place], costs[place].T)
        costs[twins] = 0
        return costs, unit


def _angles(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Arccos(x · y) / π in multiples of 2⁻³⁰, `(U, V)` int32; near 0 and π from |x − y| or |x + y|."""
    cosines = (x @ y.T).clamp(-1, 1)
    angles = (torch.arccos(cosines.double()) * (GRID / math.pi)).round()
    near, far = angles < NEARLY_PARALLEL, angles > GRID - NEARLY_PARALLEL
    for extreme, sign in ((near, -1), (far, 1)):
        for pairs in torch.nonzero(extreme).split(NEAR_PAIRS):
            i, j = pairs.unbind(1)
            side = (x[i].double() + sign * y[j].double()).norm(dim=1)
            angle = (2 * torch.arcsin((side / 2).clamp(max=1)) * (GRID / math.pi)).round()
            angles[i, j] = angle if sign < 0 else GRID - angle
    return angles.int()


def _kl(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """See `distances._kl`."""
    (p, log_p), (_, log_q) = rows.chunk(2, dim=1), columns.chunk(2, dim=1)
    return (p * log_p).sum(dim=1, keepdim=True) - p @ log_q.T


def _round(values: torch.Tensor) -> tuple[torch.Tensor, float]:
    largest = float(values.abs().max())
    unit = 2.0 ** math.ceil(math.log2(largest)) / GRID if largest > 0 else 1.0
    return (values / unit).round().int(), unit


def _batches(wanted: np.ndarray, n: np.ndarray, m: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Wanted pairs, those of like sizes together, in batches whose lattices fit."""
    i, j = np.nonzero(wanted)
    longest = np.maximum(n[i], m[j])
    order = np.argsort(longest, kind="stable")
    i, j, longest = i[order], j[order], longest[order]
    first = 0
    while first < len(i):
        cells = longest[first:] ** 2 * np.arange(1, len(i) - first + 1)  # if the batch ended there
        last = first + max(1, int(np.searchsorted(cells, BATCH_CELLS, side="right")))
        yield i[first:last], j[first:last]
        first = last


def warp(costs: torch.Tensor, n: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Accumulated cost of the last cell of every lattice, and the cells on the path, left or up preferred, each `(P,)`.

    Args:
        costs: `(P, N, M)` integers.
        n: `(P,)` rows of every lattice.
        m: `(P,)` columns.
    """
    pairs, height, width = costs.shape
    if width == 1:
        costs, width = torch.cat([costs, costs], dim=2), 2  # a diagonal needs a step
    flat = costs.reshape(pairs, -1)  # cell (i, j) at i · width + j: a diagonal is a stride of width − 1
    # Column i + 1 holds row i; column 0 lies outside. The last three: of diagonals k − 2 and k − 1.
    outside = torch.full((pairs, height + 1), FAR, dtype=torch.int64, device=costs.device)
    before, before_left, before_up = outside, outside, outside
    last, last_left, last_up = outside.clone(), torch.zeros_like(outside), torch.zeros_like(outside)
    last[:, 1], last_left[:, 1], last_up[:, 1] = flat[:, 0].long(), 1, 1
    answers = torch.stack([last[:, 1], last_left[:, 1], last_up[:, 1]])
    final = (n + m - 2).long()
    for k in range(1, int(final.max()) + 1):
        top, bottom = max(0, k - width + 1), min(height, k + 1)
        here = slice(top + 1, bottom + 1)
        diagonal, up, left = before[:, top:bottom], last[:, top:bottom], last[:, here]
        straight = (diagonal <= left) & (diagonal <= up)
        new, new_left, new_up = outside.clone(), torch.zeros_like(outside), torch.zeros_like(outside)
        step = flat[:, top * width + k - top : (bottom - 1) * width + k - bottom + 2 : width - 1]
        new[:, here] = torch.minimum(torch.minimum(diagonal, left), up) + step
        for lengths, earlier, target, choose_left in (
            (last_left, before_left, new_left, left <= up),
            (last_up, before_up, new_up, left < up),
        ):
            other = torch.where(choose_left, lengths[:, here], lengths[:, top:bottom])
            target[:, here] = 1 + torch.where(straight, earlier[:, top:bottom], other)
        before, before_left, before_up = last, last_left, last_up
        last, last_left, last_up = new, new_left, new_up
        done = (final == k).nonzero()[:, 0]
        if len(done):
            answers[:, done] = torch.stack([part[done, n[done].long()] for part in (last, last_left, last_up)])
    return answers[0], answers[1], answers[2]
