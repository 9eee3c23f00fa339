"""Vocoders and their training as one writes them first: what `vocoder_training.py` compares ours with.

The same networks and losses in float32, of PyTorch's own layers in their usual layout: `Conv1d`, `torch.stft`, `fold`;
every segment is cut from a recording that is read for it. Nothing is kept in memory, nothing is computed in bfloat16.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import soundfile
import torch
import torchaudio
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from vocoder.config import HifiganConfig, LossConfig, ModelConfig
from vocoder.generator import Generator
from vocoder.losses import MEL_FLOOR, SILENT_WINDOW
from vocoder.spectra import POWER_FLOOR

RATE, HOP = 16_000, 320


class Block(nn.Module):
    """`(B, width, T)` → the same: two convolutions around a GELU, and a residual connection."""

    def __init__(self, width: int, hidden: int, dilation: int, scale: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Conv1d(width, hidden, 3, padding=dilation, dilation=dilation)
        self.project = nn.Conv1d(hidden, width, 1)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.project(F.gelu(self.expand(y)))


class ISTFTGenerator(nn.Module):
    """Units `(B, T)`, their places `(B, T, 2)`, speakers `(B,)` → waveforms `(B, T × 320)`."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int) -> None:
        super().__init__()
        self.unit = nn.Embedding(k, config.width)
        self.place = nn.Linear(2, config.width)
        self.speaker = nn.Embedding(n_speakers, config.width)
        self.blocks = nn.Sequential(
            *(Block(config.width, config.hidden, d, config.residual_scale) for d in config.dilations)
        )
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, 2 * (2 * HOP + 1))
        self.register_buffer("window", torch.hann_window(4 * HOP))

    def forward(self, units: torch.Tensor, places: torch.Tensor, speakers: torch.Tensor) -> torch.Tensor:
        x = self.unit(units) + self.place(places) + self.speaker(speakers)[:, None]
        x = self.blocks(x.transpose(1, 2)).transpose(1, 2)
        magnitude, phase = self.head(self.norm(x)).chunk(2, dim=2)
        magnitude = magnitude.clamp(max=7.0).exp()
        spectrum = magnitude * (torch.cos(phase) + 1j * torch.sin(phase))
        frames = torch.fft.irfft(spectrum, dim=2) * self.window  # (B, T, 4 × 320)
        envelope = self.window.square().expand_as(frames)
        cut = HOP + HOP // 2
        size = (1, (frames.shape[1] + 3) * HOP)
        found = [
            F.fold(y.transpose(1, 2), size, (1, 4 * HOP), stride=(1, HOP))[:, 0, 0, cut:-cut]
            for y in (frames, envelope)
        ]
        return found[0] / found[1].clamp(min=1e-3)

    def copy(self, ours: Generator) -> "ISTFTGenerator":
        """Take over the weights of ours."""
        state = ours.state_dict()
        named = {
            "unit.weight": state["features.unit.weight"],
            "place.weight": state["features.place.weight"],
            "place.bias": state["features.place.bias"],
            "speaker.weight": state["features.speaker.table.weight"],
            "norm.weight": state["norm.weight"],
            "norm.bias": state["norm.bias"],
            "head.weight": state["head.project.weight"],
            "head.bias": state["head.project.bias"],
            "window": self.window,
        }
        for name in (name for name in state if name.startswith("backbone.")):
            value = state[name]
            if name.endswith("expand.weight"):
                value = value.unflatten(1, (3, -1)).transpose(1, 2)  # (H, 3 × W) -> (H, W, 3)
            if name.endswith("project.weight"):
                value = value[:, :, None]
            named[name.replace("backbone.", "blocks.")] = value
        self.load_state_dict(named)
        return self


