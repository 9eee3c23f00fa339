"""The generator: units at frame rate → features → backbone → head → waveform.

All layers work at the frame rate of the units; only the head, an inverse short-time Fourier transform, makes samples
of frames (as in Vocos, Siuzdak 2023, https://arxiv.org/abs/2306.00814). That is why it is quick on a CPU.

Padding never changes a result: whatever a layer reads from its neighbours is zero beyond the end of the utterance.
"""

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from vocoder.config import ModelConfig, hop_length
from vocoder.frames import N_FEATURES, Frames


class Generator(nn.Module):
    """Units and a speaker → a waveform of exactly `hop` samples a frame."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int, frame_rate: float) -> None:
        super().__init__()
        self.upsample = config.upsample
        self.features = Features(config, k, n_speakers)
        self.backbone = nn.ModuleList(Block(config, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(config.width)
        self.head = ISTFTHead(config.width, hop_length(frame_rate, config.upsample))

    def forward(self, frames: Frames, speakers: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Synthesize a padded batch.

        Args:
            frames: `(B, T)` units with their features.
            speakers: index of each utterance's speaker, `(B,)`.
            lengths: frames of each utterance, `(B,)`.

        Returns:
            Waveforms `(B, T × samples a frame of units)`, zero beyond the length.
        """
        valid = mask(lengths * self.upsample, frames.units.shape[1] * self.upsample)  # (B, T)
        x = self.features(frames, speakers)
        for block in self.backbone:
            x = block(x, valid)
        return self.head(self.norm(x), valid)


class Features(nn.Module):
    """Sum of embeddings of the unit, the speaker, the place in the run and, when upsampling, in the frame."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int) -> None:
        super().__init__()
        self.unit = nn.Embedding(k, config.width)
        self.speaker = nn.Embedding(n_speakers, config.width)
        self.place = nn.Linear(N_FEATURES, config.width)
        self.part = nn.Parameter(torch.zeros(config.upsample, config.width))

    def forward(self, frames: Frames, speakers: torch.Tensor) -> torch.Tensor:
        """`(B, T)` frames → `(B, T × upsample, width)`."""
        x = self.unit(frames.units) + self.place(frames.features) + self.speaker(speakers)[:, None]
        return (x[:, :, None] + self.part).flatten(1, 2)  # (B, T, upsample, D) -> (B, T × upsample, D)


class Block(nn.Module):
    """Every frame looks at itself and at the frames ±dilation away: a convolution of width 3, written as a product."""

    def __init__(self, config: ModelConfig, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(config.width)
        self.expand = nn.Linear(3 * config.width, config.hidden)
        self.project = nn.Linear(config.hidden, config.width)
        self.scale = nn.Parameter(torch.tensor(config.residual_scale))

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """`(B, T, width)` → the same shape; `valid` `(B, T)` is true within the utterances."""
        # The mask stands after the norm, whose bias would otherwise leak from the padding into the last frames.
        y = shifted(self.norm(x) * valid[:, :, None], self.dilation)
        return x + self.scale * self.project(F.gelu(self.expand(y)))


def shifted(x: torch.Tensor, distance: int) -> torch.Tensor:
    """`(B, T, D)` → `(B, T, 3D)`: the frames `distance` before, here, and `distance` after; zeros beyond the ends."""
    size = x.shape[1]
    wide = F.pad(x, (0, 0, distance, distance))
    return torch.cat([wide[:, :size], x, wide[:, 2 * distance :]], dim=2)


class ISTFTHead(nn.Module):
    """Magnitude and phase of every frame → waveform.

    Frame i stands for the samples [i·hop, (i+1)·hop) and its window, 4·hop long, is centred on them, so the T windows
    cover (T + 3)·hop samples, of which the middle T·hop are kept. Dividing by the sum of squared windows that are
    there makes the head the exact inverse of the transform, at the ends too.
    """

    window: torch.Tensor

    def __init__(self, width: int, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.project = nn.Linear(width, 2 * (2 * hop + 1))
        self.register_buffer("window", torch.hann_window(4 * hop), persistent=False)

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """`(B, T, width)` and the mask `(B, T)` → `(B, T·hop)`."""
        log_magnitude, phase = self.project(x).float().chunk(2, dim=2)  # (B, T, 2·hop + 1) each
        magnitude = log_magnitude.clamp(max=7.0).exp()  # exp(7): a full-scale sine gives hop
        return self.invert(torch.polar(magnitude, phase), valid)

    def invert(self, spectrum: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Complex frames `(B, T, 2·hop + 1)` → waveform `(B, T·hop)`, zero where `valid` `(B, T)` is false."""
        frames = torch.fft.irfft(spectrum, dim=2) * self.window * valid[:, :, None]
        envelope = self._overlap_add(self.window.square() * valid[:, :, None])
        waveform = self._overlap_add(frames) / envelope.clamp(min=1e-3)
        return waveform * valid.repeat_interleave(self.hop, dim=1)

    def _overlap_add(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 4·hop)` → `(B, T·hop)`: four quarters of every window, each one hop later than the last."""
        quarters = frames.unflatten(2, (4, self.hop)).unbind(2)  # 4 × (B, T, hop)
        summed = sum(F.pad(quarter, (0, 0, i, 3 - i)) for i, quarter in enumerate(quarters))
        assert isinstance(summed, torch.Tensor)
        cut = self.hop + self.hop // 2
        return summed.flatten(1)[:, cut:-cut]  # (B, T + 3, hop) -> (B, T·hop)
