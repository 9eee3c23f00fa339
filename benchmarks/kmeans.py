"""k-means: ours (greedy k-means++ and faiss) against scikit-learn's MiniBatchKMeans as GSLM's recipe sets it.

    python benchmarks/kmeans.py            # the peer needs: pip install scikit-learn

Frames are a mixture of 300 Gaussians, so that codebooks differ in quality. Prints seconds and inertia of both; a ratio
of inertia below 1 means that ours fits better.
"""

import time

import numpy as np

from units.config import KMeansConfig
from units.kmeans import fit_kmeans

FRAMES, DIM, CLUSTERS, K = 200_000, 39, 300, 100


def planted(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((CLUSTERS, DIM)) * 3
    return (centres[rng.integers(0, CLUSTERS, FRAMES)] + rng.standard_normal((FRAMES, DIM))).astype(np.float32)


def main() -> None:
    frames = planted(0)
    start = time.perf_counter()
    ours = fit_kmeans(frames, KMeansConfig(k=K, iterations=50))
    our_time = time.perf_counter() - start
    print(f"{FRAMES} frames of {DIM} dimensions, K = {K}")
    print(f"ours         {our_time:7.2f} s  inertia {ours.inertia:.4f} a frame")
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError:
        print("scikit-learn is not installed: nothing to compare with")
        return
    start = time.perf_counter()
    peer = MiniBatchKMeans(K, init="k-means++", n_init=20, max_iter=150, batch_size=10_000, tol=0.0, random_state=0)
    peer.fit(frames)
    their_time = time.perf_counter() - start
    their_inertia = float(np.square(frames - peer.cluster_centers_[peer.predict(frames)]).sum(axis=1).mean())
    print(f"scikit-learn {their_time:7.2f} s  inertia {their_inertia:.4f} a frame")
    print(f"ratio of time {their_time / our_time:.2f}, ratio of inertia {ours.inertia / their_inertia:.4f}")


if __name__ == "__main__":
    main()
