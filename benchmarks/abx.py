"""ABX: seconds, memory, and deviation from the slow oracle and from fastabx, on the same files in the same run.

    python benchmarks/abx.py --scale core --distance angular --context both --fastabx PYTHON
    python benchmarks/abx.py --curve

`--fastabx` names the Python interpreter (3.12 or newer) of an environment that fastabx is installed in; the two take
turns, each in a process of its own. Times are from files to score, the best of some runs in one process (and the first
one, with the loading of kernels); memory is the peak of the whole process.

Data: speakers x phones x contexts x tokens of 5 to 15 frames of 256 numbers, all buckets filled. `natural` is a chain
of phones instead, whose contexts are many and mostly rare. `--curve` grows the number of contexts up to 100 000 tokens.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np

FREQUENCY = "50"
SCALES = {"small": (3, 4, 2), "core": (5, 10, 8), "medium": (12, 16, 10)}  # speakers, phones, contexts
TOKENS = {"small": (4, 8), "core": (4, 8), "medium": (3, 5)}  # of a bucket
CURVE = (1_000, 10_000, 100_000)
CURVE_GROUP = (10, 20, 5)  # speakers, phones, tokens of a bucket: 1000 tokens a context
DIM = 256
RUNS = 3

FASTABX = """
import json, resource, sys, time
from fastabx import zerospeech_abx
folder, mode, context, distance, runs = sys.argv[1:]
times, processor = [], []
for _ in range(int(runs)):
    begin, cpu = time.perf_counter(), time.process_time()
    value = zerospeech_abx(f"{folder}/test.item", f"{folder}/pt", max_size_group=None, max_x_across=None, speaker=mode,
                           context=context, distance=distance, frequency=50, device="cpu", progress=False)
    times.append(time.perf_counter() - begin)
    processor.append(time.process_time() - cpu)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"scores": {mode: value}, "seconds": times, "cpu": processor, "peak_mb": peak / 1000}))
"""
PT = """
import sys, numpy, pathlib, torch
for path in pathlib.Path(sys.argv[1]).glob("*.npy"):
    torch.save(torch.from_numpy(numpy.load(path)), f"{sys.argv[2]}/{path.stem}.pt")
"""


def write_corpus(folder: Path, speakers: int, phones: int, contexts: int, tokens: tuple[int, int]) -> int:
    """Tokens that are a phone's walk through the space, moved by speaker and context, under noise."""
    from textless.corpora.items import Item, write_items

    rng = np.random.default_rng(0)
    paths = rng.normal(size=(phones, 2, DIM))
    speaker_shift, context_shift = 0.5 * rng.normal(size=(speakers, DIM)), 0.5 * rng.normal(size=(contexts, DIM))
    items: list[Item] = []
    (folder / "npy").mkdir()
    for s in range(speakers):
        frames, start = [], 0
        for c, p in [(c, p) for c in range(contexts) for p in range(phones)]:
            for _ in range(rng.integers(tokens[0], tokens[1] + 1)):
                n = int(rng.integers(5, 16))
                along = np.linspace(0, 1, n)[:, None]
                path = paths[p, 0] * (1 - along) + paths[p, 1] * along
                noise = rng.standard_normal((n, DIM), dtype=np.float32)
                frames.append((path + speaker_shift[s] + context_shift[c] + 4 * noise).astype(np.float32))
                onset, offset = f"{start / 50:.4f}", f"{(start + n) / 50:.4f}"
                items.append(Item(f"s{s}", onset, offset, f"p{p}", f"c{c}", f"c{c}", f"s{s}"))
                start += n
        np.save(folder / "npy" / f"s{s}.npy", np.concatenate(frames))
    write_items(folder / "test.item", items)
    return len(items)


def write_natural(folder: Path, n_tokens: int = 20_000, speakers: int = 20, phones: int = 36) -> int:
    """Triphones of a Markov chain of phones of 2 to 6 frames."""
    from textless.corpora.alignment import Segment
    from textless.corpora.items import items_from_alignment, write_items

    rng = np.random.default_rng(0)
    common = rng.dirichlet(np.full(phones, 0.6))
    transitions = 0.5 * common + 0.5 * rng.dirichlet(np.full(phones, 0.08), size=phones)
    means, shifts = rng.normal(size=(phones, DIM)), 0.5 * rng.normal(size=(speakers, DIM))
    spoken = {}
    (folder / "npy").mkdir()
    for s in range(speakers):
        said = [0]
        while len(said) < n_tokens // speakers + 2:
            said.append(int(rng.choice(phones, p=transitions[said[-1]])))
        lengths = rng.integers(2, 7, len(said))
        ends = np.cumsum(lengths)
        spoken[f"s{s}"] = [
            Segment((e - n) / 50, e / 50, f"p{p}")
            for p, n, e in zip(said, lengths.tolist(), ends.tolist(), strict=True)
        ]
        frames = means[np.repeat(said, lengths)] + shifts[s] + 3 * rng.normal(size=(ends[-1], DIM))
        np.save(folder / "npy" / f"s{s}.npy", frames.astype(np.float32))
    items = list(items_from_alignment(spoken, {name: name for name in spoken}, "triphone"))
    write_items(folder / "test.item", items)
    return len(items)


