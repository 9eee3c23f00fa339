"""What stands between an encoder and the generator: segments and pools of them (1.0), or nothing at all (2.0)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from textless.features.store import read_header
from unsup_asr.segmentation import Segmentation
from unsup_asr.speech_segments import HEADER, pool_neighbours


@dataclass(frozen=True)
class Rows:
    """What the generator reads of one utterance: features `(N, d)`, and the first and last frames `(N,)` of each."""

    features: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class FrontEnd:
    """How rows are made of frames.

    Attributes:
        encoder: whose frames, by its specification.
        encoder_sha256: by its identity.
        frame_rate: in Hz.
        dim: numbers of a row.
        segmentation: how frames are cut; None: a row is a frame.
        pool: neighbouring segments that are read as one.
    """

    encoder: str
    encoder_sha256: str
    frame_rate: float
    dim: int
    segmentation: Segmentation | None
    pool: int

    @classmethod
    def of(cls, prepared: Path, pool: int) -> Self:
        """That of prepared speech, or of a feature store, whose frames are rows as they are."""
        if not (prepared / HEADER).is_file():
            header = read_header(prepared)
            return cls(header.encoder, header.encoder_sha256, header.frame_rate, header.dim, None, pool)
        cut = Segmentation.load(prepared)
        own = cut.quantizer
        return cls(own.encoder, own.encoder_sha256, own.frame_rate, cut.dim, cut, pool)

    def rows(self, frames: np.ndarray) -> Rows:
        """Frames `(T, D)` of the encoder → rows."""
        if self.segmentation is None:
            features, sizes = np.asarray(frames, dtype=np.float32), np.ones(len(frames), dtype=np.int64)
        else:
            segments = self.segmentation.cut(frames)
            features, sizes = segments.means, segments.frames
        edges = np.concatenate([[0], np.cumsum(sizes)])
        first = np.arange(0, len(sizes), self.pool)
        last = np.minimum(first + self.pool, len(sizes))
        return Rows(pooled(features, self.pool), edges[first], edges[last])

    def save(self, directory: Path) -> dict[str, Any]:
        """Write the segmentation into a model directory; returns what its header says of the rest."""
        if self.segmentation is not None:
            self.segmentation.save(directory)
        header = {name: getattr(self, name) for name in ("encoder", "encoder_sha256", "frame_rate", "dim", "pool")}
        return {**header, "segments": self.segmentation is not None}

    @classmethod
    def load(cls, directory: Path, header: dict[str, Any]) -> Self:
        """Read what `save` wrote."""
        values = {name: header[name] for name in ("encoder", "encoder_sha256", "frame_rate", "dim", "pool")}
        return cls(**values, segmentation=Segmentation.load(directory) if header["segments"] else None)


def pooled(features: np.ndarray, size: int) -> np.ndarray:
    """Rows `(N, d)` → `(⌈N / size⌉, d)`; none stay none."""
    return pool_neighbours(features, size) if len(features) else features
