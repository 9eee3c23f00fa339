"""A codebook learned by moving averages (van den Oord et al. 2017, appendix A.1; Dhariwal et al. 2020, Jukebox).

Every code is the mean of the vectors that were nearest to it, recent ones counting most. A code that nothing is near to
starts again at a vector of the batch.
"""

import torch
from torch import nn
from torch.nn import functional as F

DEAD = 1.0  # vectors a batch, on average, below which a code starts again


class Codebook(nn.Module):
    """`n` codes of size `dimension`; they learn whenever the module is called in training mode."""

    codes: torch.Tensor
    sums: torch.Tensor
    counts: torch.Tensor

    def __init__(self, n: int, dimension: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("codes", torch.zeros(n, dimension))
        self.register_buffer("sums", torch.zeros(n, dimension))
        self.register_buffer("counts", torch.zeros(n))  # all zero: no batch was seen yet

    def nearest(self, x: torch.Tensor) -> torch.Tensor:
        """Vectors `(M, D)` → indices of the nearest codes `(M,)`."""
        distances = self.codes.square().sum(dim=1) - 2 * x.float() @ self.codes.T
        return distances.argmin(dim=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Replace vectors by their codes.

        Args:
            x: `(M, D)`.

        Returns:
            The codes `(M, D)`, whose gradient goes to x unchanged, and the mean squared distance to them.
        """
        if self.training and not bool(self.counts.any()):
            self.codes.copy_(self._drawn(x))
            self.sums.copy_(self.codes)
            self.counts.fill_(1)
        indices = self.nearest(x)
        codes = self.codes[indices]
        if self.training:
            self._learn(x.detach().float(), indices)
        return x + (codes - x).detach(), F.mse_loss(x, codes)

    @torch.no_grad()
    def _learn(self, x: torch.Tensor, indices: torch.Tensor) -> None:
        near = F.one_hot(indices, len(self.codes)).float()  # (M, n)
        self.sums.lerp_(near.T @ x, 1 - self.decay)
        self.counts.lerp_(near.sum(dim=0), 1 - self.decay)
        alive = (self.counts >= DEAD)[:, None]
        self.codes.copy_(torch.where(alive, self.sums / self.counts.clamp(min=DEAD)[:, None], self._drawn(x)))

    @torch.no_grad()
    def _drawn(self, x: torch.Tensor) -> torch.Tensor:
        """One vector of the batch for every code, none twice as long as there are enough."""
        n = len(self.codes)
        wide = x.detach().float().repeat(-(-n // len(x)), 1)
        return wide[torch.randperm(len(wide), device="cpu")[:n].to(x.device)]
