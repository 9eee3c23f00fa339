"""From features to states: convolutions that shorten, then self-attention."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from textless.encoders.transformer import Transformer, TransformerConfig
from unsup_asr.ctc.config import NetworkConfig

POSITION_KERNEL, POSITION_GROUPS = 31, 8


class Trunk(nn.Module):
    """Norm, projection, convolutions, Transformer.

    Frames beyond an utterance's length are zero before every convolution and unseen by attention, so that padding
    changes nothing but the last bits.
    """

    def __init__(self, config: NetworkConfig, dim: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Parameter(torch.zeros(dim))  # stands for frames that are masked
        self.project = nn.Linear(dim, config.dim)
        self.convolutions = nn.ModuleList(Convolution(config.dim, config.kernel, s) for s in config.strides)
        self.transformer = Transformer(_transformer(config)) if config.blocks else None
        self.stride = math.prod(config.strides)

    def forward(
        self, features: torch.Tensor, lengths: torch.Tensor, masks: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features `(B, T, D)`, frames `(B,)` → states `(B, T', H)`, their counts `(B,)`.

        `masks` hide frames `(B, T)` and channels `(B, D)`.
        """
        x = self.norm(features)
        if masks is not None:
            frames, channels = masks
            x = torch.where(frames[..., None], self.hidden, x).masked_fill(channels[:, None], 0.0)
        x = F.dropout(self.project(x), self.dropout, self.training)
        for convolution in self.convolutions:
            x, lengths = convolution(x, lengths)
        if self.transformer is not None:
            x = self.transformer.enter(x, lengths)
            *_, x = self.transformer.layers(x, lengths)
            x = self.transformer.final_norm(x)
        return x, lengths


class Convolution(nn.Module):
    """Norm, convolution, GELU, added to the frames it stands on: every one, or of `stride` the first."""

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(dim)
        self.convolution = nn.Conv1d(dim, dim, kernel, stride, padding=kernel // 2)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`(B, T, D)` → `(B, ⌈T / stride⌉, D)`; lengths `(B,)` likewise."""
        counts = -(-lengths // self.stride)
        inside = self.norm(x) * mask(lengths, x.shape[1])[..., None]
        n_frames = int(counts.max())
        convolved = F.gelu(self.convolution(inside.mT)[..., :n_frames]).mT
        return x[:, :: self.stride][:, :n_frames] + convolved, counts


def _transformer(config: NetworkConfig) -> TransformerConfig:
    return TransformerConfig(
        dim=config.dim,
        layers=config.blocks,
        heads=config.heads,
        ffn_dim=config.ffn,
        norm_first=True,
        position_kernel=POSITION_KERNEL,
        position_groups=POSITION_GROUPS,
        dropout=config.dropout,
    )
