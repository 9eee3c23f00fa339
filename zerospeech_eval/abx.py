"""ABX discrimination of features (Schatz et al. 2013), as the ZeroSpeech benchmarks define it, by one pass over pairs.

A token X is compared with A, of the same phone, and B, of another one; the error rate of a cell is the share of its
triplets (a, b, x) with d(x, a) > d(x, b), ties counting one half. Cells are those of a `task`, d is dynamic time
warping over frame distances (`dtw`, `distances`), and the score is a mean of means (`abx_score`).

A `plan` puts the tokens of several tasks into blocks. For each pair of blocks the frames are gathered, a few matrix
products give the distances between all of them, and each pair of tokens that some cell needs is aligned once, for both
directions and for every task.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from textless.corpora.items import Item
from textless.errors import UserError
from textless.progress import track
from zerospeech_eval.abx_score import Score, make_score
from zerospeech_eval.cells import Cells, count_triplets, find_meetings, join_cells, mark_pairs
from zerospeech_eval.datasets import Dataset, make_dataset
from zerospeech_eval.frame_slices import FrameSlice
from zerospeech_eval.plan import Plan, make_plan
from zerospeech_eval.task import ContextMode, SpeakerMode, Task, zerospeech_task
from zerospeech_eval.threads import cores, map_threads
from zerospeech_eval.token_distances import NO_DISTANCES, Distance, EditDistances, TokenDistances, WarpedDistances
from zerospeech_eval.token_frames import Form, Pooling, TokenFrames, gather

if TYPE_CHECKING:
    import torch

STRIP_FRAMES = 8192  # gathered at once where a pair of blocks is too large for the memory
Found = dict[str, Cells]


def abx(
    items: Iterable[Item],
    features: Mapping[str, np.ndarray],
    frequency: str | float | None,
    *,
    speaker: SpeakerMode = "within",
    context: ContextMode = "within",
    distance: Distance = "angular",
    pooling: Pooling = "none",
    frame_slice: FrameSlice = "exact",
    max_size_group: int | None = None,
    max_x_across: int | None = None,
    seed: int = 0,
    skip_missing: bool = False,
) -> Score:
    """ABX error rate of features; `evaluate` does several tasks, of any labels, in one pass.

    Args:
        items: tokens, see `textless.corpora.items.read_items`.
        features: `(T, D)` by file, e.g. `textless.features.store.open_features(path)`.
        frequency: frames a second of the features, exact where given as text; see `datasets.make_dataset`.
        speaker: X from the speaker of A and B, or from another.
        context: compare in the same context (previous and next phone), or in any.
        distance: between tokens, see `evaluate`.
        pooling: see `evaluate`.
        frame_slice: see `frame_slices`.
        max_size_group: see `task.Task`; None is the exact score, without sampling.
        max_x_across: see `task.Task`.
        seed: of the sampling.
        skip_missing: leave out, and count in `.data.skipped`, tokens whose frames are not there.

    Returns:
        Score: `.value` is the error rate, 0 to 1; `.rows()` and `.pairs` say where it comes from.

    Raises:
        UserError: features are missing or unusable, or no cell can be built.
    """
    data = make_dataset(items, features, frequency, frame_slice=frame_slice, skip_missing=skip_missing)
    task = zerospeech_task(speaker, context, max_size_group=max_size_group, max_x_across=max_x_across, seed=seed)
    return evaluate({speaker: task}, data, distance, pooling=pooling)[speaker]


def evaluate(
    tasks: Mapping[str, Task],
    data: Dataset,
    distance: Distance = "angular",
    *,
    pooling: Pooling = "none",
    unit_length: bool = False,
    workers: int | None = None,
    memory: int | None = None,
    device: "torch.device | None" = None,
) -> dict[str, Score]:
    """Score tasks by name, in one pass.

    Args:
        tasks: what to compare.
        data: the tokens.
        distance: between frames, under dynamic time warping; or `edit` (of sequences of units without repetitions,
            divided by the longer one), or `levenshtein` (of all units, not divided: ABXpy's).
        pooling: compare one frame a token, the mean of its frames, plain or under a Hamming window.
        unit_length: scale frames to length 1 first, for every distance, as Libri-light does.
        workers: threads (default: every core, or two beside a device).
        memory: bytes for distances and cells (default: a quarter of the machine's memory).
        device: compute on it by torch; None is the CPU, by threads.

    Raises:
        UserError: a task has no cell, a column is missing, or the cells do not fit into the memory.
    """
    memory = memory or default_memory() // 2
    workers = workers or (cores() if device is None else 2)  # one gathers while the other computes
    form = Form(pooling, unit_length)
    compare = _token_distances(data, distance, form, device)
    job = Job(make_plan(tasks, data), data, compare, form, memory // (2 * workers))
    parts: dict[str, list[Cells]] = {name: [] for name in tasks}
    held = 0
    for found in map_threads(job.run, track(job.plan.pairs, "ABX"), workers):
        for name, cells in found:
            parts[name].append(cells)
            held += cells.nbytes
        if 3 * held > memory // 2:  # joining them takes twice as much again
            raise UserError(
                f"the cells do not fit into {memory / 2**30:.2g} GB; use --max-x-across, fewer tasks, or more --memory"
            )
    labels = {name: buckets.labels for name, buckets in job.plan.buckets.items()}
    return {name: _score(task, data, join_cells(parts.pop(name)), labels[name]) for name, task in tasks.items()}


def default_memory() -> int:
    """Half of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _token_distances(data: Dataset, distance: Distance, form: Form, device: "torch.device | None") -> TokenDistances:
    if distance in {"edit", "levenshtein", "identical"}:
        if form != Form():
            raise UserError(f"{distance} compares units as they are; leave out --pooling and --unit-length")
    elif data.codebook is None and data.width == 1 and (distance == "angular" or data.arrays[0].dtype.kind in "iu"):
        raise UserError(
            f"{distance} compares vectors, but these features are single numbers: compare units by --distance "
            "identical, edit or levenshtein, or as codebook vectors or one-hot"
        )
    if distance == "edit" or distance == "levenshtein":  # noqa: PLR1714 -- tells mypy what is left
        return EditDistances(distance)
    if device is not None and device.type != "cpu":
        from zerospeech_eval.torch_distances import TorchDistances

        return TorchDistances(distance, device)
    return WarpedDistances(distance)


def _score(task: Task, data: Dataset, cells: Cells, labels: Mapping[str, np.ndarray]) -> Score:
    if not len(cells.roles):
        same = f"one {' and '.join(task.by)}" if task.by else "all"
        wants = (
            f"two of {task.on} and one of them again, by one and by another {' and '.join(task.across)}, in {same}"
            if task.across
            else f"two tokens of one {task.on} and one of another, in {same}"
        )
        there = ", ".join(f"{len(data.label(c).names)} of {c}" for c in (task.on, *task.by, *task.across))
        raise UserError(
            f"the items make no {'across' if task.across else 'within'} cell: it takes {wants}, and there are "
            f"{len(data)} tokens, {there}"
            + ("; --context any compares across contexts" if "context" in task.by else "")
        )
    return make_score(task, data, cells, labels)


@dataclass(frozen=True)
class Job:
    """Evaluates pairs of blocks, in `room` bytes each."""

    plan: Plan
    data: Dataset
    compare: TokenDistances
    form: Form
    room: int

    def run(self, pair: tuple[int, int]) -> list[tuple[str, Cells]]:
        """Cells between two blocks, in both roles."""
        first, second = pair
        if self.compare.symmetric and self._fits(first, second):
            return list(self._both_ways(first, second))
        cells = list(self._one_way(first, second))
        return cells if first == second else cells + list(self._one_way(second, first))

    def _both_ways(self, first: int, second: int) -> Iterator[tuple[str, Cells]]:
        (row_0, row_1), (column_0, column_1) = self.plan.blocks[first], self.plan.blocks[second]
        buckets = self.plan.buckets
        there = {name: find_meetings(b, first, second) for name, b in buckets.items()}
        back = {name: find_meetings(b, second, first) for name, b in buckets.items()} if first != second else {}
        wanted = np.zeros((row_1 - row_0, column_1 - column_0), dtype=bool)
        for name, meetings in there.items():
            mark_pairs(buckets[name], meetings, row_0, column_0, wanted)
        for name, meetings in back.items():
            mark_pairs(buckets[name], meetings, column_0, row_0, wanted.T)
        if first == second:
            wanted = np.triu(wanted | wanted.T, 1)
        if not wanted.any():
            return
        forward = np.empty(wanted.shape)
        backward = forward if first == second else np.empty(wanted.T.shape)
        rows = self._gather(row_0, row_1)
        columns = rows if first == second else self._gather(column_0, column_1)
        self.compare.fill(rows, columns, wanted, forward, backward)
        for name, b in buckets.items():
            yield name, count_triplets(b, there[name], row_0, column_0, forward)
            if back:
                yield name, count_triplets(b, back[name], column_0, row_0, backward)

    def _one_way(self, x: int, ab: int) -> Iterator[tuple[str, Cells]]:
        """Cells with X in one block and A and B in the other, in strips of X that fit into the room."""
        (row_0, row_1), (column_0, column_1) = self.plan.blocks[x], self.plan.blocks[ab]
        buckets = self.plan.buckets
        meetings = {name: find_meetings(b, x, ab) for name, b in buckets.items()}
        height = max(1, self.room // (18 * (column_1 - column_0)))
        for first, last in self._spans(row_0, row_1, height):
            wanted = np.zeros((last - first, column_1 - column_0), dtype=bool)
            for name, found in meetings.items():
                mark_pairs(buckets[name], found, first, column_0, wanted)
            if not wanted.any():
                continue
            distances = np.empty(wanted.shape)
            rows = self._gather(first, last)
            for start, stop in self._spans(column_0, column_1):
                part = slice(start - column_0, stop - column_0)
                columns = self._gather(start, stop)
                self.compare.fill(rows, columns, wanted[:, part], distances[:, part], NO_DISTANCES)
            for name, b in buckets.items():
                yield name, count_triplets(b, meetings[name], first, column_0, distances)

    def _spans(self, first: int, last: int, most_tokens: int | None = None) -> Iterator[tuple[int, int]]:
        """Consecutive places that hold up to `STRIP_FRAMES`, and at most so many tokens."""
        ends = np.cumsum(self.data.lengths[self.plan.tokens[first:last]])
        place = 0
        while place < len(ends):
            before = ends[place - 1] if place else 0
            stop = max(place + 1, int(np.searchsorted(ends, before + STRIP_FRAMES, side="right")))
            stop = min(stop, place + most_tokens) if most_tokens is not None else stop
            yield first + place, first + stop
            place = stop

    def _gather(self, first: int, last: int) -> TokenFrames:
        return gather(self.data, self.plan.tokens[first:last], self.compare.frame_distance, self.form)

    def _fits(self, first: int, second: int) -> bool:
        """Whether the room holds the frames of two blocks, and distances between all of their tokens, both ways."""
        tokens = [self.plan.tokens[slice(*self.plan.blocks[block])] for block in (first, second)]
        # As they are gathered, and in the type they are compared in.
        frames = sum(16 * self.data.width * int(self.data.lengths[part].sum()) for part in tokens)
        return frames + 17 * len(tokens[0]) * len(tokens[1]) <= self.room
