"""What the training loop and its objectives say to each other.

An objective is a module that owns the encoder being trained and everything else its loss needs (prediction heads,
quantizers, teachers). It turns a batch of waveforms into a summed loss; the loop divides by the count over all
processes, steps the optimizer and knows nothing else.
"""

from dataclasses import dataclass, field
from typing import Protocol

import torch

from textless.encoders.directory import WeightedEncoder


@dataclass(frozen=True)
class Batch:
    """Crops of utterances.

    `labels` are the targets of predictive objectives, one tensor a target set: `(B, T)` at the set's own rate, -1 where
    there is none. `generator` (on the CPU) gives every random number of an objective, so that a resumed run repeats it.
    """

    waveforms: torch.Tensor  # (B, S)
    lengths: torch.Tensor  # (B,)
    speakers: torch.Tensor  # (B,), an index; utterances without a speaker have one each
    labels: tuple[torch.Tensor, ...]
    generator: torch.Generator


@dataclass(frozen=True)
class Outcome:
    """Loss of a batch as a sum over `count` items; `metrics` are logged as ratios: name → sum and count."""

    loss: torch.Tensor
    count: torch.Tensor
    metrics: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)


class Objective(Protocol):
    """A `torch.nn.Module` with an encoder in it."""

    encoder: WeightedEncoder

    def __call__(self, batch: Batch, progress: float) -> Outcome:
        """Loss of a batch; `progress` is the share of training that is done, 0..1."""
        ...

    def after_update(self, progress: float) -> None:
        """What follows an optimizer step: moving averages, annealing."""
        ...
