"""How long each unit lasts, for sequences that come without timing (as FastSpeech's, Ren et al. 2019)."""

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from vocoder.conditioning import SpeakerInput
from vocoder.config import ModelConfig
from vocoder.voices import Voices


class DurationPredictor(nn.Module):
    """Convolutions over deduplicated units; the output is log(duration + 1)."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int) -> None:
        super().__init__()
        width = config.duration_width
        self.unit = nn.Embedding(k, width)
        self.speaker = SpeakerInput(config, n_speakers, width) if config.speaker != "none" else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.duration_layers))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel_size=3, padding=1) for _ in range(config.duration_layers)
        )
        self.project = nn.Linear(width, 1)

    @property
    def context(self) -> int:
        """Units to either side that a prediction depends on."""
        return len(self.convolutions)

    def forward(self, units: torch.Tensor, voices: Voices, lengths: torch.Tensor) -> torch.Tensor:
        """Deduplicated units `(B, N)`, voices, lengths `(B,)` → log(duration + 1) `(B, N)`."""
        valid = mask(lengths, units.shape[1])[:, :, None]
        x = self.unit(units)
        if self.speaker is not None:
            x = x + self.speaker(voices)[:, None]
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            y = (norm(x) * valid).transpose(1, 2)  # (B, N, D) -> (B, D, N)
            x = x + F.gelu(convolution(y)).transpose(1, 2)
        return self.project(x).squeeze(2).float()

    def predict(self, units: torch.Tensor, voices: Voices, lengths: torch.Tensor) -> torch.Tensor:
        """Durations in frames, `(B, N)` int64, at least 1."""
        return rounded(self(units, voices, lengths))


class VariancePredictor(nn.Module):
    """The predictor of published unit vocoders: two convolutions over the units alone, whoever speaks.

    The same as fairseq's, whose embedding is the one of its generator; here it is a copy.
    """

    def __init__(self, config: ModelConfig, k: int) -> None:
        super().__init__()
        width, size = config.duration_width, config.hifigan.embedding
        self.unit = nn.Embedding(k, size)
        self.convolutions = nn.ModuleList(nn.Conv1d(n, width, kernel_size=3, padding=1) for n in (size, width))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.dropout = nn.Dropout(0.5)
        self.project = nn.Linear(width, 1)

    @property
    def context(self) -> int:
        """Units to either side that a prediction depends on."""
        return len(self.convolutions)

    def forward(
        self,
        units: torch.Tensor,
        voices: Voices,  # noqa: ARG002 - the contract of predictors
        lengths: torch.Tensor,
    ) -> torch.Tensor:
        """Deduplicated units `(B, N)`, lengths `(B,)` → log(duration + 1) `(B, N)`."""
        valid = mask(lengths, units.shape[1])[:, :, None]
        x = self.unit(units)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            y = convolution((x * valid).transpose(1, 2)).transpose(1, 2)  # (B, N, D) -> (B, D, N) -> (B, N, D)
            x = self.dropout(norm(F.relu(y)))
        return self.project(x).squeeze(2).float()

    def predict(self, units: torch.Tensor, voices: Voices, lengths: torch.Tensor) -> torch.Tensor:
        """Durations in frames, `(B, N)` int64, at least 1."""
        return rounded(self(units, voices, lengths))


def rounded(log_durations: torch.Tensor) -> torch.Tensor:
    """log(duration + 1) → whole durations in frames, at least 1."""
    return (log_durations.exp() - 1).round().clamp(min=1).long()


def duration_error(predicted: torch.Tensor, durations: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sum over all units of the squared error of log(duration + 1); `(B, N)`, `(B, N)`, `(B,)` → scalar."""
    difference = (predicted - durations.float().log1p()) * mask(lengths, durations.shape[1])
    return difference.square().sum()
