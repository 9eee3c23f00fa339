"""Critics of the optional adversarial phase: small convolutions over log-magnitudes at several resolutions.

They read the spectra the losses have computed already, so the phase costs no further transforms. Multi-resolution
spectrogram discriminators: Jang et al. 2021 (UnivNet, https://arxiv.org/abs/2106.07889); least squares: Mao et al.
2017; feature matching: Larsen et al. 2016.

As in `losses.py` every value is a vector `(B,)`, one a segment.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from vocoder.config import AdversarialConfig
from vocoder.losses import Spectra

N_STRIDED = 3


@dataclass(frozen=True)
class Opinion:
    """What one discriminator makes of a batch: scores `(B, 1, F', T)` (1 real, 0 generated) and its hidden layers."""

    scores: torch.Tensor
    hidden: list[torch.Tensor]


class Discriminator(nn.Module):
    """One resolution: a picture of log-magnitudes → a score for every patch of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = [1] + [channels] * (N_STRIDED + 1)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, kernel_size=(7, 3), stride=(3, 1), padding=(3, 1)))
            for i, o in pairwise(sizes[:-1])
        )
        self.layers.append(weight_norm(nn.Conv2d(channels, channels, kernel_size=3, padding=1)))
        self.score = weight_norm(nn.Conv2d(channels, 1, kernel_size=3, padding=1))

    def forward(self, magnitude: torch.Tensor) -> Opinion:
        """Magnitudes `(B, T, bins)`."""
        x = magnitude.log().transpose(1, 2)[:, None]  # (B, T, bins) -> (B, 1, bins, T)
        hidden = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            hidden.append(x)
        return Opinion(self.score(x), hidden)


class Discriminators(nn.Module):
    """One discriminator a resolution of the spectral loss."""

    def __init__(self, config: AdversarialConfig, n_resolutions: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(Discriminator(config.channels) for _ in range(n_resolutions))

    def forward(self, spectra: Spectra) -> list[Opinion]:
        """Opinions on a batch, one a resolution."""
        return [judge(magnitude) for judge, magnitude in zip(self.each, spectra.magnitudes, strict=True)]


def discriminator_loss(real: list[Opinion], generated: list[Opinion]) -> torch.Tensor:
    """Least squares: real is 1, generated is 0 → `(B,)`."""
    losses = [
        _mean((r.scores.float() - 1).square()) + _mean(g.scores.float().square())
        for r, g in zip(real, generated, strict=True)
    ]
    return torch.stack(losses).mean(dim=0)


def generator_loss(generated: list[Opinion]) -> torch.Tensor:
    """Least squares: be taken for real → `(B,)`."""
    return torch.stack([_mean((g.scores.float() - 1).square()) for g in generated]).mean(dim=0)


def feature_matching(real: list[Opinion], generated: list[Opinion]) -> torch.Tensor:
    """L1 between the discriminators' hidden layers → `(B,)`."""
    distances = [
        _mean((g.float() - r.detach().float()).abs())
        for real_opinion, generated_opinion in zip(real, generated, strict=True)
        for r, g in zip(real_opinion.hidden, generated_opinion.hidden, strict=True)
    ]
    return torch.stack(distances).mean(dim=0)


def _mean(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).mean(dim=1)
