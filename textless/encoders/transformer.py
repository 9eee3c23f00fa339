"""The Transformer of a speech encoder: frames in, every layer's frames out."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textless.audio.batches import mask
from textless.config import Config
from textless.encoders.positions import (
    ConvolutionalPosition,
    ConvolutionalPositionStack,
    PositionGate,
    RelativeBuckets,
    linear_biases,
)


class TransformerConfig(Config):
    """Size and kind.

    `norm_first` is the large models' order (norm, attention, add), else add comes before norm (BERT, HuBERT base).
    """

    dim: int = 768
    layers: int = 12
    heads: int = 12
    ffn_dim: int = 3072
    norm_first: bool = False
    activation: Literal["gelu", "relu"] = "gelu"
    position: Literal["conv", "conv-stack", "alibi"] = "conv"
    position_kernel: int = 128
    position_groups: int = 16
    position_depth: int = 1  # of the stack
    position_batch_norm: bool = False
    relative_buckets: int = 0  # WavLM: 320, of a gated relative bias besides the convolution
    relative_distance: int = 800
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    layer_drop: Annotated[float, Field(ge=0, lt=1)] = 0.0  # chance that a block is left out in training


class Block(nn.Module):
    """Self-attention and a feed-forward network, each with a residual connection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.norm_first = config.norm_first
        self.dropout = config.dropout
        self.activation = F.gelu if config.activation == "gelu" else F.relu
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, config.ffn_dim)
        self.down = nn.Linear(config.ffn_dim, dim)
        self.gate = PositionGate(config.heads, dim // config.heads) if config.relative_buckets else None

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None, relative: torch.Tensor | None) -> torch.Tensor:
        """Frames `(B, T, D)` → frames.

        `bias` `(B or 1, H or 1, T or 1, T)` is added to the scores of attention, `relative` `(H, T, T)` through the
        gate. The residual stream stays in float32; matrix products run in the weights' type.
        """
        if self.norm_first:
            x = x + self._attend(self.attention_norm(x), bias, relative)
            return x + self._feed_forward(self.ffn_norm(x))
        x = self.attention_norm(x + self._attend(x, bias, relative))
        return self.ffn_norm(x + self._feed_forward(x))

    def _attend(self, x: torch.Tensor, bias: torch.Tensor | None, relative: torch.Tensor | None) -> torch.Tensor:
        if self.gate is not None and relative is not None:
            gated = self.gate(x.unflatten(-1, (self.heads, -1)).transpose(1, 2)) * relative  # (B, H, T, T)
            bias = gated if bias is None else gated + bias
        qkv = self.qkv(x.to(self.qkv.weight.dtype))  # (B, T, 3 D) -> 3 x (B, H, T, D / H)
        query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = None if bias is None else bias.to(query.dtype)
        mixed = F.scaled_dot_product_attention(query, key, value, scores)
        return self._drop(self.out(mixed.transpose(1, 2).flatten(2)))

    def _feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._drop(self.down(self._drop(self.activation(self.up(x.to(self.up.weight.dtype))))))

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class Transformer(nn.Module):
    """Positions, a norm, and blocks.

    The norm stands before the blocks (post-norm models) or, in `norm_first` models, after the last: there it is part of
    no layer, as in fairseq and torchaudio, and `final_norm` applies it.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.position = _position(config)
        self.norm = nn.LayerNorm(config.dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.relative = (
            RelativeBuckets(config.heads, config.relative_buckets, config.relative_distance)
            if config.relative_buckets
            else None
        )

    def enter(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Frames `(B, T, D)`, of which `lengths` `(B,)` are valid → what enters block 1."""
        valid = mask(lengths, x.shape[1])[..., None]
        if self.position is not None:
            x = x * valid
            x = x + self.position(x, valid)
        if not self.config.norm_first:
            x = self.norm(x)
        return F.dropout(x, self.config.dropout, self.training)

    def layers(self, x: torch.Tensor, lengths: torch.Tensor) -> Iterator[torch.Tensor]:
        """What enters block 1, `(B, T, D)`, then what every block gives.

        Frames beyond an utterance's length are neither looked at nor meaningful.
        """
        n_frames = x.shape[1]
        bias = self._bias(lengths, mask(lengths, n_frames))
        relative = self.relative(n_frames) if self.relative is not None else None
        yield x
        for block in self.blocks:
            if not (self.training and self.config.layer_drop and torch.rand(()) < self.config.layer_drop):
                x = block(x, bias, relative)
            yield x

    def final_norm(self, x: torch.Tensor) -> torch.Tensor:
        """What follows the last block of a `norm_first` model (and nothing in others)."""
        return self.norm(x) if self.config.norm_first else x

    def _bias(self, lengths: torch.Tensor, valid: torch.Tensor) -> torch.Tensor | None:
        """What is added to scores: −∞ on keys that are padding, and fixed linear biases where the model has them."""
        n_frames = valid.shape[1]
        bias = None
        if int(lengths.min()) < n_frames:
            bias = torch.zeros(valid.shape, device=valid.device).masked_fill(~valid, -math.inf)[:, None, None]
        if self.config.position == "alibi":
            linear = linear_biases(self.config.heads, n_frames, valid.device)
            # A padded query of a one-sided head may have no key left: it looks at itself, and is not meaningful.
            bias = linear if bias is None else torch.where(valid[:, None, :, None], linear + bias, linear)
        return bias


def _position(config: TransformerConfig) -> nn.Module | None:
    match config.position:
        case "conv":
            kernel, groups = config.position_kernel, config.position_groups
            return ConvolutionalPosition(config.dim, kernel, groups, batch_norm=config.position_batch_norm)
        case "conv-stack":
            kernel, groups = config.position_kernel, config.position_groups
            return ConvolutionalPositionStack(config.dim, kernel, groups, config.position_depth)
        case "alibi":
            return None
