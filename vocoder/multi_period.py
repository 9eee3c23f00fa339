"""HiFi-GAN's multi-period discriminator (Kong et al. 2020, section 2.3, https://arxiv.org/abs/2010.05646).

A waveform folded at a period p is a picture of `S / p` rows and p columns; convolutions of height 5 and width 1 look at
every p-th sample only, so each discriminator hears what repeats at its own period. The periods are prime, so that they
overlap as little as possible.
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from vocoder.discriminators import SLOPE, Opinion
from vocoder.losses import Sound

PERIODS = (2, 3, 5, 7, 11)


class PeriodDiscriminator(nn.Module):
    """One period. With the published 32 channels at first, the layers have 32, 128, 512, 1024 and 1024."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        sizes = [1, channels, 4 * channels, 16 * channels, 32 * channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(i, o, kernel_size=(5, 1), stride=(3, 1), padding=(2, 0))) for i, o in pairwise(sizes)
        )
        self.layers.append(weight_norm(nn.Conv2d(sizes[-1], sizes[-1], kernel_size=(5, 1), padding=(2, 0))))
        self.score = weight_norm(nn.Conv2d(sizes[-1], 1, kernel_size=(3, 1), padding=(1, 0)))

    def forward(self, waveform: torch.Tensor) -> Opinion:
        """Waveforms `(B, S)`."""
        missing = -waveform.shape[1] % self.period
        folded = F.pad(waveform[:, None], (0, missing), mode="reflect")
        x = folded.unflatten(2, (-1, self.period))  # (B, 1, S) -> (B, 1, S / period, period)
        hidden = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            hidden.append(x)
        score = self.score(x)
        return Opinion(score, [*hidden, score])  # the published feature matching counts the scores as a layer


class MultiPeriodDiscriminator(nn.Module):
    """One discriminator a period; 41.1 M parameters with 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(PeriodDiscriminator(period, channels) for period in PERIODS)

    def forward(self, sound: Sound) -> list[Opinion]:
        """Opinions on a batch, one a period."""
        return [judge(sound.waveform) for judge in self.each]
