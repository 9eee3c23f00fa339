"""Configuration of self-training."""

from typing import Literal

from pydantic import Field

from textless.config import Config


class SelfTrainingConfig(Config):
    """A network and how it learns from its own transcripts."""

    context: int = Field(default=5, ge=0)  # frames on either side that the network sees
    hidden: int = Field(default=256, ge=1)  # units a layer
    layers: int = Field(default=2, ge=1)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    epochs: int = Field(default=2, ge=1)
    batch_size: int = Field(default=512, ge=1)  # frames
    lr: float = Field(default=3e-3, gt=0)
    order: Literal[2, 3] = 3  # of the n-grams of text; with bigrams errors stay about a third higher
    scale: float = Field(default=0.9, gt=0)  # of what the network says, against the n-grams
    iterations: int = Field(default=2, ge=1)  # networks one after the other, each taught by the one before
