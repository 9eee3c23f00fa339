"""k-means over frames in memory (Lloyd's algorithm, k-means++ seeding; faiss does the arithmetic)."""

from dataclasses import dataclass

import faiss
import numpy as np

from textless.errors import UserError
from units.config import KMeansConfig


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
    kmeans = faiss.Kmeans(
        frames.shape[1],
        config.k,
        niter=config.iterations,
        nredo=config.restarts,
        seed=config.seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(frames),  # faiss would silently subsample; ours is done by the caller, uniformly
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        gpu=False,
    )
    kmeans.train(frames)
    distances, labels = kmeans.index.search(frames, 1)
    used = np.unique(labels).size
    return KMeansResult(kmeans.centroids.copy(), float(distances.mean()), config.k - used)
