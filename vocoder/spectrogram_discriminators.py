"""The light adversaries: small convolutions over log-magnitudes at several resolutions.

They read the spectra that the losses have computed already, so they cost no further transforms. Multi-resolution
spectrogram discriminators: Jang et al. 2021 (UnivNet, https://arxiv.org/abs/2106.07889).
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from vocoder.discriminators import SLOPE, Opinion
from vocoder.losses import Sound

N_STRIDED = 3


class SpectrogramDiscriminator(nn.Module):
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
            x = F.leaky_relu(layer(x), SLOPE)
            hidden.append(x)
        return Opinion(self.score(x), hidden)


class SpectrogramDiscriminators(nn.Module):
    """One discriminator a resolution of the spectral loss."""

    def __init__(self, channels: int, n_resolutions: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(SpectrogramDiscriminator(channels) for _ in range(n_resolutions))

    def forward(self, sound: Sound) -> list[Opinion]:
        """Opinions on a batch, one a resolution."""
        return [judge(magnitude) for judge, magnitude in zip(self.each, sound.magnitudes, strict=True)]
