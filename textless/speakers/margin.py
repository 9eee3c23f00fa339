"""Additive-margin softmax (Wang et al. 2018, "Additive margin softmax for face verification").

With cos θ_k the cosine of an embedding to the direction of speaker k, and y who spoke,

    L = -log exp(s (cos θ_y - m)) / (exp(s (cos θ_y - m)) + Σ_{k ≠ y} exp(s cos θ_k))

The right speaker must be nearer than all others by the margin m, which makes embeddings of new speakers comparable.
"""

import torch
from torch import nn
from torch.nn import functional as F


class MarginSoftmax(nn.Module):
    """Directions of the training speakers; they are not part of the encoder afterwards."""

    def __init__(self, dim: int, n_speakers: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        # Short vectors: their directions move as quickly as the other weights.
        self.directions = nn.Parameter(torch.randn(n_speakers, dim) * dim**-0.5)

    def forward(
        self, embeddings: torch.Tensor, speakers: torch.Tensor, margin: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings `(B, D)` of length 1, speakers `(B,)` → losses `(B,)`, and whether each was recognised `(B,)`."""
        cosines = embeddings @ F.normalize(self.directions, dim=1).T  # (B, K)
        handicapped = cosines - margin * F.one_hot(speakers, cosines.shape[1])
        losses = F.cross_entropy(self.scale * handicapped, speakers, reduction="none")
        return losses, cosines.argmax(dim=1) == speakers
