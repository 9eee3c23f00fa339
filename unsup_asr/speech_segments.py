"""Speech as segments, without any label. This module owns the folder of prepared speech.

    speech.json   header: encoder, how it was cut, rates
    pca.safetensors   mean (D,) and components (d, D) of the projection
    quantizer/    the clusters whose changes are the boundaries
    segments/     feature store: the mean of every segment, (N, d) an utterance
    spans/        feature store: frames and cluster of every segment, (N, 2)

The other of two kinds of data: training and selection see nothing of speech but this, and there is no place in it for a
transcript.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import read_json
from textless.provenance import check_header

FORMAT, VERSION = "textless-speech-segments", 1
HEADER, PCA, QUANTIZER, SEGMENTS, SPANS = "speech.json", "pca.safetensors", "quantizer", "segments", "spans"


@dataclass(frozen=True)
class Segments:
    """One utterance: means `(N, d)` float32, and frames and clusters of its segments `(N,)`."""

    means: np.ndarray
    frames: np.ndarray
    clusters: np.ndarray


class SpeechSegments:
    """A prepared folder; `speech[utterance_id]` are its `Segments`.

    Raises:
        UserError: it is none.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / HEADER
        if not path.is_file():
            raise UserError(
                f"{directory} is not prepared speech ({HEADER} is missing): see `textless asr prepare-speech`"
            )
        self.header: dict[str, Any] = check_header(read_json(path), FORMAT, VERSION, path)
        self._means, self._spans = FeatureStore(directory / SEGMENTS), FeatureStore(directory / SPANS)

    def __getitem__(self, utterance_id: str) -> Segments:
        spans = self._spans[utterance_id]
        return Segments(np.asarray(self._means[utterance_id], dtype=np.float32), spans[:, 0], spans[:, 1])

    def __iter__(self) -> Iterator[str]:
        return iter(self._means)

    def __len__(self) -> int:
        return len(self._means)

    @property
    def dim(self) -> int:
        """Numbers that describe a segment."""
        return self._means.header.dim

    @property
    def n_clusters(self) -> int:
        """Clusters of segments."""
        return int(self.header["clusters"])

    @property
    def frame_rate(self) -> float:
        """Frames a second, of those that segments are made of."""
        return self._means.header.frame_rate


def pool_neighbours(means: np.ndarray, size: int) -> np.ndarray:
    """Means `(N, d)` of segments → `(⌈N / size⌉, d)` of so many neighbours, the last repeated where it lacks some.

    With pairs, segments at 28 Hz come to the 14 Hz of phones, without which wav2vec-U does not converge.
    """
    missing = -len(means) % size
    padded = np.concatenate([means, np.repeat(means[-1:], missing, axis=0)]) if missing else means
    return padded.reshape(-1, size, means.shape[1]).mean(axis=1)


def segment_means(features: np.ndarray, labels: np.ndarray) -> Segments:
    """Frames `(T, d)` and their clusters `(T,)` → the mean of every run of one cluster."""
    starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]])) if len(labels) else np.empty(0, int)
    frames = np.diff(np.append(starts, len(labels)))
    sums = np.add.reduceat(features, starts, axis=0) if len(starts) else features[:0]
    return Segments((sums / np.maximum(frames, 1)[:, None]).astype(np.float32), frames, labels[starts])
