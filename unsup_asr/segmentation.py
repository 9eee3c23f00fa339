"""How frames of an encoder become segments: a projection, and clusters whose changes are the boundaries.

Fitted once, to training speech, and then the same for everything that a recogniser hears. It is saved with prepared
speech and with every recogniser that reads segments:

    pca.safetensors   mean (D,) and components (d, D) of the projection
    quantizer/        the clusters, with the price of a change
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import safetensors.numpy

from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader
from textless.files import atomic_write
from textless.progress import track
from units.normalisation import Moments
from units.quantizer import Quantizer, load_quantizer, save_quantizer
from unsup_asr.speech_segments import PCA, QUANTIZER, Segments, segment_means


@dataclass(frozen=True)
class Segmentation:
    """Cuts frames where their cluster changes, and describes each piece by the mean of its projected frames.

    Attributes:
        mean: `(D,)` of the frames it was fitted to.
        components: `(d, D)`, the directions of most variance, in order.
        quantizer: the clusters. Where it is speaker-normalised, every utterance is brought to zero mean and unit
            variance before anything else, and the projection was fitted to that.
    """

    mean: np.ndarray
    components: np.ndarray
    quantizer: Quantizer

    @property
    def dim(self) -> int:
        """Numbers that describe a segment."""
        return len(self.components)

    @property
    def n_clusters(self) -> int:
        """Clusters of segments."""
        return len(self.quantizer.codebook)

    def cut(self, frames: np.ndarray) -> Segments:
        """Frames `(T, D)` of one utterance, as the encoder gives them → its segments."""
        frames = np.asarray(frames, dtype=np.float32)
        labels = self.quantizer.encode(frames)
        projected = (normalised(frames, self.quantizer) - self.mean) @ self.components.T
        return segment_means(projected, labels)

    def require_encoder(self, header: StoreHeader, source: Path | str) -> None:
        """Raise `UserError` unless features of this header are what it was fitted to."""
        if header.encoder_sha256 != self.quantizer.encoder_sha256:
            raise UserError(
                f"{source} holds features of {header.encoder} ({header.encoder_sha256[:12]}), but the segments were "
                f"fitted to {self.quantizer.encoder} ({self.quantizer.encoder_sha256[:12]}): use the same encoder"
            )

    def save(self, directory: Path) -> None:
        """Write `pca.safetensors` and `quantizer/` into a directory."""
        save_quantizer(directory / QUANTIZER, self.quantizer, {})
        with atomic_write(directory / PCA, "wb") as file:
            file.write(safetensors.numpy.save({"mean": self.mean, "components": self.components}))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UserError: it is not there.
        """
        if not (directory / PCA).is_file():
            raise UserError(f"{directory} does not say how speech is cut ({PCA} is missing)")
        saved = safetensors.numpy.load((directory / PCA).read_bytes())
        return cls(saved["mean"], saved["components"], load_quantizer(directory / QUANTIZER))


def principal_components(
    store: FeatureStore, dim: int, quantizer: Quantizer | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(D,)` and the `(d, D)` directions of most variance of all frames, in order; d = min(dim, D).

    Frames are those that the quantizer sees, if one is given. Signs are fixed, so that the result depends on the data
    alone.
    """
    total = np.zeros(store.header.dim)
    products = np.zeros((store.header.dim, store.header.dim))
    for utterance_id in track(store, "PCA", len(store)):
        frames = normalised(store[utterance_id], quantizer).astype(np.float64)
        total += frames.sum(axis=0)
        products += frames.T @ frames
    mean = total / max(1, store.n_frames)
    _, vectors = np.linalg.eigh(products / max(1, store.n_frames) - np.outer(mean, mean))
    components = vectors.T[::-1][:dim]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    return mean.astype(np.float32), np.ascontiguousarray(components, dtype=np.float32)


def normalised(frames: np.ndarray, quantizer: Quantizer | None) -> np.ndarray:
    """Frames `(T, D)` of one utterance as a quantizer compares them with its codebook."""
    frames = np.asarray(frames)
    return Moments.of(frames).normalise(frames) if quantizer is not None and quantizer.speaker_normalised else frames
