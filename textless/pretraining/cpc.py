"""Contrastive predictive coding: tell the frames that follow from others (van den Oord et al. 2018).

From what the LSTM knows at frame t, the convolutional frames at t + 1 .. t + K are predicted. Each prediction p must
have a larger product with the frame that comes than with negatives, drawn from all frames of the same speaker in the
batch, so that knowing the voice does not help (InfoNCE, eq. 4):

    L = −log( exp(p·z_{t+k} / D) / Σ exp(p·z̃ / D) ),   z̃ in {z_{t+k}} ∪ negatives

The division by the size D of a frame is that of Riviere et al.'s code, as are one set of negatives for all steps of a
frame and 128 of them. `predictor` is either the original's linear map for every step or the "modified" CPC's layer of
causal self-attention (Riviere et al. 2020), here one for all steps with a linear head for each (Riviere & Dupoux 2021).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textless.audio.batches import mask
from textless.config import Config
from textless.encoders.cpc import Cpc
from textless.encoders.positions import linear_biases
from textless.encoders.transformer import Block, TransformerConfig
from textless.errors import UserError
from textless.pretraining.objective import Batch, Outcome


class CpcObjectiveConfig(Config):
    """Prediction and negatives; the defaults are those of Riviere et al."""

    kind: Literal["cpc"] = "cpc"
    steps: int = Field(default=12, ge=1)  # K frames ahead
    negatives: int = Field(default=128, ge=1)
    predictor: Literal["linear", "transformer"] = "transformer"
    heads: int = Field(default=8, ge=1)  # of the Transformer, as the next two
    ffn_dim: int = Field(default=2048, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class CausalBlock(nn.Module):
    """A Transformer block whose frames look back only, and the less the further (ALiBi; Press et al. 2022)."""

    def __init__(self, dim: int, config: CpcObjectiveConfig) -> None:
        super().__init__()
        self.block = Block(
            TransformerConfig(
                dim=dim, heads=config.heads, ffn_dim=config.ffn_dim, dropout=config.dropout, activation="relu"
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Frames `(B, T, D)` → frames."""
        backwards = linear_biases(2 * self.block.heads, x.shape[1], x.device)[::2]  # even heads look back
        return self.block(x, backwards, None)


class CpcObjective(nn.Module):
    """An encoder and a predictor."""

    def __init__(self, encoder: Cpc, config: CpcObjectiveConfig) -> None:
        super().__init__()
        if config.predictor == "transformer" and encoder.dim % config.heads:
            raise UserError(
                f"objective.heads {config.heads} cannot share the encoder's {encoder.dim} dimensions evenly"
            )
        self.encoder, self.config = encoder, config
        self.attention = CausalBlock(encoder.dim, config) if config.predictor == "transformer" else None
        self.heads = nn.Linear(encoder.dim, config.steps * encoder.config.conv_dim, bias=False)

    def forward(self, batch: Batch, progress: float) -> Outcome:  # noqa: ARG002 - the same throughout
        """InfoNCE in nats, summed over all pairs of a frame and a step that stays within its utterance."""
        z, frames = self.encoder.convolve(batch.waveforms, batch.lengths)
        context = self.encoder.contextualise(z, frames)
        if self.attention is not None:
            context = self.attention(context)
        valid = mask(frames, z.shape[1])
        predictions = self.heads(context[valid]).unflatten(-1, (self.config.steps, -1))  # (P, K, D)
        negatives = draw_negatives(frames, batch.speakers, self.config.negatives, batch.generator)
        scores, exists = score(predictions, z[valid], frames, negatives)

        nats = F.cross_entropy(
            scores.flatten(0, 1), exists.new_zeros(exists.numel(), dtype=torch.long), reduction="none"
        ).unflatten(0, exists.shape)
        loss = nats[exists].sum()
        right = (scores[..., 0] > scores[..., 1:].amax(dim=-1)) & exists  # a tie is no knowledge
        count = exists.sum()
        deviation = z.detach()[valid].float().std(dim=0, correction=0).mean()
        metrics = {
            "accuracy": (right.sum(), count),
            "accuracy_1": (right[:, 0].sum(), exists[:, 0].sum()),
            f"accuracy_{self.config.steps}": (right[:, -1].sum(), exists[:, -1].sum()),
            "feature_deviation": (deviation, torch.ones_like(deviation)),
        }
        return Outcome(loss, count, metrics)

    def after_update(self, progress: float) -> None:
        """Nothing follows an update."""


def draw_negatives(
    frames: torch.Tensor, speakers: torch.Tensor, negatives: int, generator: torch.Generator
) -> torch.Tensor:
    """For every valid frame of utterances of so many frames `(B,)`, indices `(P, N)` of frames of its speaker.

    P counts the valid frames of all utterances, one after the other. Drawn uniformly, with replacement, from all of the
    speaker's frames in the batch: its own utterance and, where there are several, the others.
    """
    voices = speakers.cpu().repeat_interleave(frames.cpu())  # (P,)
    _, voice, count = voices.unique(return_inverse=True, return_counts=True)
    by_voice = voice.argsort(stable=True)
    first = count.cumsum(0) - count
    drawn = torch.rand(len(voices), negatives, generator=generator) * count[voice, None]
    return by_voice[first[voice, None] + drawn.long()].to(frames.device)


def score(
    predictions: torch.Tensor, z: torch.Tensor, frames: torch.Tensor, negatives: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the frame that comes and of the negatives `(P, K, 1 + N)`, and whether that frame exists `(P, K)`.

    A negative that is by chance the frame that comes has −∞. Everything is in float32.

    Args:
        predictions: of every valid frame for every step, `(P, K, D)`.
        z: valid frames of all utterances, one after the other, `(P, D)`.
        frames: how many each utterance has, `(B,)`.
        negatives: indices into z, `(P, N)`.
    """
    n_frames, steps, dim = predictions.shape
    here = torch.arange(n_frames, device=z.device)
    end = frames.cumsum(0).repeat_interleave(frames)  # (P,), where the frame's utterance ends
    coming = here[:, None] + torch.arange(1, steps + 1, device=z.device)  # (P, K)
    exists = coming < end[:, None]
    coming = coming.clamp_max(n_frames - 1)
    with torch.autocast(z.device.type, enabled=False):
        predictions, z = predictions.float() / dim, z.float()
        positive = (predictions * z[coming]).sum(dim=-1, keepdim=True)
        others = predictions @ z[negatives].mT  # (P, K, D) @ (P, D, N)
    others = others.masked_fill(negatives[:, None] == coming[..., None], float("-inf"))
    return torch.cat([positive, others], dim=-1), exists
