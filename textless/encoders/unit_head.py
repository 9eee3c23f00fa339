"""What an encoder pretrained here says about units: the head that HuBERT's loss was computed with.

The logit of unit c at frame t is cos(A o_t, e_c) / τ: the frame projected, the unit embedded (Hsu et al. 2021, eq. 3).
A frame that holds several labels (units at 100 Hz, frames at 50) has a projection for each.
"""

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textless.config import Config


class UnitHeadConfig(Config):
    """Size of a head."""

    k: int  # units
    per_frame: int = 1  # labels
    projection: int = 256  # size of the space where frames meet units
    temperature: float = 0.1  # τ
    flattening: float = Field(default=0.5, gt=0)  # power of the posteriors when they are features; below 1 is flatter


class UnitHead(nn.Module):
    """Frames to logits over one set of units."""

    def __init__(self, dim: int, config: UnitHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.projection = nn.Linear(dim, config.per_frame * config.projection)
        self.units = nn.Parameter(torch.rand(config.k, config.projection) * 2 - 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames `(..., D)` → logits `(..., labels per frame, K)`, float32."""
        frames = frames.to(self.projection.weight.dtype)
        projected = self.projection(frames).unflatten(-1, (self.config.per_frame, -1)).float()
        return F.normalize(projected, dim=-1) @ F.normalize(self.units.float(), dim=-1).T / self.config.temperature

    def root_posteriors(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames `(..., D)` → square roots of flattened posteriors `(..., K)`, of unit length.

        The mean is taken over a frame's labels; the cosine of two frames is their Bhattacharyya coefficient.
        """
        return (self.config.flattening * self(frames)).softmax(dim=-1).mean(dim=-2).sqrt()
