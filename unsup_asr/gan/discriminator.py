"""The discriminator: is this a sentence of phones? Causal convolutions over distributions; one score a sentence."""

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from unsup_asr.gan.config import DiscriminatorConfig
from unsup_asr.gan.convolution import TimeConvolution


class Discriminator(nn.Module):
    """Distributions over V phones → a logit: above 0 for what was generated, below for what is text."""

    def __init__(self, config: DiscriminatorConfig, n_phones: int) -> None:
        super().__init__()
        causal = (config.kernel - 1, 0)
        self.first = TimeConvolution(n_phones, config.dim, config.kernel, padding=causal)
        self.hidden = nn.ModuleList(
            TimeConvolution(config.dim, config.dim, config.kernel, padding=causal) for _ in range(config.hidden_layers)
        )
        self.last = TimeConvolution(config.dim, 1, config.kernel, padding=causal)

    def forward(self, phones: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """`(B, T, V)` → the mean `(B,)` of its logits over the first `lengths` `(B,)` places (None: over all)."""
        x = self.first(phones)
        for layer in self.hidden:
            x = F.gelu(layer(x))
        logits = self.last(x)[..., 0]  # (B, T)
        if lengths is None:
            return logits.mean(1)
        valid = mask(lengths, phones.shape[1])
        return (logits * valid).sum(1) / valid.sum(1).clamp(min=1)
