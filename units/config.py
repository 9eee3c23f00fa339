"""Configuration of k-means."""

from typing import Literal

from pydantic import Field

from textless.config import Config


class KMeansConfig(Config):
    """How a codebook is fitted."""

    k: int = Field(default=100, ge=1)
    method: Literal["lloyd", "minibatch"] = "lloyd"  # in memory, or streamed
    seeding: Literal["auto", "k-means++", "k-means||"] = "auto"  # auto: k-means|| where K > 256
    iterations: int = Field(default=50, ge=1)  # at most: of Lloyd's algorithm, or passes of mini-batches
    tolerance: float = Field(default=1e-4, ge=0)  # relative improvement of the inertia below which it stops
    restarts: int = Field(default=1, ge=1)
    max_frames: int | None = Field(default=1_000_000, ge=1)  # more are sampled uniformly; None: all
    batch_frames: int = Field(default=1 << 15, ge=1)  # of a mini-batch, all processes together
    spherical: bool = False  # frames and codes of unit length
    speaker_normalised: bool = False
    duration_penalty: float = Field(default=0.0, ge=0)  # price of a change of unit, in multiples of the inertia
    seed: int = 0
