"""ABX discrimination of features (Schatz et al. 2013), as the ZeroSpeech benchmarks define it, by one pass over pairs.

A token X is compared with A, of the same phone, and B, of another one; the error rate of a cell is the share of its
triplets (a, b, x) with d(x, a) > d(x, b), ties counting one half. Cells are those of `task`, d is dynamic time warping
over frame distances (`dtw`, `distances`), and the score is a mean of means (`cells.Score.value`).

Each context is done by itself: its frames are gathered, a few matrix products give the distances between all of them,
and each pair of tokens that some cell needs is aligned once, for both directions and for both speaker modes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from textless.corpora.items import Item
from textless.errors import UserError
from textless.progress import track
from zerospeech_eval.cells import Buckets, Score, count_triplets
from zerospeech_eval.datasets import Dataset, FrameSlice, make_dataset
from zerospeech_eval.distances import Distance, FrameTable, frame_distances, prepare
from zerospeech_eval.dtw import align_pairs
from zerospeech_eval.task import ContextMode, Group, SpeakerMode, Task, make_groups
from zerospeech_eval.threads import map_threads

TILE_FRAMES = 1024  # a tile of 4 MB stays in the cache between the product, the arccos and the alignment
TIED_FRAMES = 4096  # distinct frames up to which a block with repeated frames is one tile
BLOCK_FRAMES = {"within": 512, "across": 8192}  # speakers are packed up to so many frames
LARGEST_BLOCK = 4 << 30  # bytes of distances between the tokens of one block


def abx(
    items: Iterable[Item],
    features: Mapping[str, np.ndarray],
    frequency: str | float,
    *,
    speaker: SpeakerMode = "within",
    context: ContextMode = "within",
    distance: Distance = "angular",
    frame_slice: FrameSlice = "exact",
    max_size_group: int | None = None,
    max_x_across: int | None = None,
    seed: int = 0,
    skip_missing: bool = False,
) -> Score:
    """ABX error rate of features; `evaluate` does several speaker modes in one pass.

    Args:
        items: tokens, see `textless.corpora.items.read_items`.
        features: `(T, D)` by file, e.g. `textless.features.store.open_features(path)`.
        frequency: frames a second of the features, exact where given as text.
        speaker: X from the speaker of A and B, or from another.
        context: compare in the same context (previous and next phone), or in any.
        distance: between frames.
        frame_slice: see `datasets.make_dataset`.
        max_size_group: see `task.Task`; None is the exact score, without sampling.
        max_x_across: see `task.Task`.
        seed: of the sampling.
        skip_missing: leave out, and count in `.data.skipped`, tokens whose frames are not there.

    Returns:
        Score: `.value` is the error rate, 0 to 1; `.cells` and `.phone_pairs` say where it comes from.

    Raises:
        UserError: features are missing or unusable, or no cell can be built.
    """
    data = make_dataset(items, features, frequency, frame_slice=frame_slice, skip_missing=skip_missing)
    task = Task((speaker,), context, max_size_group, max_x_across, seed)
    return evaluate(task, data, distance)[speaker]


def evaluate(task: Task, data: Dataset, distance: Distance = "angular", workers: int | None = None) -> dict[str, Score]:
    """Scores by speaker mode, in one pass; uses `workers` threads (default: every core)."""
    groups = list(make_groups(task, data))
    blocks = (pair for group in track(groups, "ABX") for pair in _block_pairs(task, data, group))
    tables = list(map_threads(partial(_evaluate_blocks, data, distance), blocks, workers))
    table = np.concatenate(tables) if tables else np.zeros((0, 7), dtype=np.int64)
    is_within = table[:, 1] == table[:, 2]
    modes = {"within": is_within, "across": ~is_within}
    return {mode: _make_score(mode, task, data, table[modes[mode]]) for mode in task.speakers}


def _make_score(mode: SpeakerMode, task: Task, data: Dataset, table: np.ndarray) -> Score:
    if not len(table):
        context = "in one context" if task.context == "within" else "in all"
        wants = {
            "within": f"two tokens of a phone and one of another, by one speaker {context}",
            "across": f"two phones by one speaker {context} and one of them by another speaker",
        }
        raise UserError(
            f"the items make no {mode}-speaker cell: it takes {wants[mode]}, and there are {len(data)} tokens of "
            f"{len(data.phones)} phones by {len(data.speakers)} speakers in {len(data.contexts)} contexts"
            + ("; --context any compares across contexts" if task.context == "within" else "")
        )
    return Score(mode, task.context, data, *np.ascontiguousarray(table.T))


@dataclass(frozen=True)
class Block:
    """Some speakers of a group: buckets `first:last`."""

    group: Group
    first: int
    last: int

    @property
    def tokens(self) -> np.ndarray:
        """Numbers of the tokens in the dataset, `(n,)`."""
        bounds = self.group.bounds
        return self.group.tokens[bounds[self.first] : bounds[self.last]]

    @property
    def buckets(self) -> Buckets:
        """Buckets of `tokens`."""
        span = slice(self.first, self.last)
        bounds = self.group.bounds[self.first : self.last + 1] - self.group.bounds[self.first]
        return Buckets(bounds, self.group.phone[span], self.group.speaker[span])

    @property
    def needed(self) -> np.ndarray:
        """Rows of `Group.needed`."""
        return self.group.needed[self.first : self.last]


def _block_pairs(task: Task, data: Dataset, group: Group) -> Iterator[tuple[Block, Block]]:
    blocks = list(_blocks(group, data, BLOCK_FRAMES["across" if "across" in task.speakers else "within"]))
    for i, rows in enumerate(blocks):
        for columns in blocks[i:]:
            if _needs(rows.needed, columns.buckets.speaker) or _needs(columns.needed, rows.buckets.speaker):
                yield rows, columns


def _needs(needed: np.ndarray, speakers: np.ndarray) -> bool:
    """Whether any row is X for any of the speakers."""
    return bool(needed[:, np.unique(speakers)].any())


def _blocks(group: Group, data: Dataset, most_frames: int) -> Iterator[Block]:
    """Pack consecutive speakers; a speaker is never split."""
    lengths = np.append(0, np.cumsum(data.stop[group.tokens] - data.start[group.tokens]))[group.bounds]
    first = 0
    edges = np.append(np.flatnonzero(np.diff(group.speaker)) + 1, len(group.speaker))
    for before, edge in zip(np.append(0, edges), edges, strict=False):
        if before > first and lengths[edge] - lengths[first] > most_frames:
            yield Block(group, first, int(before))
            first = int(before)
    yield Block(group, first, len(group.speaker))


@dataclass(frozen=True)
class Gathered:
    """Frames of a block: token i is `frames[bounds[i]:bounds[i + 1]]`; `speakers` and `needs` are by token."""

    frames: FrameTable
    bounds: np.ndarray
    speakers: np.ndarray
    needs: np.ndarray


def _gather(data: Dataset, block: Block, distance: Distance) -> Gathered:
    tokens, sizes = block.tokens, np.diff(block.buckets.bounds)
    bounds = np.append(0, np.cumsum(data.stop[tokens] - data.start[tokens]))
    frames = prepare(data.frames(tokens), distance)
    return Gathered(frames, bounds, np.repeat(block.buckets.speaker, sizes), np.repeat(block.needed, sizes, axis=0))


def _evaluate_blocks(data: Dataset, distance: Distance, pair: tuple[Block, Block]) -> np.ndarray:
    """Cells between two blocks in both roles, `(cells, 7)`: context, speaker, X speaker, a, b, wins, triplets."""
    rows, columns = pair
    n, m = len(rows.tokens), len(columns.tokens)
    if 8 * n * m > LARGEST_BLOCK:
        raise UserError(
            f"{max(n, m)} tokens of one context and speaker are too many to compare all pairs; use --max-size-group"
        )
    forward = np.empty((n, m))
    if rows is columns:
        backward = forward
        _align(_gather(data, rows, distance), None, distance, forward, backward)
        tables = [_count(rows, rows, forward)]
    else:
        backward = np.empty((m, n))
        _align(_gather(data, rows, distance), _gather(data, columns, distance), distance, forward, backward)
        tables = [_count(rows, columns, forward), _count(columns, rows, backward)]
    table = np.concatenate(tables)
    table[:, 1:3] = rows.group.speaker_names[table[:, 1:3]]
    return table


def _count(x: Block, ab: Block, distances: np.ndarray) -> np.ndarray:
    table = count_triplets(distances, x.buckets, ab.buckets, x.needed)
    return np.insert(table, 0, x.group.context, axis=1)


def _align(
    rows: Gathered, columns: Gathered | None, distance: Distance, forward: np.ndarray, backward: np.ndarray
) -> None:
    """Fill `forward` with d(row, column) and `backward` with d(column, row), tile by tile.

    Frames that occur twice need their distances from one product, see `distances`; blocks with such frames, of codes
    above all, are one tile as long as their distinct frames are few. (Beyond that, distances between them can differ in
    the last digit of float32.)
    """
    sides = [rows] if columns is None else [rows, columns]
    keys, counts = np.unique(np.concatenate([side.frames.keys for side in sides]), return_counts=True)
    repeated = keys[counts > 1]
    whole = len(repeated) > 0 and len(keys) <= TIED_FRAMES
    row_tiles = list(_tiles(rows, whole=whole))
    column_tiles = row_tiles if columns is None else list(_tiles(columns, whole=whole))
    for i, row in enumerate(row_tiles):
        for column in column_tiles[i if columns is None else 0 :]:
            if not (_needs(row.needs, column.speakers) or _needs(column.needs, row.speakers)):
                continue
            costs, unit = frame_distances(row.table, column.table, distance, repeated)
            align_pairs(
                costs,
                unit,
                row.index,
                row.bounds,
                column.index,
                column.bounds,
                row.needs,
                column.needs,
                row.speakers,
                column.speakers,
                row is column,
                forward[row.span, column.span],
                backward[column.span, row.span],
            )


@dataclass(frozen=True)
class Tile:
    """Consecutive tokens of a block: their distinct frames, and where each of their frames is among those."""

    span: slice
    table: FrameTable
    index: np.ndarray
    bounds: np.ndarray
    speakers: np.ndarray
    needs: np.ndarray


def _tiles(side: Gathered, *, whole: bool) -> Iterator[Tile]:
    most = int(side.bounds[-1]) if whole else TILE_FRAMES
    first, count = 0, len(side.bounds) - 1
    while first < count:
        last = max(int(np.searchsorted(side.bounds, side.bounds[first] + most, side="right")) - 1, first + 1)
        frames = side.frames[int(side.bounds[first]) : int(side.bounds[last])]
        _, original, index = np.unique(frames.keys, return_index=True, return_inverse=True)
        if len(original) == len(frames):  # nothing repeats: keep the order, for the sake of the cache
            table, index = frames, np.arange(len(frames))
        else:
            table = frames[original]
        span = slice(first, last)
        bounds = side.bounds[first : last + 1] - side.bounds[first]
        yield Tile(span, table, index, bounds, side.speakers[span], side.needs[span])
        first = last
