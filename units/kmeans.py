"""k-means over frames in memory: greedy k-means++ seeding, then Lloyd's algorithm as faiss runs it."""

from dataclasses import dataclass

import faiss
import numpy as np

from textless.errors import UserError
from units.config import KMeansConfig

FRAMES_PER_CODE = 256  # looked at for seeding


@dataclass(frozen=True)
class KMeansResult:
    """A codebook `(K, D)`, float32, its inertia (mean squared distance a frame) and how many codes no frame uses."""

    codebook: np.ndarray
    inertia: float
    empty: int


def fit_kmeans(frames: np.ndarray, config: KMeansConfig) -> KMeansResult:
    """Cluster frames `(T, D)`; the best of `config.restarts` runs.

    Raises:
        UserError: there are fewer frames than clusters, or frames that are not finite.
    """
    if len(frames) < config.k:
        raise UserError(f"k-means with K={config.k} needs at least as many frames, found {len(frames)}")
    frames = np.ascontiguousarray(frames, dtype=np.float32)
    if not np.isfinite(frames).all():
        raise UserError("the features hold NaN or infinite values; k-means cannot use them")
    generator = np.random.default_rng(config.seed)
    return min((_run(frames, config, generator) for _ in range(config.restarts)), key=lambda result: result.inertia)


def _run(frames: np.ndarray, config: KMeansConfig, generator: np.random.Generator) -> KMeansResult:
    kmeans = faiss.Kmeans(
        frames.shape[1],
        config.k,
        niter=config.iterations,
        seed=int(generator.integers(1 << 30)),
        min_points_per_centroid=1,
        max_points_per_centroid=len(frames),  # faiss would silently subsample; ours is done by the caller, uniformly
        gpu=False,
    )
    kmeans.train(frames, init_centroids=seed_codebook(frames, config.k, generator))
    assert kmeans.centroids is not None
    distances, labels = kmeans.index.search(frames, 1)
    return KMeansResult(kmeans.centroids.copy(), float(distances.mean()), config.k - np.unique(labels).size)


def seed_codebook(frames: np.ndarray, k: int, generator: np.random.Generator) -> np.ndarray:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007): `(K, D)` frames, each far from those chosen before.

    Every code is the best of 2 + log K candidates drawn with probability proportional to the squared distance to the
    nearest code so far. At most 256 frames a code are looked at, drawn uniformly.
    """
    if len(frames) > FRAMES_PER_CODE * k:
        frames = frames[np.sort(generator.choice(len(frames), FRAMES_PER_CODE * k, replace=False))]
    norms = np.square(frames).sum(axis=1)

    def distances_to(rows: np.ndarray) -> np.ndarray:
        """Squared distances `(candidates, T)` of all frames to some of them."""
        products = frames[rows] @ frames.T
        return np.maximum(norms[rows][:, None] - 2 * products + norms, 0)

    chosen = [int(generator.integers(len(frames)))]
    nearest = distances_to(np.array(chosen))[0]
    for _ in range(1, k):
        total = nearest.sum(dtype=np.float64)
        if total <= 0:  # fewer distinct frames than codes: repeat some, faiss splits them
            chosen.append(int(generator.integers(len(frames))))
            continue
        drawn = generator.random(2 + int(np.log(k))) * total
        candidates = np.minimum(np.searchsorted(np.cumsum(nearest, dtype=np.float64), drawn), len(frames) - 1)
        improved = np.minimum(nearest, distances_to(candidates))  # (candidates, T)
        best = int(improved.sum(axis=1).argmin())
        chosen.append(int(candidates[best]))
        nearest = improved[best]
    return frames[chosen]
