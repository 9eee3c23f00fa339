"""Fit a quantizer to stored features."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from textless.errors import UserError
from textless.features.store import FeatureStore, open_features
from textless.files import refuse_overwrite
from units.config import KMeansConfig
from units.kmeans import KMeansResult, fit_kmeans
from units.quantizer import Quantizer, save_quantizer


def sample_frames(features: Mapping[str, np.ndarray], max_frames: int, seed: int) -> np.ndarray:
    """At most `max_frames` frames `(N, D)`, float32, drawn uniformly without replacement from all utterances.

    The share of every utterance is drawn first (multivariate hypergeometric), so that a corpus larger than memory is
    read once, utterance by utterance.
    """
    ids = list(features)
    counts = np.array([len(features[i]) for i in ids])
    if counts.sum() <= max_frames:
        return np.concatenate([np.asarray(features[i], dtype=np.float32) for i in ids])
    generator = np.random.default_rng(seed)
    shares = generator.multivariate_hypergeometric(counts, max_frames, method="marginals")
    drawn = []
    for utterance_id, count, share in zip(ids, counts, shares, strict=True):
        rows = np.sort(generator.choice(count, share, replace=False))
        drawn.append(np.asarray(features[utterance_id], dtype=np.float32)[rows])
    return np.concatenate(drawn)


def fit_quantizer(
    path: Path, out: Path, config: KMeansConfig, *, force: bool = False
) -> tuple[Quantizer, KMeansResult]:
    """Fit k-means to a feature store and write the quantizer directory.

    Raises:
        UserError: the output exists, the features are not a store (so nobody knows which encoder made them), or K is
            larger than the number of frames.
    """
    refuse_overwrite(out, force=force)
    features = open_features(path)
    if not isinstance(features, FeatureStore):
        raise UserError(f"{path} does not say which encoder made it; write a store with `textless encoder features`")
    frames = sample_frames(features, config.max_frames, config.seed)
    result = fit_kmeans(frames, config)
    header = features.header
    quantizer = Quantizer(
        torch.from_numpy(result.codebook),
        header.encoder,
        header.encoder_sha256,
        header.frame_rate,
        config.duration_penalty * result.inertia,
    )
    fitted = {"config": config.model_dump(), "frames": len(frames), "inertia": result.inertia, "empty": result.empty}
    save_quantizer(out, quantizer, fitted)
    return quantizer, result
