"""wav2vec 2.0: tell the code of a hidden frame from those of other hidden frames (Baevski et al. 2020).

The front end's frames take two ways. Quantized, they are the targets; with spans of them hidden, they enter the
Transformer. At a hidden frame its output c_t must point to the frame's own code q_t and away from distractors, codes of
other hidden frames of the utterance (eq. 3):

    L_m = −log( exp(cos(c_t, q_t) / κ) / Σ exp(cos(c_t, q̃) / κ) ),   q̃ in {q_t} ∪ distractors

A second term keeps all entries of the codebooks in use: 1 − Σ perplexity / GV, the form in which the authors train what
eq. 4 says with entropies. A third keeps convolutional features small.

A context in the log-mel front end shows the edges of a hidden span to its neighbours: `context = 0` fits this
objective.
"""

from typing import Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import nn

from textless.audio.batches import mask, pad
from textless.config import Config
from textless.encoders.logmel_front_end import LogMelFrontEnd
from textless.encoders.speech_transformer import SpeechTransformer
from textless.pretraining.gumbel import GumbelQuantizer
from textless.pretraining.masking import span_mask
from textless.pretraining.objective import Batch, Outcome


class Wav2Vec2Config(Config):
    """Masks, quantizer and loss; the defaults are those of the paper's base model."""

    kind: Literal["wav2vec2"] = "wav2vec2"
    mask_probability: float = Field(default=0.65, ge=0, le=1)  # share hidden if spans did not overlap
    mask_span: int = Field(default=10, ge=1)  # frames
    groups: int = Field(default=2, ge=1)
    entries: int = Field(default=320, ge=2)  # of a group
    code_dim: int = Field(default=256, ge=1)  # of the entries of all groups together
    projection: int = Field(default=256, ge=1)  # size of the space where frames meet codes
    distractors: int = Field(default=100, ge=1)
    contrastive_temperature: float = Field(default=0.1, gt=0)  # κ
    temperature: float = Field(default=2.0, gt=0)  # of the Gumbel softmax, at the start
    final_temperature: float = Field(default=0.5, gt=0)
    annealing: float = Field(default=0.7, gt=0, le=1)  # share of training in which it falls
    diversity_weight: float = Field(default=0.1, ge=0)  # α
    feature_penalty: float = Field(default=10.0, ge=0)  # on mean square of the convolutional front end's output
    front_end_gradient: float = Field(default=0.1, ge=0)  # the gradient of the front end is multiplied by this

    @model_validator(mode="after")
    def _groups_divide_codes(self) -> Self:
        if self.code_dim % self.groups:
            raise ValueError(f"code_dim {self.code_dim} should be a multiple of groups {self.groups}")
        return self

    def gumbel_temperature(self, progress: float) -> float:
        """Falls geometrically, then stays.

        0.999995 an update takes the paper from 2 to ½ in 277,000 of 400,000 updates; said as a share of training, runs
        of any length reach the end.
        """
        share = min(1.0, progress / self.annealing)
        return self.temperature * (self.final_temperature / self.temperature) ** share


