"""What a discriminator says, and the losses made of it.

Least squares: Mao et al. 2017; feature matching: Larsen et al. 2016. As in HiFi-GAN (Kong et al. 2020, equations 1-6)
every loss is summed over discriminators (and their layers), of which each gives a mean.

As in `losses.py` every value is a vector `(B,)`, one a segment.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

SLOPE = 0.1  # of the leaky ReLUs of all discriminators


@dataclass(frozen=True)
class Opinion:
    """What one discriminator makes of a batch: scores `(B, ...)` (1 real, 0 generated) and its hidden layers."""

    scores: torch.Tensor
    hidden: list[torch.Tensor]


def discriminator_loss(real: Sequence[Opinion], generated: Sequence[Opinion]) -> torch.Tensor:
    """Least squares: real is 1, generated is 0 → `(B,)`."""
    losses = [
        _mean((r.scores.float() - 1).square()) + _mean(g.scores.float().square())
        for r, g in zip(real, generated, strict=True)
    ]
    return torch.stack(losses).sum(dim=0)


def generator_loss(generated: Sequence[Opinion]) -> torch.Tensor:
    """Least squares: be taken for real → `(B,)`."""
    return torch.stack([_mean((g.scores.float() - 1).square()) for g in generated]).sum(dim=0)


def feature_matching(real: Sequence[Opinion], generated: Sequence[Opinion]) -> torch.Tensor:
    """L1 between the discriminators' hidden layers → `(B,)`."""
    distances = [
        _mean((g.float() - r.detach().float()).abs())
        for real_opinion, generated_opinion in zip(real, generated, strict=True)
        for r, g in zip(real_opinion.hidden, generated_opinion.hidden, strict=True)
    ]
    return torch.stack(distances).sum(dim=0)


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).mean(dim=1)
