"""HuBERT: predict the units of hidden frames (Hsu et al. 2021).

The loss is the cross-entropy over hidden frames, and over a share of the others (the paper's α), for every set of
targets; see `textless.encoders.unit_head` for the logits. Targets of a higher rate than the encoder's, such as units of
MFCC at 100 Hz, are all predicted.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textless.audio.batches import mask
from textless.config import Config
from textless.encoders.logmel_front_end import LogMelFrontEnd
from textless.encoders.speech_transformer import SpeechTransformer
from textless.encoders.unit_head import UnitHead, UnitHeadConfig
from textless.errors import UserError
from textless.pretraining.augmentation import Augmentation, AugmentationConfig
from textless.pretraining.data import NO_LABEL, Targets
from textless.pretraining.masking import span_mask
from textless.pretraining.objective import Batch, Outcome


class HubertConfig(Config):
    """Masks and loss; the defaults are the paper's."""

    kind: Literal["hubert"] = "hubert"
    mask_probability: float = Field(default=0.8, ge=0, le=1)  # share hidden if spans did not overlap
    mask_span: int = Field(default=10, ge=1)  # frames
    unmasked_share: float = Field(default=0.0, ge=0, le=1)  # of the other frames that are predicted too
    projection: int = Field(default=256, ge=1)  # size of the space where frames meet units
    temperature: float = Field(default=0.1, gt=0)
    feature_penalty: float = Field(default=10.0, ge=0)  # on mean square of the convolutional front end's output
    augmentation: AugmentationConfig = AugmentationConfig()  # log-mel input only


def heads_for(config: HubertConfig, targets: Sequence[Targets], frame_rate: float) -> tuple[UnitHeadConfig, ...]:
    """The heads that an encoder of so many frames a second needs, one for every set of targets.

    Raises:
        UserError: there is no target, or labels do not fall evenly into frames.
    """
    if not targets:
        raise UserError("HuBERT predicts units: give data.targets, units files of the training manifest")
    return tuple(
        UnitHeadConfig(
            k=target.k,
            per_frame=_labels_per_frame(target, frame_rate),
            projection=config.projection,
            temperature=config.temperature,
        )
        for target in targets
    )


class HubertObjective(nn.Module):
    """An encoder with a head for every set of targets, and a mask embedding."""

    def __init__(self, encoder: SpeechTransformer, config: HubertConfig) -> None:
        super().__init__()
        self.encoder, self.config = encoder, config
        self.mask_embedding = nn.Parameter(torch.rand(encoder.dim))
        front_end = encoder.front_end
        self.augmentation = (
            Augmentation(config.augmentation, front_end) if isinstance(front_end, LogMelFrontEnd) else None
        )
        if self.augmentation is None and config.augmentation != AugmentationConfig():
            raise UserError(
                'objective.augmentation changes log-mel energies: it needs encoder.front_end.kind = "logmel"'
            )

    def forward(self, batch: Batch, progress: float) -> Outcome:  # noqa: ARG002 - the same throughout
        """Cross-entropy in nats, summed over predicted labels."""
        features, frames = self._front(batch)
        hidden = span_mask(frames, self.config.mask_probability, self.config.mask_span, batch.generator)
        x = torch.where(hidden[..., None], self.mask_embedding, self.encoder.project(features))
        transformer = self.encoder.transformer
        *_, x = transformer.layers(transformer.enter(x, frames), frames)
        x = transformer.final_norm(x)

        valid = mask(frames, x.shape[1])
        shown = torch.rand(hidden.shape, generator=batch.generator).to(x.device) < self.config.unmasked_share
        predicted = valid & (hidden | shown)
        at_hidden, chosen = hidden[predicted], x[predicted]  # (N,), (N, D)
        loss, count, metrics = x.new_zeros(()), x.new_zeros(()), {}
        one = x.new_ones(())
        metrics["prediction_deviation"] = chosen.detach().float().std(dim=0).mean(), one
        for index, (head, labels) in enumerate(zip(self.encoder.heads, batch.labels, strict=True)):
            assert isinstance(head, UnitHead)
            wanted = _by_frame(labels, head.config.per_frame, x.shape[1])[predicted]  # (N, per_frame)
            logits = head(chosen)
            nats = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=NO_LABEL, reduction="sum")
            known = wanted != NO_LABEL
            loss, count = loss + nats, count + known.sum()
            right = (logits.detach().argmax(-1) == wanted) & known
            name = "" if index == 0 else f"_{index + 1}"
            usage = logits.detach().softmax(dim=-1).mean(dim=(0, 1))
            metrics[f"code_perplexity{name}"] = torch.special.entr(usage).sum().exp(), one
            metrics[f"nats{name}"] = nats.detach(), known.sum()
            metrics[f"masked_accuracy{name}"] = right[at_hidden].sum(), known[at_hidden].sum()
            if self.config.unmasked_share:
                metrics[f"unmasked_accuracy{name}"] = right[~at_hidden].sum(), known[~at_hidden].sum()
        if self.augmentation is None and self.config.feature_penalty:
            penalty = features[valid].float().square().mean()
            loss = loss + self.config.feature_penalty * penalty * count
            metrics["feature_penalty"] = penalty.detach(), one
        return Outcome(loss, count, metrics)

    def _front(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        if self.augmentation is None:
            return self.encoder.front(batch.waveforms, batch.lengths)
        assert isinstance(self.encoder.front_end, LogMelFrontEnd)
        return self.augmentation(self.encoder.front_end, batch)

    def after_update(self, progress: float) -> None:
        """Nothing follows an update."""


def _labels_per_frame(target: Targets, frame_rate: float) -> int:
    ratio = target.frame_rate / frame_rate
    if ratio < 1 or ratio != int(ratio):
        raise UserError(
            f"{target.source} has labels at {target.frame_rate:g} Hz, which is no multiple of the encoder's "
            f"{frame_rate:g} Hz: encode the units at {frame_rate:g} Hz"
        )
    return int(ratio)


def _by_frame(labels: torch.Tensor, per_frame: int, n_frames: int) -> torch.Tensor:
    """Labels `(B, T')` → those of every frame `(B, T, labels per frame)`; none where the labels end early."""
    missing = n_frames * per_frame - labels.shape[1]
    return F.pad(labels, (0, max(0, missing)), value=NO_LABEL)[:, : n_frames * per_frame].unflatten(1, (n_frames, -1))
