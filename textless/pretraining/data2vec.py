"""data2vec: predict, at hidden frames, what a slow copy of the Transformer makes of the whole (Baevski et al. 2022).

The teacher is an exponential moving average of the student's Transformer; front end, projection and positions are the
student's own. It sees every frame. The target of a frame is the mean over the teacher's K highest blocks, each
normalised to zero mean and unit variance over the utterance's time, which keeps one block from drowning the others and
the model from the way out in which all targets are the same.

A block's output is taken before its last residual connection (`ffn`), which the paper found best for speech (its table
of target features), or as what the block gives (`block`), which is what our layers mean elsewhere. A context in the
log-mel front end shows the edges of a hidden span to its neighbours: `context = 0` fits this objective.
"""

import math
from collections.abc import Sequence
from contextlib import ExitStack
from copy import deepcopy
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textless.audio.batches import mask
from textless.config import Config
from textless.encoders.speech_transformer import SpeechTransformer
from textless.encoders.transformer import Block, Transformer
from textless.errors import UserError
from textless.pretraining.masking import span_mask
from textless.pretraining.objective import Batch, Outcome


class Data2VecConfig(Config):
    """Masks, teacher and loss; the defaults are those of the paper's base model.

    The teacher remembers about 1 / (1 − momentum) updates: a run much shorter than the paper's 400,000 wants less.
    """

    kind: Literal["data2vec"] = "data2vec"
    mask_probability: float = Field(default=0.65, ge=0, le=1)  # share hidden if spans did not overlap
    mask_span: int = Field(default=10, ge=1)  # frames
    top_blocks: int = Field(default=8, ge=1)  # K
    target: Literal["ffn", "block"] = "ffn"
    momentum: float = Field(default=0.999, ge=0, le=1)  # τ at the start
    final_momentum: float = Field(default=0.9999, ge=0, le=1)
    annealing: float = Field(default=0.075, gt=0, le=1)  # share of training in which τ moves from one to the other
    beta: float = Field(default=0.0, ge=0)  # errors below are squared, those above absolute; 0: all are squared

    def momentum_at(self, progress: float) -> float:
        """τ: linear, then constant."""
        return self.momentum + (self.final_momentum - self.momentum) * min(1.0, progress / self.annealing)


class Teacher(nn.Module):
    """A moving average of a Transformer; it is never trained and has neither dropout nor left-out blocks."""

    def __init__(self, student: Transformer, top_blocks: int, target: Literal["ffn", "block"]) -> None:
        super().__init__()
        self.transformer = deepcopy(student).requires_grad_(False)
        self.top_blocks, self.target = top_blocks, target

    @torch.no_grad()
    def forward(self, x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Projected frames `(B, T, D)`, of which `frames` `(B,)` are valid → targets `(B, T, D)`, float32."""
        self.transformer.eval()
        blocks = [block for block in self.transformer.blocks if isinstance(block, Block)][-self.top_blocks :]
        fed_forward: list[torch.Tensor] = []
        with ExitStack() as hooks:
            for block in blocks:
                hook = block.down.register_forward_hook(lambda _module, _inputs, output: fed_forward.append(output))
                hooks.callback(hook.remove)
            layers = list(self.transformer.layers(self.transformer.enter(x, frames), frames))
        return average_target(fed_forward if self.target == "ffn" else layers[-self.top_blocks :], frames)

    @torch.no_grad()
    def follow(self, student: Transformer, momentum: float) -> None:
        """Θ ← τ Θ + (1 − τ) θ (eq. 1); positions, which the paper shares, and buffers become the student's."""
        for (name, mean), current in zip(self.transformer.named_parameters(), student.parameters(), strict=True):
            mean.lerp_(current, 1.0 if name.startswith("position.") else 1 - momentum)
        for kept, buffer in zip(self.transformer.buffers(), student.buffers(), strict=True):
            kept.copy_(buffer)


class Data2VecObjective(nn.Module):
    """A student, which is the encoder, a mask embedding, a regression head and the teacher."""

    def __init__(self, encoder: SpeechTransformer, config: Data2VecConfig) -> None:
        super().__init__()
        if config.top_blocks > encoder.num_layers:
            raise UserError(
                f"objective.top_blocks averages {config.top_blocks} blocks, but the encoder has {encoder.num_layers}: "
                "lower it (the paper takes 8 of 12)"
            )
        self.encoder, self.config = encoder, config
        self.mask_embedding = nn.Parameter(torch.rand(encoder.dim))
        self.head = nn.Linear(encoder.dim, encoder.dim)
        self.teacher = Teacher(encoder.transformer, config.top_blocks, config.target)

    def forward(self, batch: Batch, progress: float) -> Outcome:
        """Regression error, summed over hidden frames: of each, the sum over its D dimensions / √D (as in fairseq)."""
        projected, frames = self.encoder.embed(batch.waveforms, batch.lengths)
        hidden = span_mask(frames, self.config.mask_probability, self.config.mask_span, batch.generator)
        targets = self.teacher(projected, frames)[hidden]

        x = torch.where(hidden[..., None], self.mask_embedding, projected)
        transformer = self.encoder.transformer
        *_, x = transformer.layers(transformer.enter(x, frames), frames)
        predicted = self.head(transformer.final_norm(x)[hidden]).float()  # (M, D)

        loss = _error(predicted, targets, self.config.beta) / math.sqrt(self.encoder.dim)
        one = torch.ones((), device=loss.device)
        metrics = {
            "target_deviation": (_deviation(targets), one),
            "prediction_deviation": (_deviation(predicted.detach()), one),
            "momentum": (one * self.config.momentum_at(progress), one),
        }
        return Outcome(loss, hidden.sum(), metrics)

    def after_update(self, progress: float) -> None:
        """The teacher follows the student."""
        self.teacher.follow(self.encoder.transformer, self.config.momentum_at(progress))


def average_target(layers: Sequence[torch.Tensor], frames: torch.Tensor) -> torch.Tensor:
    """Mean over layers `(B, T, D)`, each normalised over the valid `frames` `(B,)` of its utterance."""
    return torch.stack([_normalise_over_time(layer.float(), frames) for layer in layers]).mean(dim=0)


def _normalise_over_time(x: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance of every dimension over an utterance's valid frames; `(B, T, D)`, padding zero."""
    valid = mask(frames, x.shape[1])[..., None]
    count = frames[:, None, None]
    centred = (x - (x * valid).sum(dim=1, keepdim=True) / count) * valid
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred / (variance + 1e-5).sqrt()


def _error(predicted: torch.Tensor, targets: torch.Tensor, beta: float) -> torch.Tensor:
    """Sum of smooth L1 (eq. 2), or with `beta` 0 of squares (where PyTorch's smooth L1 would be plain L1)."""
    if beta == 0:
        return F.mse_loss(predicted, targets, reduction="sum")
    return F.smooth_l1_loss(predicted, targets, reduction="sum", beta=beta)


def _deviation(x: torch.Tensor) -> torch.Tensor:
    """Standard deviation of `(M, D)` over frames, mean over dimensions: 0 if all frames are the same."""
    return x.std(dim=0, correction=0).mean()
