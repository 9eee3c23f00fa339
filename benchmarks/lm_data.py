"""Memory and time of preparing and reading the data of a unit LM, for corpora of growing size.

    python benchmarks/lm_data.py [--units 1e6 1e7 1e8] [--folder /tmp/lm_data]

Each part runs in a process of its own. "own" is the memory that the process allocated, at its largest, above that of
importing the same code; mapped files, which the system takes back when it needs the room, are not in it. The peak is
read from the system every few milliseconds.
"""

import argparse
import multiprocessing
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ulm.data import PackedUnits
from ulm.shards import TokenShards, prepare
from units.files import Units, write_units
from units.identity import QuantizerIdentity

K, CONTEXT, ROWS, UPDATES = 500, 1024, 64, 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--units", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lm_data"))
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    for n_units in map(int, options.units):
        units, tokens = options.folder / f"{n_units}.jsonl", options.folder / f"{n_units}"
        quantizer = QuantizerIdentity(encoder="random", k=K, frame_rate=50.0, sha256="0" * 64)
        write_units(units, quantizer, utterances(n_units))
        report(n_units, "prepare", measure(prepare_folder, units, tokens))
        report(n_units, f"open, {UPDATES} updates", measure(read_updates, tokens))
        units.unlink()


def utterances(n_units: int) -> Iterator[Units]:
    random, done, number = np.random.default_rng(0), 0, 0
    while done < n_units:
        length = int(random.integers(50, 900))
        yield Units(f"u{number:09d}", random.integers(0, K, length).tolist())
        done, number = done + length, number + 1


def prepare_folder(units: Path, tokens: Path) -> None:
    prepare(units, tokens, shards=2)


def read_updates(tokens: Path) -> None:
    data = PackedUnits(TokenShards(tokens), CONTEXT)
    for update in range(UPDATES):
        # Far from one another, as after many restarts: every second one needs another block.
        data.batch(update // 2 * 997, ROWS, seed=0)


def report(n_units: int, name: str, measured: tuple[float, float]) -> None:
    seconds, mebibytes = measured
    print(f"{n_units:.0e} units  {name:20} {seconds:7.1f} s   own memory {mebibytes:6.0f} MiB", flush=True)


def measure(work: Callable[..., None], *arguments: Path) -> tuple[float, float]:
    """Seconds, and the largest memory of a process that does nothing else."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_measured, args=(results, work, arguments))
    process.start()
    process.join()
    return results.get()


def _measured(results: multiprocessing.SimpleQueue, work: Callable[..., None], arguments: tuple[Path, ...]) -> None:
    before, peak, done = _own_memory(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.003):
            peak = max(peak, _own_memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    work(*arguments)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    results.put((seconds, peak - before))


def _own_memory() -> float:
    """Anonymous memory in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


if __name__ == "__main__":
    main()
