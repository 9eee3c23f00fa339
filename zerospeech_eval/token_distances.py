"""Distances between the tokens of two blocks: tile by tile, a matrix product and the alignment of all pairs in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from zerospeech_eval.distances import SYMMETRIC, FrameDistance, FrameTable, frame_distances
from zerospeech_eval.dtw import align_pairs
from zerospeech_eval.edit_distance import drop_repeats, edit_pairs
from zerospeech_eval.token_frames import TokenFrames

Distance = FrameDistance | Literal["edit", "levenshtein"]

TILE_FRAMES = 768  # a tile of 2 MB stays in the cache between the product, the arccos and the alignment
TIED_FRAMES = 2048  # distinct frames up to which a block with repeated frames is one tile
NO_DISTANCES = np.empty((0, 0))


class TokenDistances(Protocol):
    """Compares the tokens of two blocks."""

    @property
    def frame_distance(self) -> FrameDistance:
        """What the frames have to be prepared for."""
        ...

    @property
    def symmetric(self) -> bool:
        """Whether one comparison of two frames serves both directions."""
        ...

    def fill(
        self, rows: TokenFrames, columns: TokenFrames, wanted: np.ndarray, forward: np.ndarray, backward: np.ndarray
    ) -> None:
        """Set `forward[i, j]` to d(row i, column j), and `backward[j, i]` to d(column j, row i), where wanted.

        Args:
            rows: n tokens.
            columns: m tokens; may be the rows.
            wanted: `(n, m)` booleans.
            forward: `(n, m)` float64.
            backward: `(m, n)` float64, or empty: only the other direction is asked for.
        """
        ...


@dataclass(frozen=True)
class EditDistances:
    """Levenshtein distances of sequences of equal frames; `edit` is of runs, divided by the longer sequence."""

    distance: Literal["edit", "levenshtein"]
    frame_distance: FrameDistance = "identical"
    symmetric: bool = True

    def fill(
        self, rows: TokenFrames, columns: TokenFrames, wanted: np.ndarray, forward: np.ndarray, backward: np.ndarray
    ) -> None:
        """See `TokenDistances`."""
        x, y = ((side.frames.keys, side.bounds) for side in (rows, columns))
        if self.distance == "edit":
            x, y = drop_repeats(*x), drop_repeats(*y)
        edit_pairs(*x, *y, wanted, self.distance == "edit", forward)
        if backward.size:
            backward.T[wanted] = forward[wanted]


@dataclass(frozen=True)
class WarpedDistances:
    """Dynamic time warping over distances of frames, on the CPU."""

    frame_distance: FrameDistance

    @property
    def symmetric(self) -> bool:
        """See `TokenDistances`."""
        return self.frame_distance in SYMMETRIC

    def fill(
        self, rows: TokenFrames, columns: TokenFrames, wanted: np.ndarray, forward: np.ndarray, backward: np.ndarray
    ) -> None:
        """See `TokenDistances`."""
        row_tiles, column_tiles, repeated = cut(rows, columns, TILE_FRAMES)
        for row in row_tiles:
            for column in column_tiles:
                chosen = wanted[row.span, column.span]
                if not chosen.any():
                    continue
                costs, unit = frame_distances(row.table, column.table, self.frame_distance, repeated)
                there = forward[row.span, column.span]
                back = backward[column.span, row.span] if backward.size else NO_DISTANCES
                align_pairs(costs, unit, row.index, row.bounds, column.index, column.bounds, chosen, there, back)


@dataclass(frozen=True)
class Tile:
    """Consecutive tokens of a block: their distinct frames, and where each of their frames is among those."""

    span: slice
    table: FrameTable
    index: np.ndarray
    bounds: np.ndarray


def cut(rows: TokenFrames, columns: TokenFrames, tile_frames: int) -> tuple[list[Tile], list[Tile], np.ndarray]:
    """Tiles of up to so many frames, and the keys of frames that occur twice.

    Those need their distances from one product, see `distances`; blocks with such frames, of codes above all, are one
    tile as long as their distinct frames are few. (Beyond that, distances between them can differ in the last digit of
    float32.)
    """
    sides = [rows] if rows is columns else [rows, columns]
    keys, counts = np.unique(np.concatenate([side.frames.keys for side in sides]), return_counts=True)
    repeated = keys[counts > 1]
    if len(repeated) and len(keys) <= TIED_FRAMES:
        tile_frames = sum(len(side.frames) for side in sides)
    tiles = [list(_tiles(side, tile_frames)) for side in sides]
    return tiles[0], tiles[-1], repeated


def _tiles(side: TokenFrames, most: int) -> Iterator[Tile]:
    first, count = 0, len(side.bounds) - 1
    while first < count:
        last = max(int(np.searchsorted(side.bounds, side.bounds[first] + most, side="right")) - 1, first + 1)
        frames = side.frames[int(side.bounds[first]) : int(side.bounds[last])]
        _, original, index = np.unique(frames.keys, return_index=True, return_inverse=True)
        if len(original) == len(frames):  # nothing repeats: keep the order, for the sake of the cache
            table, index = frames, np.arange(len(frames))
        else:
            table = frames[original]
        yield Tile(
            slice(first, last), table, index.astype(np.uint32), side.bounds[first : last + 1] - side.bounds[first]
        )
        first = last