class Wav2Vec2Objective(nn.Module):
    """An encoder, a mask embedding, a quantizer and the two projections that meet."""

    def __init__(self, encoder: SpeechTransformer, config: Wav2Vec2Config) -> None:
        super().__init__()
        self.encoder, self.config = encoder, config
        self.mask_embedding = nn.Parameter(torch.rand(encoder.dim))
        front_dim = encoder.projection.in_features
        self.quantizer = GumbelQuantizer(front_dim, config.groups, config.entries, config.code_dim)
        self.code_projection = nn.Linear(config.code_dim, config.projection)
        self.frame_projection = nn.Linear(encoder.dim, config.projection)

    def forward(self, batch: Batch, progress: float) -> Outcome:
        """Contrastive loss in nats, diversity and penalty, summed over hidden frames.

        Diversity is that of the hidden frames of one process's batch, as in the paper. A frame that is the only hidden
        one of its utterance has no distractors and is left out.
        """
        config = self.config
        features, frames = self.encoder.front(batch.waveforms, batch.lengths)
        features = features.detach() + config.front_end_gradient * (features - features.detach())
        hidden = span_mask(frames, config.mask_probability, config.mask_span, batch.generator)
        temperature = config.gumbel_temperature(progress)
        quantized = self.quantizer(self._normalise(features)[hidden], temperature, batch.generator)

        counts = hidden.sum(dim=1)
        predicted = _by_utterance(self.frame_projection(self._contextualise(features, hidden, frames)[hidden]), counts)
        targets = _by_utterance(self.code_projection(quantized.vectors), counts)
        codes = _by_utterance(quantized.codes, counts)
        candidates = draw_candidates(counts, config.distractors, batch.generator)
        logits = contrastive_logits(predicted, targets, codes, candidates) / config.contrastive_temperature
        logits = logits[mask(counts, int(counts.max())) & (counts > 1)[:, None]]  # (B, M, 1 + N) -> (all M, 1 + N)

        count = torch.tensor(len(logits), device=logits.device)
        one = torch.ones((), device=logits.device)
        contrastive = F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="sum")
        prob_perplexity = quantized.prob_perplexity()
        diversity = 1 - prob_perplexity.mean() / config.entries
        loss = contrastive + config.diversity_weight * diversity * count
        metrics = {
            "contrastive": (contrastive.detach(), count),
            "contrastive_accuracy": (_right(logits.detach()).sum(), count),
            "diversity": (diversity.detach(), one),
            "prob_perplexity": (prob_perplexity.detach().mean(), one),
            "code_perplexity": (quantized.code_perplexity().mean(), one),
            "gumbel_temperature": (one * temperature, one),
        }
        if config.feature_penalty and not isinstance(self.encoder.front_end, LogMelFrontEnd):
            penalty = features[mask(frames, features.shape[1])].float().square().mean()
            loss = loss + config.feature_penalty * penalty * count
            metrics["feature_penalty"] = penalty.detach(), one
        return Outcome(loss, count, metrics)

    def _normalise(self, features: torch.Tensor) -> torch.Tensor:
        norm = self.encoder.projection_norm
        return features.float() if norm is None else norm(features.float())

    def _contextualise(self, features: torch.Tensor, hidden: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Features `(B, T, C)`, those of `hidden` `(B, T)` unseen → frames `(B, T, D)`."""
        x = torch.where(hidden[..., None], self.mask_embedding, self.encoder.project(features))
        transformer = self.encoder.transformer
        *_, x = transformer.layers(transformer.enter(x, frames), frames)
        return transformer.final_norm(x)

    def after_update(self, progress: float) -> None:
        """Nothing follows an update: the temperature is a function of progress."""


def draw_candidates(counts: torch.Tensor, distractors: int, generator: torch.Generator) -> torch.Tensor:
    """Candidates `(B, M, 1 + N)` for utterances of so many hidden frames `(B,)`; M is the largest.

    The first is the frame itself; the others are drawn uniformly, and with replacement, from the other hidden frames.
    """
    here = counts.cpu()
    longest = int(here.max())
    own = torch.arange(longest)[None, :, None].expand(len(here), -1, -1)
    drawn = (torch.rand(len(here), longest, distractors, generator=generator) * (here - 1)[:, None, None]).long()
    others = (drawn + (drawn >= own)).clamp_max(longest - 1)  # the clamp is for utterances of one hidden frame
    return torch.cat([own, others], dim=2).to(counts.device)


def contrastive_logits(
    predicted: torch.Tensor, targets: torch.Tensor, codes: torch.Tensor, candidates: torch.Tensor
) -> torch.Tensor:
    """Cosine of every frame with its candidates `(B, M, 1 + N)`, −∞ where a distractor has the frame's own code.

    All pairs of an utterance are computed, in float32, and the drawn ones picked: that is less work, and far less
    memory, than to gather the distractors' vectors.

    Args:
        predicted: frames `(B, M, P)`.
        targets: projected codes `(B, M, P)`.
        codes: entries `(B, M, G)`.
        candidates: indices into the frames of an utterance `(B, M, 1 + N)`, the frame itself first.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        cosines = F.normalize(predicted.float(), dim=-1) @ F.normalize(targets.float(), dim=-1).mT  # (B, M, M)
    same_code = (codes[:, :, None] == codes[:, None]).all(dim=-1)  # (B, M, M)
    same_code = same_code.gather(2, candidates)
    same_code[..., 0] = False
    return cosines.gather(2, candidates).masked_fill(same_code, float("-inf"))


def _by_utterance(x: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Rows `(ΣM, ...)` of all utterances one after the other → `(B, M, ...)`."""
    return pad(x.split(counts.tolist()))[0]


def _right(logits: torch.Tensor) -> torch.Tensor:
    """Whether the frame's own code wins.

    It does not where no distractor has another code: else a collapsed quantizer would always be right.
    """
    return (logits.argmax(dim=-1) == 0) & logits[:, 1:].isfinite().any(dim=-1)
