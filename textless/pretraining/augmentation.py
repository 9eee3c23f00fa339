"""Changes to log-mel input that keep what was said: another vocal tract, a hidden band, a little noise.

With them an encoder learns to give the same features whoever speaks, since its targets are those of the unchanged
speech.
"""

import torch
from torch import nn

from textless.config import Config
from textless.encoders.logmel_front_end import LogMelFrontEnd
from textless.encoders.spectral import mel_filters
from textless.pretraining.objective import Batch

N_WARPS = 17  # filter banks prepared, evenly spaced in the logarithm of the warp


class AugmentationConfig(Config):
    """Strengths; zeros change nothing."""

    warp: float = 0.0  # vocal tract length perturbation: filters moved by a factor in 1/(1 + warp)..(1 + warp)
    gain: float = 0.0  # standard deviation of a random tilt of the spectrum, in those of the energies
    frequency_mask: int = 0  # widest band of mel bins that is hidden, in half of the crops
    noise: float = 0.0  # standard deviation of noise on the normalised energies


class Augmentation(nn.Module):
    """Front-end features of a batch, changed at random."""

    def __init__(self, config: AugmentationConfig, front_end: LogMelFrontEnd) -> None:
        super().__init__()
        self.config = config
        steps = range(-(N_WARPS // 2), N_WARPS // 2 + 1)
        warps = [(1 + config.warp) ** (2 * step / (N_WARPS - 1)) for step in steps] if config.warp else [1.0]
        self.filters: torch.Tensor
        banks = torch.stack([mel_filters(front_end.config.bins, warp) for warp in warps])
        self.register_buffer("filters", banks, persistent=False)  # (warps, 257, bins)

    def forward(self, front_end: LogMelFrontEnd, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Features `(B, T, C)` as the front end gives them, frame counts `(B,)`."""
        config, random, device = self.config, batch.generator, batch.waveforms.device
        size, bins = len(batch.lengths), self.filters.shape[-1]
        chosen = torch.randint(len(self.filters), (size,), generator=random).to(device)
        energies, lengths = front_end.energies(batch.waveforms, batch.lengths, self.filters[chosen])
        if config.gain:
            tilt, bend = (config.gain * torch.randn(2, size, 1, 1, generator=random)).to(device)
            place = torch.linspace(-1, 1, bins, device=device)
            energies = energies + tilt * place + bend * (place.square() - 1 / 3)
        if config.noise:
            energies = energies + config.noise * torch.randn(energies.shape, generator=random).to(device)
        if config.frequency_mask:
            width = torch.randint(config.frequency_mask + 1, (size, 1, 1), generator=random)
            width *= torch.randint(2, (size, 1, 1), generator=random)
            start = (torch.rand(size, 1, 1, generator=random) * (bins - width + 1)).long()
            bin_ = torch.arange(bins)
            energies = energies.masked_fill(((bin_ >= start) & (bin_ < start + width)).to(device), 0.0)
        return front_end.frames(energies, lengths)
