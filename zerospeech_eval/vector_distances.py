"""Distances between two sets of vectors, by the names and definitions of `scipy.spatial.distance.cdist`.

Those of its metrics that compare real numbers are here. The others are not: its Boolean ones (dice, jaccard, yule ...)
ask which coordinates are true, and mahalanobis and seuclidean divide by a covariance of the few vectors compared.
"""

from collections.abc import Callable

import numpy as np

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def cdist(x: np.ndarray, y: np.ndarray, metric: str) -> np.ndarray:
    """Distances `(N, M)` in float64 between vectors `(N, D)` and `(M, D)`; nan where a metric is undefined.

    Raises:
        ValueError: the metric is not in `METRICS`.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return METRICS[metric](x[:, None].astype(np.float64), y[None].astype(np.float64))  # (N, 1, D), (1, M, D)


def _cosine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 1 - (x * y).sum(-1) / (np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1))


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _cosine(x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True))


def _canberra(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scale = np.abs(x) + np.abs(y)
    return np.divide(np.abs(x - y), scale, out=np.zeros_like(scale), where=scale > 0).sum(-1)


def _jensenshannon(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    p, q = x / x.sum(-1, keepdims=True), y / y.sum(-1, keepdims=True)
    middle = (p + q) / 2
    divergence = sum(np.where(d > 0, d * np.log(d / middle), np.where(d < 0, np.inf, 0.0)).sum(-1) for d in (p, q))
    return np.sqrt(divergence / 2)


def _squared(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.square(x - y).sum(-1)


METRICS: dict[str, Distance] = {
    "braycurtis": lambda x, y: np.abs(x - y).sum(-1) / np.abs(x + y).sum(-1),
    "canberra": _canberra,
    "chebyshev": lambda x, y: np.abs(x - y).max(-1),
    "cityblock": lambda x, y: np.abs(x - y).sum(-1),
    "correlation": _correlation,
    "cosine": _cosine,
    "euclidean": lambda x, y: np.sqrt(_squared(x, y)),
    "hamming": lambda x, y: (x != y).mean(-1),
    "jensenshannon": _jensenshannon,
    "minkowski": lambda x, y: np.sqrt(_squared(x, y)),  # of the order 2
    "sqeuclidean": _squared,
}
