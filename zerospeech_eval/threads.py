"""Threads: one matrix product a thread, many at a time.

The kernels release the interpreter's lock, so plain threads use all cores. The BLAS inside numpy has threads of its
own, which only get in the way then (a product of 64 x 64 took 15 ms instead of 43 µs on two busy cores).
"""

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")
R = TypeVar("R")
PREFIXES = ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}")


def cores() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_threads(function: Callable[[T], R], items: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """Results of `function`, in order, from `workers` threads; only a few items are taken in advance."""
    workers = workers or cores()
    with single_threaded_blas(), ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep numpy's own OpenBLAS to the calling thread; with another BLAS nothing is changed."""
    found = [functions for functions in map(_thread_functions, _libraries()) if functions is not None]
    before = [get() for get, _ in found]
    for _, put in found:
        put(1)
    try:
        yield
    finally:
        for (_, put), threads in zip(found, before, strict=True):
            put(threads)


def _libraries() -> list[Path]:
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".dylibs")
    return [path for folder in folders if folder.is_dir() for path in folder.glob("*openblas*")]


def _thread_functions(library: Path) -> tuple[Any, Any] | None:
    try:
        loaded = ctypes.CDLL(str(library))  # loaded by numpy already: this is only a handle
    except OSError:
        return None
    for prefix in PREFIXES:
        get, put = (getattr(loaded, prefix.format(name), None) for name in ("get_num_threads", "set_num_threads"))
        if get is not None and put is not None:
            return get, put
    return None
