"""Log-mel energies as the front end of a speech Transformer: what makes pretraining possible on a CPU (MelHuBERT).

Energies at 100 Hz are brought to zero mean and unit variance by fixed statistics of the training corpus, `stack`
neighbours become one frame, and `context` frames on either side are put beside each.
"""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.encoders.spectral import log_energies, mel_filters, normalise, povey_window, power_spectra

RATE = 100  # Hz, of the energies


class LogMelConfig(Config):
    """Log-mel front end."""

    kind: Literal["logmel"] = "logmel"
    bins: int = 40
    stack: int = 2  # energies at 100 Hz in one frame: 2 gives 50 Hz
    context: int = 2  # frames seen on either side
    normalise: Literal["corpus", "utterance"] = "corpus"  # statistics that energies are normalised by

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
        return self.frames(*self.energies(waveforms, lengths, self.filters))

    def energies(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, filters: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, mel filters `(257, bins)` or one a row → normalised energies `(B, T, bins)`, counts."""
        waveforms = waveforms * mask(lengths, waveforms.shape[1])
        hop = self.hop // self.config.stack
        energies, counts = log_energies(power_spectra(waveforms, hop, self.window), filters), lengths // hop
        if self.config.normalise == "utterance":
            return normalise(energies, counts), counts
        return (energies - self.mean) * self.scale, counts

    @torch.no_grad()
    def fit(self, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Take mean and variance of energies from waveforms `(B, S)` and lengths `(B,)`."""
        heard = []
        for waveforms, lengths in batches:
            power = power_spectra(waveforms, self.hop // self.config.stack, self.window)
            heard.append(
                log_energies(power, self.filters)[mask(lengths // (self.hop // self.config.stack), power.shape[1])]
            )
        energies = torch.cat(heard)
        self.mean.copy_(energies.mean(dim=0))
        self.scale.copy_(1 / energies.std(dim=0).clamp_min(1e-3))

    def frames(self, energies: torch.Tensor, counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised energies `(B, T', bins)`, counts `(B,)` → frames with their context `(B, T, C)`, frame counts."""
        frames = counts // self.config.stack
        n_frames = int(frames.max())
        stacked = energies[:, : n_frames * self.config.stack].unflatten(1, (n_frames, -1)).flatten(2)
        stacked = stacked * mask(frames, n_frames)[..., None]
        context = self.config.context
        around = F.pad(stacked, (0, 0, context, context)).unfold(1, 2 * context + 1, 1)  # (B, T, C, 2 context + 1)
        return around.mT.flatten(2), frames
