"""Threads of the ABX engine, and the bound on its memory."""

from collections.abc import Iterator

import numpy as np
import pytest
from test_abx import corpus

from textless.errors import UserError
from zerospeech_eval import abx as engine
from zerospeech_eval.threads import _libraries, _thread_functions, map_threads, single_threaded_blas


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


def test_too_many_tokens_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    items, features = corpus(0, most=9)
    monkeypatch.setattr(engine, "LARGEST_BLOCK", 4000)
    with pytest.raises(UserError, match="use --max-size-group"):
        engine.abx(items, features, "50", context="any")
    engine.abx(items, features, "50", context="any", max_size_group=2)
