"""Clusters of frames, and segments where they change: as many a second as there are phones.

A change of cluster costs something (`units.segment`), just so much that there are as many segments as wanted.
"""

from collections.abc import Sequence

import numpy as np

from units.config import KMeansConfig
from units.frames import StoredFrames
from units.kmeans import fit_kmeans
from units.segment import segment
from unsup_asr.self_training.features import Frames
from unsup_asr.self_training.hmm import joined

MAX_FRAMES = 60_000  # that clusters are fitted to
PROBED = 100  # utterances by which the price of a change is found
HALVINGS = 16


def cluster_frames(frames: Frames, k: int, segments_per_frame: float, seed: int) -> list[np.ndarray]:
    """Cluster `(T,)` of every frame of every utterance.

    Args:
        frames: of all utterances.
        k: clusters.
        segments_per_frame: wanted. If even the free choice of clusters changes less often, it is what counts.
        seed: of k-means.
    """
    utterances = {str(number): rows for number, rows in enumerate(frames.split(frames.values))}
    fitted = fit_kmeans(StoredFrames(utterances, MAX_FRAMES, seed), KMeansConfig(k=k, seed=seed))
    assert fitted is not None  # nobody asked it to stop
    codebook = fitted.codebook
    distances = [(codebook**2).sum(axis=1) - 2 * rows @ codebook.T for rows in utterances.values()]
    penalty = _price(distances[:: max(1, len(distances) // PROBED)], segments_per_frame, fitted.inertia)
    return [segment(rows, penalty) for rows in distances]


def _price(distances: Sequence[np.ndarray], segments_per_frame: float, unit: float) -> float:
    """The price of a change at which there are so many segments a frame; 0 if there are fewer anyhow."""
    wanted = segments_per_frame * sum(map(len, distances))

    def found(price: float) -> int:
        return sum(len(joined(segment(rows, price))) for rows in distances)

    if found(0.0) <= wanted:
        return 0.0
    low, high = 0.0, unit
    while found(high) > wanted:
        low, high = high, 2 * high
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) > wanted else (low, middle)
    return high
