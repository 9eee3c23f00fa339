"""The residual block over frames that the fast generator and the pitch predictor are made of."""

import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    """Every frame looks at itself and at the frames ±dilation away: a convolution of width 3, written as a product."""

    def __init__(self, width: int, hidden: int, dilation: int, scale: float) -> None:
        """Make a block of `width` channels; `scale` is what the update is multiplied by before it is learned."""
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(3 * width, hidden)
        self.project = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """`(B, T, width)` → the same shape; `valid` `(B, T)` is true within the utterances."""
        # The mask stands after the norm, whose bias would otherwise leak from the padding into the last frames.
        y = shifted(self.norm(x) * valid[:, :, None], self.dilation)
        return x + self.scale * self.project(F.gelu(self.expand(y)))


def shifted(x: torch.Tensor, distance: int) -> torch.Tensor:
    """`(B, T, D)` → `(B, T, 3D)`: the frames `distance` before, here, and `distance` after; zeros beyond the ends."""
    size = x.shape[1]
    wide = F.pad(x, (0, 0, distance, distance))
    return torch.cat([wide[:, :size], x, wide[:, 2 * distance :]], dim=2)
