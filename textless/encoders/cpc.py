"""Contrastive predictive coding as Libri-Light has it: convolutions, a norm over channels, a recurrent context.

Rivière, Joulin, Mazaré & Dupoux 2020, "Unsupervised pretraining transfers well across languages". Layer 0 is what the
convolutions give, layer n what level n of the LSTM gives. One frame every 10 ms, frame i centred at (i + ½) / 100 s but
for half a sample. Every convolution pads with zeros, so zeros are put back beyond the end of each utterance after every
one of them, and a batch gives what its utterances give alone.
"""

import torch
import torch.nn.functional as F
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.encoders.identity import identity

CONVOLUTIONS = ((10, 5, 3), (8, 4, 2), (4, 2, 1), (4, 2, 1), (4, 2, 1))  # kernel, stride, zeros on either side
HOP = 160  # samples: the product of the strides
BLOCK_FRAMES = 400  # taken at a time when nothing is trained, so that memory does not grow with the recording


class CpcConfig(Config):
    """Sizes; the defaults are Libri-Light's."""

    conv_dim: int = 256  # channels of the convolutions
    dim: int = 256  # of the context
    levels: int = 1  # of the LSTM


class ChannelNorm(nn.Module):
    """Zero mean and unit variance over the channels of each frame, `(B, C, T)`; the variance is the unbiased one."""

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise, scale and shift."""
        variance, mean = torch.var_mean(x, dim=1, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + self.epsilon) * self.weight[:, None] + self.bias[:, None]


class Cpc(nn.Module):
    """Waveforms to features of every layer."""

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE / HOP

    def __init__(self, config: CpcConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.num_layers = config.levels
        sizes = [1] + [config.conv_dim] * len(CONVOLUTIONS)
        self.convs = nn.ModuleList(
            nn.Conv1d(size, config.conv_dim, kernel, stride)
            for size, (kernel, stride, _) in zip(sizes, CONVOLUTIONS, strict=False)
        )
        for conv in self.convs:
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type] # speech is quiet: random biases would drown it
        self.norms = nn.ModuleList(ChannelNorm(config.conv_dim) for _ in CONVOLUTIONS)
        self.levels = nn.ModuleList(
            nn.LSTM(config.dim if level else config.conv_dim, config.dim, batch_first=True)
            for level in range(config.levels)
        )

    @property
    def min_samples(self) -> int:
        """Samples below which there is no frame."""
        needed = 1
        for kernel, stride, padding in reversed(CONVOLUTIONS):
            needed = (needed - 1) * stride + kernel - 2 * padding
        return needed

    def layer_dim(self, layer: int) -> int:
        """Size of a frame of one layer, which `dim` is of those of the LSTM."""
        return self.dim if layer else self.config.conv_dim

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, D)` of a layer, frame counts `(B,)`."""
        z, frames = self.convolve(waveforms, lengths)
        return self.contextualise(z, frames, layer), frames

    def convolve(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → z `(B, T, conv_dim)`, zero beyond the frame counts `(B,)`."""
        counts = [lengths]  # of positions before and after every convolution
        for kernel, stride, padding in CONVOLUTIONS:
            counts.append(((counts[-1] + 2 * padding - kernel) // stride + 1).clamp_min(0))
        n_frames = int(counts[-1].max())
        per_block = n_frames if torch.is_grad_enabled() else BLOCK_FRAMES
        blocks = [
            self._convolve(waveforms, counts, start, min(start + per_block, n_frames))
            for start in range(0, n_frames, per_block)
        ]
        return torch.cat(blocks, dim=1), counts[-1]

    def contextualise(self, z: torch.Tensor, frames: torch.Tensor, layer: int | None = None) -> torch.Tensor:
        """Convolved z `(B, T, conv_dim)`, frame counts `(B,)` → context c `(B, T, dim)`, zero beyond the frame counts.

        Args:
            z: what `convolve` gives.
            frames: how many of them are valid.
            layer: level of the LSTM that is wanted, 0 meaning z itself; None: the last.
        """
        for level in self.levels[:layer]:
            z, _ = level(z)
        return z * mask(frames, z.shape[1])[..., None]

    def _convolve(self, waveforms: torch.Tensor, counts: list[torch.Tensor], first: int, last: int) -> torch.Tensor:
        """Frames `first` to `last` of z, `(B, last - first, conv_dim)`.

        The positions that they look at are found from the last convolution backwards; those before the beginning or
        after the end of an utterance are the zeros that the convolution pads with.
        """
        spans = [(first, last)]
        for kernel, stride, padding in reversed(CONVOLUTIONS):
            begin, end = spans[-1]
            spans.append((begin * stride - padding, (end - 1) * stride - padding + kernel))
        spans.reverse()
        begin, end = spans[0]
        size = waveforms.shape[1]
        samples = F.pad(waveforms[:, max(begin, 0) : end], (max(-begin, 0), max(end - size, 0)))
        x = samples[:, None] * _inside(spans[0], counts[0])  # (B, 1, S)
        for conv, norm, span, count in zip(self.convs, self.norms, spans[1:], counts[1:], strict=True):
            x = F.relu(norm(conv(x))) * _inside(span, count)
        return x.mT  # (B, C, T) -> (B, T, C)

    def sha256(self) -> str:
        """Identity of configuration and weights."""
        return identity(self.config, self.state_dict())


def _inside(span: tuple[int, int], counts: torch.Tensor) -> torch.Tensor:
    """Which positions of a span belong to each utterance, `(B, 1, end - begin)`."""
    positions = torch.arange(*span, device=counts.device)
    return ((positions >= 0) & (positions < counts[:, None]))[:, None]
