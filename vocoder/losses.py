"""How far apart two waveforms sound: spectra at several resolutions, and distances between them.

The short-time transforms are the cost of these losses, so each waveform is transformed once, into a `Sound`, and the
log-mel distance, the STFT distances and the discriminators all read from that. Everything is in float32.

Every distance is a vector `(B,)`, one value a segment: the training loop weighs segments by their length, which makes
the sum over processes the same whatever their number.
"""

from dataclasses import dataclass

import torch
import torchaudio.functional
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from vocoder.config import LossConfig
from vocoder.spectra import magnitudes

MEL_FLOOR = 1e-3
# Energy of a window, below which its spectral convergence says little: a sine 60 dB under full scale.
SILENT_WINDOW = 1e-2


@dataclass(frozen=True)
class Sound:
    """What losses and discriminators hear: waveforms `(B, S)`, and for each FFT size `(B, T, n_fft / 2 + 1)`."""

    waveform: torch.Tensor
    magnitudes: tuple[torch.Tensor, ...]

    def detach(self) -> "Sound":
        """The same values, cut off from what computed them."""
        return Sound(self.waveform.detach(), tuple(magnitude.detach() for magnitude in self.magnitudes))


class SpectralLoss(nn.Module):
    """2 × L1 of log-mel + 0.3 × (spectral convergence + L1 of log-magnitude), in the default configuration.

    The STFT terms are those of Yamamoto et al. 2020 (Parallel WaveGAN, https://arxiv.org/abs/1910.11480).
    """

    filters: torch.Tensor

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        filters = torchaudio.functional.melscale_fbanks(
            config.fft_sizes[0] // 2 + 1, 0.0, SAMPLE_RATE / 2, config.n_mels, SAMPLE_RATE
        )
        self.register_buffer("filters", filters, persistent=False)
        for size in config.fft_sizes:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def hear(self, waveform: torch.Tensor) -> Sound:
        """Waveforms `(B, S)` → magnitudes at every resolution, hops of a quarter window, whole windows only."""
        windows = [self.get_buffer(f"window_{size}") for size in self.config.fft_sizes]
        return Sound(waveform, tuple(magnitudes(waveform, window) for window in windows))

    def log_mel(self, sound: Sound) -> torch.Tensor:
        """Log-mel of the first resolution, `(B, T, n_mels)`."""
        return (sound.magnitudes[0] @ self.filters).clamp(min=MEL_FLOOR).log()

    def forward(self, generated: Sound, target: Sound, n_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Distances of a batch of segments, of which row b is `n_samples[b]` long and padded with zeros.

        Returns:
            `mel` and `stft` (mean over the resolutions), `(B,)` each, not yet weighted.
        """
        valid = [
            mask(_n_windows(n_samples, size), magnitude.shape[1])
            for size, magnitude in zip(self.config.fft_sizes, target.magnitudes, strict=True)
        ]
        mel = _mean_distance(self.log_mel(generated), self.log_mel(target), valid[0])
        stft = [
            _convergence(g, t, v) + _mean_distance(g.log(), t.log(), v)
            for g, t, v in zip(generated.magnitudes, target.magnitudes, valid, strict=True)
        ]
        return {"mel": mel, "stft": torch.stack(stft).mean(dim=0)}


def _n_windows(n_samples: torch.Tensor, size: int) -> torch.Tensor:
    return ((n_samples - size) // (size // 4) + 1).clamp(min=1)


def _mean_distance(generated: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of `(B, T, D)` over the valid frames → `(B,)`."""
    distance = (generated - target).abs().mean(dim=2) * valid
    return distance.sum(dim=1) / valid.sum(dim=1)


def _convergence(generated: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """‖target − generated‖ / ‖target‖ of magnitudes `(B, T, D)` → `(B,)`."""
    keep = valid[:, :, None]
    distance = ((target - generated) * keep).square().sum(dim=(1, 2))
    size = (target * keep).square().sum(dim=(1, 2))
    silent = SILENT_WINDOW * valid.sum(dim=1)
    return (distance / (size + silent) + 1e-8).sqrt()
