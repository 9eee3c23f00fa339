"""How long each unit lasts, for sequences that come without timing (as FastSpeech's, Ren et al. 2019)."""

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from vocoder.config import ModelConfig


class DurationPredictor(nn.Module):
    """Convolutions over deduplicated units; the output is log(duration + 1)."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int) -> None:
        super().__init__()
        width = config.duration_width
        self.unit = nn.Embedding(k, width)
        self.speaker = nn.Embedding(n_speakers, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.duration_layers))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel_size=3, padding=1) for _ in range(config.duration_layers)
        )
        self.project = nn.Linear(width, 1)

    def forward(self, units: torch.Tensor, speakers: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Deduplicated units `(B, N)`, speakers `(B,)`, lengths `(B,)` → log(duration + 1) `(B, N)`."""
        valid = mask(lengths, units.shape[1])[:, :, None]
        x = self.unit(units) + self.speaker(speakers)[:, None]
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            y = (norm(x) * valid).transpose(1, 2)  # (B, N, D) -> (B, D, N)
            x = x + F.gelu(convolution(y)).transpose(1, 2)
        return self.project(x).squeeze(2).float()

    def predict(self, units: torch.Tensor, speakers: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Durations in frames, `(B, N)` int64, at least 1."""
        return (self(units, speakers, lengths).exp() - 1).round().clamp(min=1).long()


def duration_error(predicted: torch.Tensor, durations: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sum over all units of the squared error of log(duration + 1); `(B, N)`, `(B, N)`, `(B,)` → scalar."""
    difference = (predicted - durations.float().log1p()) * mask(lengths, durations.shape[1])
    return difference.square().sum()