def measure_ours(folder: str, speaker: str, context: str, distance: str, threads: str, runs: str) -> None:
    """Print times, scores and memory as JSON; runs in a process of its own."""
    from textless.corpora.items import read_items
    from textless.features.store import open_features
    from zerospeech_eval.abx import evaluate
    from zerospeech_eval.datasets import make_dataset
    from zerospeech_eval.task import zerospeech_tasks

    tasks = zerospeech_tasks(speaker, context)  # type: ignore[arg-type]
    times, processor = [], []
    for _ in range(int(runs)):
        begin, cpu = time.perf_counter(), time.process_time()
        data = make_dataset(read_items(Path(folder) / "test.item"), open_features(Path(folder) / "npy"), FREQUENCY)
        scores = evaluate(tasks, data, distance, workers=int(threads))  # type: ignore[arg-type]
        times.append(time.perf_counter() - begin)
        processor.append(time.process_time() - cpu)
    print(
        json.dumps(
            {
                "scores": {name: score.value for name, score in scores.items()},
                "seconds": times,
                "cpu": processor,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
                "cells": sum(map(len, scores.values())),
                "triplets": sum(score.n_triplets for score in scores.values()),
            }
        )
    )


def run(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def ours(folder: Path, speaker: str, context: str, distance: str, threads: int, runs: int = RUNS) -> dict:
    arguments = [str(folder), speaker, context, distance, str(threads), str(runs)]
    return run([sys.executable, __file__, "--measure", *arguments])


def line(name: str, result: dict) -> str:
    values = " ".join(f"{name} {100 * value:.5f} %" for name, value in result["scores"].items())
    return (
        f"{name:22} best {best(result):7.3f} s ({best(result, 'cpu'):7.3f} s of processor)  "
        f"first {result['seconds'][0]:6.2f} s  peak {result['peak_mb']:6.0f} MB  {values}"
    )


def best(result: dict, clock: str = "seconds") -> float:
    """Shortest run but the first, which loads kernels."""
    return min(result[clock][1:] or result[clock])


def compare(folder: Path, distance: str, threads: int, contexts: str, fastabx: str | None) -> None:
    """Each condition, beside fastabx; then all in one pass."""
    alone = {}
    for context, mode in product(("within", "any") if contexts == "both" else (contexts,), ("within", "across")):
        name = f"any-{mode}" if contexts == "both" and context == "any" else mode
        result = alone[name] = ours(folder, mode, context, distance, threads)
        print(line(name, result))
        if fastabx is None:
            continue
        theirs = run([fastabx, "-c", FASTABX, str(folder), mode, context, distance, str(RUNS)])
        print(line("  fastabx", theirs))
        print(
            f"  {best(theirs) / best(result):.1f} x ({best(theirs, 'cpu') / best(result, 'cpu'):.1f} x by processor), "
            f"off by {abs(theirs['scores'][mode] - result['scores'][mode]):.1e}",
            flush=True,
        )
    dearest = {clock: max(best(result, clock) for result in alone.values()) for clock in ("seconds", "cpu")}
    together = ours(folder, "both", contexts, distance, threads)
    print(line("all in one pass", together))
    ratios = {clock: best(together, clock) / dearest[clock] for clock in dearest}
    print(f"  {ratios['seconds']:.2f} x the dearest of them alone ({ratios['cpu']:.2f} x by processor)")
    for name, value in together["scores"].items():
        assert value == alone[name]["scores"][name.removeprefix("any-")]


def deviation(distance: str) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from oracles import abx as oracle

    from textless.corpora.items import read_items
    from zerospeech_eval.abx import abx

    with tempfile.TemporaryDirectory() as name:
        write_corpus(Path(name), *SCALES["small"], TOKENS["small"])
        items = read_items(Path(name) / "test.item")
        features = {path.stem: np.load(path) for path in Path(name, "npy").iterdir()}
    if distance.startswith("kl"):
        features = {file: softmax(array) for file, array in features.items()}
    for mode in ("within", "across"):
        cells, value = oracle.zerospeech(items, features, FREQUENCY, mode, "within", distance)
        score = abx(items, features, FREQUENCY, speaker=mode, distance=distance)
        expected = [error for _, (error, _) in sorted(cells.items())]
        worst = np.abs(score.errors - expected).max() if len(score) == len(expected) else np.inf
        print(f"oracle {mode:7} off by {abs(score.value - value):.1e}, worst of {len(cells)} cells by {worst:.1e}")


def softmax(array: np.ndarray) -> np.ndarray:
    powers = np.exp(array - array.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def curve(distance: str, threads: int) -> None:
    """Within and across speakers in one pass, by the number of tokens."""
    speakers, phones, tokens = CURVE_GROUP
    for size in CURVE:
        with tempfile.TemporaryDirectory() as name:
            n = write_corpus(Path(name), speakers, phones, size // (speakers * phones * tokens), (tokens, tokens))
            print(line(f"{n} tokens", ours(Path(name), "both", "within", distance, threads, 1)), flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure_ours(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=[*SCALES, "natural"], default="core")
    parser.add_argument("--distance", choices=["angular", "euclidean", "kl_symmetric", "identical"], default="angular")
    parser.add_argument("--context", choices=["within", "any", "both"], default="both")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--fastabx", metavar="PYTHON", help="interpreter of an environment with fastabx")
    parser.add_argument("--curve", action="store_true", help="time and memory up to 100 000 tokens")
    arguments = parser.parse_args()
    if arguments.curve:
        curve(arguments.distance, arguments.threads)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n = (
            write_natural(folder)
            if arguments.scale == "natural"
            else write_corpus(folder, *SCALES[arguments.scale], TOKENS[arguments.scale])
        )
        if arguments.distance.startswith("kl"):
            for path in (folder / "npy").iterdir():
                np.save(path, softmax(np.load(path)))
        print(f"{arguments.scale}: {n} tokens, {DIM} dimensions, {arguments.distance}, {arguments.threads} threads")
        if arguments.fastabx is not None:
            (folder / "pt").mkdir()
            subprocess.run([arguments.fastabx, "-c", PT, str(folder / "npy"), str(folder / "pt")], check=True)
        compare(folder, arguments.distance, arguments.threads, arguments.context, arguments.fastabx)
    deviation(arguments.distance)


if __name__ == "__main__":
    main()
