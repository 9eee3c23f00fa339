"""A network that hears who speaks: log-mel, convolutions over time, attentive statistics, a unit vector.

    waveform (S,) -> log-mel (M, 80) at 100 Hz, mean 0 and variance 1 over the utterance -> hidden (T, W) at 50 Hz
    -> weighted mean and standard deviation over time (2 P,) -> embedding (D,) of length 1

Attentive statistics pooling is that of Okabe et al. 2018, with an attention for every channel as in ECAPA-TDNN
(Desplanques et al. 2020). The one batch norm is behind the pooling: without it, embeddings begin all in one direction
and take several times as long to part. Outside training it is a fixed scale: neither padding nor batching matters.
"""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F

from textless.audio.batches import mask
from textless.encoders.spectral import LOGMEL_BINS, SpectralEncoder
from textless.errors import UserError
from textless.speakers.config import SpeakerEncoderConfig
from textless.training.checkpoint import CONFIG_NAME, load_model, save_model

FORMAT, VERSION = "textless-speaker-encoder", 1
FRAME_RATE = 100
SMALLEST_VARIANCE = 1e-5
NORM_MOMENTUM = 0.1


class SpeakerEncoder(nn.Module):
    """Waveforms to unit vectors that are close where the voice is the same."""

    def __init__(self, config: SpeakerEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = SpectralEncoder("logmel-cmvn", FRAME_RATE)
        self.front = nn.Conv1d(LOGMEL_BINS, config.width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(Block(config.width, dilation) for dilation in config.dilations)
        self.widen = nn.Linear(config.width, config.pooled)
        self.pooling = AttentiveStatistics(config.pooled, config.attention)
        self.norm = BatchNorm(2 * config.pooled)
        self.head = nn.Linear(2 * config.pooled, config.dim)

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Waveforms `(B, S)` at 16 kHz, lengths `(B,)` → embeddings `(B, D)` of length 1."""
        return self.embed(*self.features(waveforms, lengths))

    @torch.no_grad()
    def features(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → log-mel `(B, M, 80)`, 0 on padding, and frame counts `(B,)`."""
        return self.log_mel(waveforms, lengths)

    def embed(self, features: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Log-mel `(B, M, 80)`, frame counts `(B,)` → embeddings `(B, D)` of length 1."""
        hidden = F.relu(self.front(features.mT).mT)  # (B, M, 80) -> (B, T, W)
        inside = mask((frames + 1) // 2, hidden.shape[1])[..., None]
        for block in self.blocks:
            hidden = block(hidden, inside)
        pooled = self.pooling(F.relu(self.widen(hidden)), inside)
        return F.normalize(self.head(self.norm(pooled)).float(), dim=1)

    def save(self, directory: Path, **training: object) -> None:
        """Write the model directory; `training` says what it was trained on."""
        save_model(directory, FORMAT, VERSION, self.state_dict(), model=self.config.model_dump(mode="json"), **training)

    @classmethod
    def load(cls, directory: Path) -> tuple["SpeakerEncoder", dict[str, Any]]:
        """Read a model directory: the encoder in evaluation mode on the CPU, and the header of its file.

        Raises:
            UserError: it is no speaker encoder, or its weights are not those of its configuration.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        model = cls(SpeakerEncoderConfig.parse(header.get("model", {}), str(directory / CONFIG_NAME)))
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            problem = " ".join(str(error).split())
            raise UserError(f"{directory}: weights and configuration disagree: {problem}") from error
        return model.eval().requires_grad_(False), header


class Block(nn.Module):
    """Residual: a dilated convolution over three frames, then a linear map of every frame by itself."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)

    def forward(self, hidden: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """`(B, T, W)` to the same; `inside` `(B, T, 1)` is false on padding, which the convolution must not see."""
        update = self.over_time((hidden * inside).mT).mT  # (B, T, W) -> (B, W, T) -> (B, T, W)
        return hidden + self.mix(F.relu(self.norm(update)))


class AttentiveStatistics(nn.Module):
    """Mean and standard deviation over time of every channel, frames weighted by an attention of its own."""

    def __init__(self, channels: int, attention: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(channels, attention), nn.Tanh(), nn.Linear(attention, channels))

    def forward(self, hidden: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """`(B, T, P)`, of which the frames `inside` `(B, T, 1)` count, → `(B, 2 P)`."""
        scores = self.score(hidden).float().masked_fill(~inside, -torch.inf)
        weights = scores.softmax(dim=1)
        hidden = hidden.float()
        mean = (weights * hidden).sum(dim=1)
        variance = (weights * (hidden - mean[:, None]).square()).sum(dim=1)
        return torch.cat([mean, variance.clamp_min(SMALLEST_VARIANCE).sqrt()], dim=1)


class BatchNorm(nn.Module):
    """Batch norm of `(B, C)`; the moments of training are of the crops of all processes together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.mean: torch.Tensor
        self.variance: torch.Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """`(B, C)` to the same, of mean 0 and variance 1 over the batch before scale and shift."""
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = _moments(pooled)
            self.mean.lerp_(mean.detach(), NORM_MOMENTUM)
            self.variance.lerp_(variance.detach(), NORM_MOMENTUM)
        return (pooled - mean) / (variance + SMALLEST_VARIANCE).sqrt() * self.weight + self.bias


def _moments(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance `(C,)` over the rows `(B, C)` of all processes; gradients pass to the others' rows too."""
    sums = torch.stack([values.sum(dim=0), values.square().sum(dim=0), torch.full_like(values[0], len(values))])
    if dist.is_initialized():
        sums = all_reduce(sums)
    mean = sums[0] / sums[2]
    return mean, (sums[1] / sums[2] - mean.square()).clamp_min(0)
