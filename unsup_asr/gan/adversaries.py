"""The two networks, their optimizers, and one update of either: what all of the training loop is about."""

from dataclasses import dataclass

import torch

from textless.audio.batches import mask
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from unsup_asr.gan import losses
from unsup_asr.gan.config import GanConfig, OptimizerConfig
from unsup_asr.gan.data import blurred, one_hot
from unsup_asr.gan.discriminator import Discriminator
from unsup_asr.gan.generator import Generated, Generator
from unsup_asr.gan.segmenter import join_runs

Terms = dict[str, torch.Tensor]


@dataclass(frozen=True)
class SpeechBatch:
    """Features `(B, T, D)`, lengths `(B,)`, and clusters `(B, T)` of the frames where there is an auxiliary loss."""

    features: torch.Tensor
    lengths: torch.Tensor
    clusters: torch.Tensor | None = None


@dataclass(frozen=True)
class Made:
    """What the generator makes of speech in training.

    Attributes:
        generated: one row a place, before equal neighbours are joined.
        logits: of the joined runs, `(B, T, V)`.
        lengths: of the joined runs, `(B,)`.
        phones: their probabilities `(B, T, V)`, zero beyond the lengths; no more than `data.crop` of them, as of text.
    """

    generated: Generated
    logits: torch.Tensor
    lengths: torch.Tensor
    phones: torch.Tensor


class Adversaries:
    """Generator and discriminator.

    Every update draws from `chance` alone (and dropout from the default generator): first the frames of runs, then
    instance noise, then the points of the gradient penalty.
    """

    def __init__(self, config: GanConfig, dim: int, n_phones: int, device: torch.device) -> None:
        self.config, self.n_phones, self.device = config, n_phones, device
        self.generator = Generator(config.generator, dim, n_phones).to(device)
        self.discriminator = Discriminator(config.discriminator, n_phones).to(device)
        self.generator_optimizer = _adam(self.generator, config.generator_optimizer)
        self.discriminator_optimizer = _adam(self.discriminator, config.discriminator_optimizer)

    def parts(self) -> dict[str, Stateful]:
        """What a checkpoint holds of them."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "generator_optimizer": self.generator_optimizer,
            "discriminator_optimizer": self.discriminator_optimizer,
        }

    def update_generator(self, speech: SpeechBatch, chance: torch.Generator, noise: float = 0.0) -> tuple[Terms, float]:
        """Make what is generated more like text; returns the terms of the loss, and the norm of the gradient.

        `noise` is the deviation of instance noise.
        """
        config = self.config.loss
        self.discriminator.requires_grad_(False)
        with autocast(self.device, self.config.precision):
            made = self._generate(speech, chance)
            score = self.discriminator(blurred(made.phones, made.lengths, noise, chance), made.lengths)
        terms = {
            "fooled": losses.judged(score.float(), losses.TEXT),
            "smoothness": config.smoothness * losses.smoothness(made.logits, made.lengths, config),
            "diversity": config.diversity * losses.diversity(made.logits, made.lengths, config),
        }
        if speech.clusters is not None and made.generated.clusters is not None:
            told = losses.auxiliary(made.generated.clusters.float(), speech.lengths, speech.clusters, config)
            terms["auxiliary"] = config.auxiliary * told
        norm = self._descend(terms, self.generator, self.generator_optimizer)
        self.discriminator.requires_grad_(True)
        return terms, norm

    def update_discriminator(
        self,
        speech: SpeechBatch,
        phones: torch.Tensor,
        lengths: torch.Tensor,
        chance: torch.Generator,
        penalty_weight: float,
        noise: float = 0.0,
    ) -> tuple[Terms, float]:
        """Tell text, phones `(B, T')` and lengths `(B,)`, from what is generated; returns as `update_generator`."""
        judge = self.discriminator
        with torch.no_grad(), autocast(self.device, self.config.precision):
            made = self._generate(speech, chance)
        with autocast(self.device, self.config.precision):
            text = judge.drive(blurred(one_hot(phones, lengths, self.n_phones), lengths, noise, chance))
            fake = judge.drive(blurred(made.phones, made.lengths, noise, chance))
            terms = {
                "text": losses.judged(judge.score(text, lengths).float(), losses.TEXT),
                "generated": losses.judged(judge.score(fake, made.lengths).float(), losses.GENERATED),
            }
            if penalty_weight:
                penalty = losses.gradient_penalty(judge, text, fake, self.config.loss, chance)
                terms["penalty"] = penalty_weight * penalty
        return terms, self._descend(terms, judge, self.discriminator_optimizer)

    def _generate(self, speech: SpeechBatch, chance: torch.Generator) -> Made:
        generated = self.generator(speech.features, speech.lengths)
        logits, lengths = join_runs(generated.logits.float(), generated.lengths, chance)
        if (crop := self.config.data.crop) is not None:
            logits, lengths = logits[:, :crop], lengths.clamp(max=crop)
        return Made(generated, logits, lengths, logits.softmax(-1) * mask(lengths, logits.shape[1])[..., None])

    def _descend(self, terms: Terms, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
        """One step of an optimizer, unless the gradient is not finite."""
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), self.config.clip))
        if norm < float("inf"):
            optimizer.step()
        return norm


def _adam(network: torch.nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """The decay is decoupled from the gradient, as in fairseq's Adam."""
    return torch.optim.AdamW(
        network.parameters(), lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
    )
