"""Log-mel energies as the front end of a speech Transformer: what makes pretraining possible on a CPU (MelHuBERT).

Energies at 100 Hz are brought to zero mean and unit variance by fixed statistics of the training corpus, `stack`
neighbours become one frame, and `context` frames on either side are put beside each.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.encoders.spectral import log_energies, mel_filters, povey_window, power_spectra

RATE = 100  # Hz, of the energies


class LogMelConfig(Config):
    """Log-mel front end."""

    kind: Literal["logmel"] = "logmel"
    bins: int = 40
    stack: int = 2  # energies at 100 Hz in one frame: 2 gives 50 Hz
    context: int = 2  # frames seen on either side

    @property
    def dim(self) -> int:
        """Size of a frame."""
        return self.bins * self.stack * (2 * self.context + 1)


class LogMelFrontEnd(nn.Module):
    """Waveform to stacked, normalised log-mel energies.

    Frame i is centred at (i + ½) / frame rate; S samples give ⌊S / hop⌋ frames.
    """

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__()
        self.config = config
        self.hop = SAMPLE_RATE // RATE * config.stack
        self.receptive_field = self.hop  # less has no frame; what a frame sees beyond the ends is zero
        self.window: torch.Tensor
        self.filters: torch.Tensor
        self.mean: torch.Tensor
        self.scale: torch.Tensor
        self.register_buffer("window", povey_window(), persistent=False)
        self.register_buffer("filters", mel_filters(config.bins), persistent=False)
        self.register_buffer("mean", torch.zeros(config.bins))
        self.register_buffer("scale", torch.ones(config.bins))  # 1 / standard deviation

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → frames `(B, T, bins · stack · (2 context + 1))`, frame counts `(B,)`."""
        waveforms = waveforms * mask(lengths, waveforms.shape[1])
        energies = log_energies(power_spectra(waveforms, self.hop // self.config.stack, self.window), self.filters)
        return self.frames((energies - self.mean) * self.scale, lengths // self.hop)

    def frames(self, energies: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised energies `(B, T · stack, bins)` of so many frames `(B,)` → frames with their context."""
        n_frames = int(frames.max())
        stacked = energies[:, : n_frames * self.config.stack].unflatten(1, (n_frames, -1)).flatten(2)
        stacked = stacked * mask(frames, n_frames)[..., None]
        context = self.config.context
        around = F.pad(stacked, (0, 0, context, context)).unfold(1, 2 * context + 1, 1)  # (B, T, C, 2 context + 1)
        return around.mT.flatten(2), frames