class UnitHifigan(nn.Module):
    """The published generator with the published names of weights; units `(B, T)` → waveforms `(B, T × 320)`."""

    def __init__(self, shape: HifiganConfig, k: int) -> None:
        super().__init__()
        self.dict = nn.Embedding(k, shape.embedding)
        self.conv_pre = weight_norm(nn.Conv1d(shape.embedding, shape.channels, 7, padding=3))
        self.ups, self.resblocks, channels = nn.ModuleList(), nn.ModuleList(), shape.channels
        for rate, kernel in zip(shape.rates, shape.kernels, strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=(kernel - rate) // 2)
            self.ups.append(weight_norm(up))
            channels //= 2
            for size, dilations in zip(shape.block_kernels, shape.block_dilations, strict=True):
                self.resblocks.append(ResidualBlock(channels, size, dilations))
        self.conv_post = weight_norm(nn.Conv1d(channels, 1, 7, padding=3))
        self.n_kernels = len(shape.block_kernels)

    def forward(self, units: torch.Tensor) -> torch.Tensor:
        x = self.conv_pre(self.dict(units).transpose(1, 2))
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            x = sum(block(x) for block in self.resblocks[i * self.n_kernels : (i + 1) * self.n_kernels])
            x = x / self.n_kernels
        return torch.tanh(self.conv_post(F.leaky_relu(x, 0.01)))[:, 0]


class ResidualBlock(nn.Module):
    """`(B, C, T)` → the same: pairs of convolutions, the first of each dilated."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            weight_norm(nn.Conv1d(channels, channels, kernel, padding=kernel // 2 * d, dilation=d)) for d in dilations
        )
        self.convs2 = nn.ModuleList(
            weight_norm(nn.Conv1d(channels, channels, kernel, padding=kernel // 2)) for _ in dilations
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for one, two in zip(self.convs1, self.convs2, strict=True):
            x = x + two(F.leaky_relu(one(F.leaky_relu(x, 0.1)), 0.1))
        return x


class SpectralLoss(nn.Module):
    """Log-mel and STFT distances, of `torch.stft` and what autograd derives from it."""

    def __init__(self, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        n_bins = config.fft_sizes[0] // 2 + 1
        filters = torchaudio.functional.melscale_fbanks(n_bins, 0.0, RATE / 2, config.n_mels, RATE)
        self.register_buffer("filters", filters)
        self.windows = [torch.hann_window(size) for size in config.fft_sizes]

    def magnitudes(self, waveform: torch.Tensor) -> list[torch.Tensor]:
        """Waveforms `(B, S)` → `(B, T, bins)` at every resolution."""
        found = []
        for window in self.windows:
            size = len(window)
            spectrum = torch.stft(waveform, size, size // 4, window=window, center=False, return_complex=True)
            found.append((spectrum.real**2 + spectrum.imag**2 + POWER_FLOOR).sqrt().transpose(1, 2))
        return found

    def forward(self, generated: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made, true = self.magnitudes(generated), self.magnitudes(target)
        mels = [(m[0] @ self.filters).clamp(min=MEL_FLOOR).log() for m in (made, true)]
        stft = []
        for m, t in zip(made, true, strict=True):
            energy = t.square().sum(dim=(1, 2)) + SILENT_WINDOW * t.shape[1]
            convergence = ((t - m).square().sum(dim=(1, 2)) / energy + 1e-8).sqrt().mean()
            stft.append(convergence + F.l1_loss(m.log(), t.log()))
        return F.l1_loss(*mels), torch.stack(stft).mean()


class Segments(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Random segments: units `(T,)` at frame rate and waveform `(T × 320,)`, whose recording is read each time."""

    def __init__(self, items: Sequence[tuple[Path, torch.Tensor]], n_frames: int) -> None:
        self.items = items
        self.n_frames = n_frames

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        path, units = self.items[index]
        waveform = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        start = random.randrange(max(1, len(units) - self.n_frames))
        units = units[start : start + self.n_frames]
        waveform = waveform[start * HOP : (start + self.n_frames) * HOP]
        missing = self.n_frames - len(units)
        return F.pad(units, (0, missing)), F.pad(waveform, (0, self.n_frames * HOP - len(waveform)))


def batches(data: Segments, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Without end."""
    while True:
        yield from torch.utils.data.DataLoader(data, batch_size, shuffle=True, drop_last=True)
