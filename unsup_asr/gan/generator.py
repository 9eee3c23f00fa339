"""The generator: features of speech → phones, a single convolution; around it what wav2vec-U 2.0 added."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from unsup_asr.gan.config import GeneratorConfig
from unsup_asr.gan.convolution import TimeConvolution


@dataclass(frozen=True)
class Generated:
    """What a generator makes of a batch.

    Attributes:
        logits: of phones, `(B, T', V)`.
        lengths: how many of them count, `(B,)`.
        clusters: logits of auxiliary clusters `(B, T, K)` at the rate of the features; None without such a head.
    """

    logits: torch.Tensor
    lengths: torch.Tensor
    clusters: torch.Tensor | None


class Generator(nn.Module):
    """Segments (1.0) or frames (2.0) of D numbers → logits of V phones."""

    def __init__(self, config: GeneratorConfig, dim: int, n_phones: int) -> None:
        super().__init__()
        self.config = config
        self.norm = MaskedBatchNorm(dim, config.batch_norm) if config.batch_norm else None
        self.residual = nn.Linear(dim, dim) if config.residual else None
        self.auxiliary = nn.Linear(dim, config.auxiliary) if config.auxiliary else None
        before = config.kernel // 2
        self.project = TimeConvolution(
            dim, n_phones, config.kernel, stride=config.stride, padding=(before, before), bias=False
        )
        with torch.no_grad():
            self.project.weight.mul_(config.initial_scale)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> Generated:
        """Features `(B, T, D)`, padded with anything, and lengths `(B,)`."""
        valid = mask(lengths, features.shape[1])
        x = features if self.norm is None else self.norm(features, valid)
        clusters = None
        if self.residual is not None:
            branch = self.residual(F.dropout(x, self.config.dropout, self.training))
            x = x + branch
            clusters = None if self.auxiliary is None else self.auxiliary(branch)
        x = F.dropout(x, self.config.dropout, self.training) * valid[..., None]
        # An even kernel padded on both sides gives one output too many.
        logits = self.project(x)[:, : -(-features.shape[1] // self.config.stride)]
        return Generated(logits, -(-lengths // self.config.stride), clusters)


class MaskedBatchNorm(nn.Module):
    """Batch normalisation over the frames that count; its gain begins at 30, without which 2.0 does not converge."""

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(self, dim: int, gain: float, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.full((dim,), gain))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("variance", torch.ones(dim))

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """`(B, T, D)`, `(B, T)` → `(B, T, D)`."""
        mean, variance = self.mean, self.variance
        if self.training:
            counted = x[valid]  # (N, D)
            mean, variance = counted.mean(0), counted.var(0, unbiased=False)
            with torch.no_grad():
                unbiased = variance * len(counted) / max(1, len(counted) - 1)
                self.mean.lerp_(mean, self.momentum)
                self.variance.lerp_(unbiased, self.momentum)
        return (x - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
