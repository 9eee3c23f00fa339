"""k-means, unit assignment and segmentation: seconds and quality, against scikit-learn, faiss and plain Python.

    python benchmarks/kmeans.py                                     # 1e6 frames x 768, K = 100, 500, 2000: 7 GB
    python benchmarks/kmeans.py --frames 2e5 --k 100 --peer-inits 2 # smaller; initialisations extrapolated to 20
    python benchmarks/kmeans.py --memory 1e5 1e6 1e7                # streamed fits of growing corpora, memory of each

The peer (pip install scikit-learn) is MiniBatchKMeans as GSLM's recipe sets it: batches of 10,000, 20 initialisations,
150 passes at most, stop after 100 batches without improvement, reassignment ratio 0.5; `--reassignment-ratio 0.01` is
scikit-learn's own default. With --peer-inits n < 20 its time is that of a fit with n, plus 20 - n times that of one
initialisation measured alone. Frames are a mixture of 3000 Gaussians in 64 dimensions, embedded in 768 with noise.

A line a measurement: ratios are the other's time over ours; inertia is that of all frames, and its ratio ours over
theirs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import faiss
import numpy as np
import torch

from textless.features import store
from units.assign import NearestCode, block_size
from units.config import KMeansConfig
from units.fit import peak_memory
from units.frames import StoredFrames
from units.kmeans import fit_kmeans
from units.segment import segment

CLUSTERS, RANK = 3000, 64
UTTERANCE = 500  # frames
GSLM_INITS, GSLM_BATCH = 20, 10_000
TOLERANCE = 1e-3  # enough to be well below the peer's inertia

T = TypeVar("T")


def planted(count: int, dim: int, seed: int = 0) -> np.ndarray:
    fixed = np.random.default_rng(0)
    centres = fixed.standard_normal((CLUSTERS, RANK), dtype=np.float32) * 2
    embedding = fixed.standard_normal((RANK, dim), dtype=np.float32) / 8
    rng = np.random.default_rng([seed, 1])
    frames = np.empty((count, dim), dtype=np.float32)
    for start in range(0, count, 50_000):
        rows = frames[start : start + 50_000]
        hidden = centres[rng.integers(0, CLUSTERS, len(rows))] + rng.standard_normal((len(rows), RANK), np.float32)
        rows[:] = hidden @ embedding + 0.5 * rng.standard_normal(rows.shape, np.float32)
    return frames


def utterances(frames: np.ndarray) -> dict[str, np.ndarray]:
    return {str(start): frames[start : start + UTTERANCE] for start in range(0, len(frames), UTTERANCE)}


def timed(run: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def best_of(repeats: int, *runs: Callable[[], object]) -> list[float]:
    """Shortest time of each, run in turn so that a busy moment of the machine meets all of them."""
    rounds = [[timed(run)[1] for run in runs] for _ in range(repeats)]
    return [min(seconds) for seconds in zip(*rounds, strict=True)]


def inertia_of(frames: np.ndarray, codebook: np.ndarray) -> float:
    nearest, total = NearestCode(torch.from_numpy(codebook)), 0.0
    for block in torch.from_numpy(frames).split(block_size(torch.device("cpu"))):
        total += float((nearest.approximate(block)[1] + block.square().sum(dim=1)).double().sum())
    return total / len(frames)


def compare_fits(frames: np.ndarray, k: int, arguments: argparse.Namespace) -> None:
    config = KMeansConfig(k=k, tolerance=TOLERANCE, max_frames=None)
    ours, our_time = timed(lambda: fit_kmeans(StoredFrames(utterances(frames)), config))
    print(f"fit, K = {k}: {our_time:.1f} s, inertia {ours.inertia:.2f} ({ours.steps} steps, {ours.empty} empty)")

    def report(name: str, codebook: np.ndarray, seconds: float) -> None:
        theirs = inertia_of(frames, codebook)
        print(
            f"  {name}: {seconds:.1f} s, inertia {theirs:.2f}; {seconds / our_time:.1f} x our time, ratio of inertia "
            f"{ours.inertia / theirs:.4f}",
            flush=True,
        )

    if arguments.faiss:
        peer = faiss.Kmeans(frames.shape[1], k, niter=10, seed=0, max_points_per_centroid=len(frames))
        _, seconds = timed(lambda: peer.train(frames))
        report("faiss, 10 iterations", peer.centroids, seconds)
    if arguments.peer_inits:
        report(*fit_peer(frames, k, arguments.peer_inits, arguments.reassignment_ratio))


def fit_peer(frames: np.ndarray, k: int, inits: int, reassignment_ratio: float) -> tuple[str, np.ndarray, float]:
    from sklearn.cluster import MiniBatchKMeans, kmeans_plusplus

    peer = MiniBatchKMeans(
        k,
        init="k-means++",
        n_init=inits,
        max_iter=150,
        batch_size=GSLM_BATCH,
        tol=0.0,
        max_no_improvement=100,
        reassignment_ratio=reassignment_ratio,
        compute_labels=False,  # labels of all frames are no part of the codebook
        random_state=1369,
    )
    _, seconds = timed(lambda: peer.fit(frames))
    name = f"scikit-learn, {peer.n_steps_} batches, {inits} initialisations"
    if inits < GSLM_INITS:
        sample = frames[np.random.default_rng(0).choice(len(frames), min(3 * GSLM_BATCH, len(frames)), replace=False)]
        _, one = timed(lambda: kmeans_plusplus(sample, k, random_state=0))
        name += f" run and {GSLM_INITS - inits} more reckoned at {one:.1f} s each"
        seconds += (GSLM_INITS - inits) * one
    return name, np.ascontiguousarray(peer.cluster_centers_, dtype=np.float32), seconds


def assignment(frames: np.ndarray, k: int) -> None:
    """Frames a second of exact labels, as a share of what the bare matrix product allows."""
    x = torch.from_numpy(frames[: 1 << 16])
    codes = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:k]] * 0.9
    nearest, out = NearestCode(codes), torch.empty(block_size(x.device), k)

    def product() -> None:
        for block in x.split(block_size(x.device)):
            torch.mm(block, codes.T, out=out[: len(block)])

    ours, bare = best_of(10, lambda: nearest.labels(x), product)
    labels = nearest.labels(x)
    norms = codes.double().square().sum(dim=1)
    exact = torch.cat([(norms - 2 * block.double() @ codes.double().T).argmin(dim=1) for block in x.split(4096)])
    plain = (codes.square().sum(dim=1) - 2 * x @ codes.T).argmin(dim=1)
    rate = 2e-9 * len(x) * k * x.shape[1]
    print(
        f"assignment, K = {k}: {len(x) / ours:.0f} frames/s, {rate / ours:.0f} GFLOP/s = {100 * bare / ours:.0f} % of "
        f"the matrix product's {rate / bare:.0f}; labels off float64 {int((labels != exact).sum())}, off plain float32 "
        f"{int((labels != plain).sum())} of {len(x)}"
    )


def plain_segment(distances: list[list[float]], penalty: float) -> list[int]:
    cost, back = list(distances[0]), []
    codes = range(len(cost))
    for frame in distances[1:]:
        cheapest = min(codes, key=cost.__getitem__)
        limit = cost[cheapest] + penalty
        back.append([c if cost[c] <= limit else cheapest for c in codes])
        cost = [min(cost[c], limit) + frame[c] for c in codes]
    units = [min(codes, key=cost.__getitem__)]
    for origin in reversed(back):
        units.append(origin[units[-1]])
    return units[::-1]


def segmentation(k: int) -> None:
    distances = np.random.default_rng(0).random((2000, k), dtype=np.float32)
    segment(distances[:2], 1.0)  # compiles
    ours = segment(distances, 1.0)
    (our_time,) = best_of(10, lambda: segment(distances, 1.0))
    theirs, their_time = timed(lambda: plain_segment(distances.tolist(), 1.0))
    print(
        f"segmentation, K = {k}: {len(distances) / our_time:.0f} frames/s, {their_time / our_time:.0f} x plain Python, "
        f"{'equal' if ours.tolist() == theirs else 'DIFFERENT'} units"
    )


def memory(sizes: list[int], dim: int, k: int) -> None:
    """Streamed fits of growing corpora by command, each in a process of its own."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            shards = max(1, size // 500_000)
            directory, out = Path(folder) / "features", Path(folder) / "quantizer"
            store.write_header(directory, store.StoreHeader("planted", "0" * 64, dim, 50.0, shards, "0" * 64))
            for index in range(shards):
                frames = planted(size // shards, dim, seed=index)
                named = {f"{index}-{name}": array for name, array in utterances(frames).items()}
                store.write_shard(directory, index, shards, named)
            command = [sys.executable, "-m", "textless", "units", "fit", str(directory), str(out), "--json"]
            command += ["--method", "minibatch", "--k", str(k), "--iterations", "1", "--device", "cpu"]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            result = json.loads(ran.stdout)
            print(
                f"streamed fit, {size:>9} frames x {dim}, K = {k}: {result['memory_mib']} MiB at most, "
                f"{result['seconds']:.1f} s, inertia {result['inertia']:.2f}, {result['empty']} empty",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=float, default=1e6)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, nargs="+", default=[100, 500, 2000])
    parser.add_argument("--peer-inits", type=int, default=GSLM_INITS, help="0: do not run scikit-learn")
    parser.add_argument("--reassignment-ratio", type=float, default=0.5)
    parser.add_argument("--faiss", action="store_true", help="also ten iterations of faiss")
    parser.add_argument("--memory", type=float, nargs="+", help="only this: numbers of frames")
    arguments = parser.parse_args()
    if arguments.memory:
        memory([int(size) for size in arguments.memory], arguments.dim, arguments.k[0])
        return
    frames = planted(int(arguments.frames), arguments.dim)
    print(f"{len(frames)} frames of {arguments.dim} dimensions, {torch.get_num_threads()} threads")
    for k in arguments.k:
        assignment(frames, k)
        segmentation(k)
    for k in arguments.k:
        compare_fits(frames, k, arguments)
    print(f"memory: {peak_memory():.0f} MiB at most, of which frames {frames.nbytes / 2**20:.0f}")


if __name__ == "__main__":
    main()
