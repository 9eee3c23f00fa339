"""ABX: seconds, triplets a second, and deviation from the slow oracle (and from fastabx, where it is installed).

    python benchmarks/abx.py [--scale core|medium] [--distance angular] [--workers 2]

Data: `core` is 5 speakers x 10 phones x 8 contexts x 4 to 8 tokens of 5 to 15 frames, 256 numbers a frame.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oracles import abx as oracle

from textless.corpora.items import Item, write_items
from zerospeech_eval.abx import abx, evaluate
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.task import Task

FREQUENCY = "50"
SCALES = {"small": (3, 4, 2), "core": (5, 10, 8), "medium": (12, 16, 10)}  # speakers, phones, contexts
DIM = 256


def synthesize(scale: str, seed: int = 0) -> tuple[list[Item], dict[str, np.ndarray]]:
    """Tokens that are a phone's walk through the space, moved by speaker and context, under noise."""
    speakers, phones, contexts = SCALES[scale]
    rng = np.random.default_rng(seed)
    paths = rng.normal(size=(phones, 2, DIM))
    speaker_shift, context_shift = 0.5 * rng.normal(size=(speakers, DIM)), 0.5 * rng.normal(size=(contexts, DIM))
    items, features = [], {}
    for s in range(speakers):
        frames, start = [], 0
        for c, p in [(c, p) for c in range(contexts) for p in range(phones)]:
            for _ in range(rng.integers(4, 9)):
                n = int(rng.integers(5, 16))
                along = np.linspace(0, 1, n)[:, None]
                path = paths[p, 0] * (1 - along) + paths[p, 1] * along
                frames.append(path + speaker_shift[s] + context_shift[c] + 6 * rng.normal(size=(n, DIM)))
                onset, offset = f"{start / 50:.4f}", f"{(start + n) / 50:.4f}"
                items.append(Item(f"s{s}", onset, offset, f"p{p}", f"c{c}", f"c{c}", f"s{s}"))
                start += n
        features[f"s{s}"] = np.concatenate(frames).astype(np.float32)
    return items, features


def timed(items: list[Item], features: dict[str, np.ndarray], mode: str, distance: str, workers: int | None) -> None:
    speakers = ("within", "across") if mode == "both" else (mode,)
    times, processor = [], []
    for _ in range(4):
        begin, cpu = time.perf_counter(), time.process_time()
        scores = evaluate(Task(speakers), make_dataset(items, features, FREQUENCY), distance, workers)
        times.append(time.perf_counter() - begin)
        processor.append(time.process_time() - cpu)
    triplets = sum(score.n_triplets for score in scores.values())
    values = " ".join(f"{name} {100 * score.value:.6f} %" for name, score in scores.items())
    cells = sum(map(len, scores.values()))
    print(
        f"{mode:7} {values}  cells {cells}  triplets {triplets}  first {times[0]:.2f} s  best {min(times[1:]):.3f} s  "
        f"(processor {min(processor):.3f} s)  "
        f"{triplets / min(times[1:]) / 1e6:.1f} M triplets/s"
    )


def deviation(distance: str) -> None:
    items, features = synthesize("small")
    if distance == "kl_symmetric":
        features = {file: softmax(array) for file, array in features.items()}
    for mode in ("within", "across"):
        begin = time.perf_counter()
        cells = oracle.abx(items, features, FREQUENCY, mode, "within", distance)
        seconds = time.perf_counter() - begin
        score = abx(items, features, FREQUENCY, speaker=mode, distance=distance)
        largest = max(
            abs(c.error - cells[tuple(c.context.split()), c.speaker, c.x_speaker, c.a, c.b][0]) for c in score.cells
        )
        print(
            f"oracle  {mode:7} score off by {abs(score.value - oracle.score(cells)):.1e}, worst of {len(cells)} cells "
            f"by {largest:.1e} (oracle {seconds:.1f} s)"
        )


def softmax(array: np.ndarray) -> np.ndarray:
    powers = np.exp(array - array.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def compare_fastabx(items: list[Item], features: dict[str, np.ndarray], distance: str) -> None:
    if importlib.util.find_spec("fastabx") is None:
        print("fastabx is not installed (it needs Python >= 3.12): not compared")
        return
    import torch
    from fastabx import zerospeech_abx

    with tempfile.TemporaryDirectory() as folder:
        write_items(Path(folder) / "test.item", items)
        for file, array in features.items():
            torch.save(torch.from_numpy(array), Path(folder) / f"{file}.pt")
        for mode in ("within", "across"):
            begin = time.perf_counter()
            value = zerospeech_abx(
                Path(folder) / "test.item",
                folder,
                max_size_group=None,
                max_x_across=None,
                speaker=mode,
                context="within",
                distance=distance,
                frequency=50,
            )
            theirs = time.perf_counter() - begin
            begin = time.perf_counter()
            ours = abx(items, features, FREQUENCY, speaker=mode, distance=distance).value
            seconds = time.perf_counter() - begin
            print(
                f"fastabx {mode:7} {theirs:.2f} s, ours {seconds:.2f} s: {theirs / seconds:.1f} x; "
                f"off by {value - ours:.1e}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="core")
    parser.add_argument("--distance", choices=["angular", "euclidean", "kl_symmetric", "identical"], default="angular")
    parser.add_argument("--workers", type=int)
    arguments = parser.parse_args()
    items, features = synthesize(arguments.scale)
    if arguments.distance == "kl_symmetric":
        features = {file: softmax(array) for file, array in features.items()}
    frames = sum(map(len, features.values()))
    print(f"{arguments.scale}: {len(items)} tokens, {frames} frames of {DIM}, {arguments.distance}")
    for mode in ("within", "across", "both"):
        timed(items, features, mode, arguments.distance, arguments.workers)
    deviation(arguments.distance)
    compare_fastabx(items, features, arguments.distance)


if __name__ == "__main__":
    main()
