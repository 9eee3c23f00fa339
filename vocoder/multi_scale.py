"""HiFi-GAN's multi-scale discriminator (Kong et al. 2020, section 2.3; Kumar et al. 2019, MelGAN).

Three discriminators of one shape hear the waveform, and the waveform averaged over twice two samples, and again. They
see long stretches of sound where the multi-period discriminator sees single phases of it.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from vocoder.discriminators import SLOPE, Opinion
from vocoder.losses import Sound

N_SCALES = 3
# Channels, as multiples of the first multi-period layer's; then kernel, stride and groups of every layer.
LAYERS = (
    (4, 15, 1, 1),
    (4, 41, 2, 4),
    (8, 41, 2, 16),
    (16, 41, 4, 16),
    (32, 41, 4, 16),
    (32, 41, 1, 16),
    (32, 5, 1, 1),
)


class ScaleDiscriminator(nn.Module):
    """One scale: grouped convolutions with long kernels.

    With 32 channels the layers have 128, 128, 256, 512, 1024, 1024 and 1024.
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        normalised = spectral_norm if spectral else weight_norm
        self.layers = nn.ModuleList()
        before = 1
        for factor, kernel, stride, groups in LAYERS:
            size = factor * channels
            layer = nn.Conv1d(before, size, kernel, stride=stride, groups=groups, padding=kernel // 2)
            self.layers.append(normalised(layer))
            before = size
        self.score = normalised(nn.Conv1d(before, 1, kernel_size=3, padding=1))

    def forward(self, waveform: torch.Tensor) -> Opinion:
        """Waveforms `(B, 1, S)`."""
        x = waveform
        hidden = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), SLOPE)
            hidden.append(x)
        score = self.score(x)
        return Opinion(score, [*hidden, score])


class MultiScaleDiscriminator(nn.Module):
    """One discriminator a scale, the first with spectral normalisation; 29.6 M parameters with 32 channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(ScaleDiscriminator(channels, spectral=scale == 0) for scale in range(N_SCALES))

    def forward(self, sound: Sound) -> list[Opinion]:
        """Opinions on a batch, one a scale."""
        waveform = sound.waveform[:, None]
        opinions = []
        for judge in self.each:
            opinions.append(judge(waveform))
            waveform = F.avg_pool1d(waveform, kernel_size=4, stride=2, padding=2)
        return opinions
