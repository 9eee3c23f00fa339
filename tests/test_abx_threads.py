"""Threads of the ABX engine, and the bound on its memory."""

from collections.abc import Iterator

import numpy as np
import pytest
from test_abx import corpus

from textless.errors import UserError
from zerospeech_eval import abx as engine
from zerospeech_eval.abx import evaluate
from zerospeech_eval.abx_score import make_score
from zerospeech_eval.block_pairs import Job
from zerospeech_eval.cells import join_cells
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.plan import make_plan
from zerospeech_eval.task import zerospeech_tasks
from zerospeech_eval.threads import _libraries, _thread_functions, map_threads, single_threaded_blas
from zerospeech_eval.token_distances import WarpedDistances
from zerospeech_eval.token_frames import Form, TokenFrames


def test_results_keep_their_order_and_items_are_taken_as_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    results = map_threads(lambda number: number**2, items(), workers=2)
    assert next(results) == 0
    assert taken < 20
    assert list(results) == [number**2 for number in range(1, 100)]


def test_an_error_in_a_thread_reaches_the_caller() -> None:
    def fail(number: int) -> int:
        raise UserError(f"item {number}")

    with pytest.raises(UserError, match="item 0"):
        list(map_threads(fail, range(50), workers=2))


def test_blas_gets_its_threads_back() -> None:
    functions = [found for found in map(_thread_functions, _libraries()) if found is not None]
    if not functions:
        pytest.skip("numpy has no OpenBLAS of its own here")
    get, put = functions[0]
    before = get()
    put(2)
    with single_threaded_blas():
        assert get() == 1
        np.ones((64, 64)) @ np.ones((64, 64))
    assert get() == 2
    put(before)


def test_matrices_of_distances_keep_to_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    items, features = corpus(0, most=9)
    data, tasks = make_dataset(items, features, "50"), zerospeech_tasks("both", "any")
    sizes = []

    class Spy(WarpedDistances):
        def fill(
            self, rows: TokenFrames, columns: TokenFrames, wanted: np.ndarray, forward: np.ndarray, backward: np.ndarray
        ) -> None:
            sizes.append(wanted.nbytes + forward.nbytes + backward.nbytes * (rows is not columns))
            super().fill(rows, columns, wanted, forward, backward)

    monkeypatch.setattr(engine, "WarpedDistances", Spy)
    expected = {name: score.value for name, score in evaluate(tasks, data).items()}
    assert max(sizes) > 20_000
    found = {}
    for room in (20_000, 2_000):
        sizes.clear()
        job = Job(make_plan(tasks, data), data, Spy("angular"), Form(), room)
        cells = [part for pair in job.plan.pairs for part in job.run(pair)]
        assert max(sizes) <= room
        for name, task in tasks.items():
            joined = join_cells([part for condition, part in cells if condition == name])
            found[name] = make_score(task, data, joined, job.plan.buckets[name].labels).value
        assert found == expected


def test_cells_beyond_the_memory_are_refused() -> None:
    items, features = corpus(0, most=9)
    data = make_dataset(items, features, "50")
    with pytest.raises(UserError, match="cells do not fit .*--max-x-across"):
        evaluate(zerospeech_tasks("across", "within"), data, memory=1000)
