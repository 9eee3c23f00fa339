"""The cells between two blocks of tokens: frames are gathered, distances filled in, triplets counted, task by task."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from zerospeech_eval.cells import Cells, count_triplets, find_meetings, mark_pairs
from zerospeech_eval.datasets import Dataset
from zerospeech_eval.plan import Plan
from zerospeech_eval.token_distances import NO_DISTANCES, TokenDistances
from zerospeech_eval.token_frames import Form, TokenFrames, gather

STRIP_FRAMES = 8192  # gathered at once where a pair of blocks is too large for the memory


@dataclass(frozen=True)
class Job:
    """Evaluates pairs of blocks of a plan, in `room` bytes each.

    Distances go into one matrix for both directions where it fits, each pair of tokens being compared once; else they
    are computed in one direction at a time, in strips of it.
    """

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
