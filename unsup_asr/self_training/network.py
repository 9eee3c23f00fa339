"""The network of self-training: a window of frames → the phone in its middle."""

from itertools import pairwise

import torch
from torch import nn

from unsup_asr.self_training.config import SelfTrainingConfig


class FrameNetwork(nn.Module):
    """`(B, W, D)` windows of W = 2 context + 1 frames → logits of V phones."""

    def __init__(self, dim: int, n_phones: int, config: SelfTrainingConfig) -> None:
        super().__init__()
        self.config = config
        sizes = [dim * (2 * config.context + 1), *[config.hidden] * config.layers]
        parts: list[nn.Module] = [nn.Flatten(1)]
        for before, after in pairwise(sizes):
            parts += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(config.dropout)]
        self.body = nn.Sequential(*parts)
        self.head = nn.Linear(config.hidden, n_phones)

    def hidden(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows `(B, W, D)` → the last hidden layer `(B, H)`."""
        return self.body(windows)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Windows `(B, W, D)` → logits `(B, V)`."""
        return self.head(self.hidden(windows))
