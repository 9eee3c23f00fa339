"""Configuration of k-means."""

from pydantic import Field

from textless.config import Config


class KMeansConfig(Config):
    """How a codebook is fitted."""

    k: int = Field(100, ge=1)
    iterations: int = Field(50, ge=1)
    restarts: int = Field(1, ge=1)
    max_frames: int = Field(1_000_000, ge=1)  # more are sampled uniformly over all frames
    duration_penalty: float = Field(0.0, ge=0)  # price of a change of unit, in multiples of the inertia
    seed: int = 0
