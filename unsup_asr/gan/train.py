"""Adversarial training: the generator and the discriminator take turns; the best checkpoint is kept, by no label."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textless.distributed import select_device
from textless.errors import UserError
from textless.progress import say
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.seeds import mixed_seed
from unsup_asr.gan import losses
from unsup_asr.gan.config import GanConfig, OptimizerConfig
from unsup_asr.gan.data import Crops, one_hot
from unsup_asr.gan.discriminator import Discriminator
from unsup_asr.gan.generator import Generator
from unsup_asr.gan.model import PhoneRecognizer
from unsup_asr.gan.segmenter import join_runs
from unsup_asr.phone_text import PhoneText
from unsup_asr.selection import Judge, Quality
from unsup_asr.speech_segments import SpeechSegments, pool_neighbours


@dataclass(frozen=True)
class Unpaired:
    """What training reads: features `(N, D)` of utterances and phones of text, neither knowing of the other."""

    speech: Sequence[np.ndarray]
    valid: Sequence[np.ndarray]
    text: PhoneText
    prepared: dict[str, Any]  # header of the speech


def train(config: GanConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> None:
    """Train in `out`, continuing a run that was stopped there.

    Raises:
        UserError: the data are not prepared, or of nothing; the loss is not finite any more; `out` is something else.
    """
    data = load_unpaired(config)
    with Run(out, config, force=force) as run:
        train_on(data, config, run, select_device(device_name))


def train_on(  # noqa: C901 - the loop is meant to be read from top to bottom
    data: Unpaired, config: GanConfig, run: Run, device: torch.device
) -> None:
    """Train on what was read; the loop."""
    dim, n_phones = data.speech[0].shape[1], len(data.text.phones)
    torch.manual_seed(config.seed)
    generator = Generator(config.generator, dim, n_phones).to(device)
    discriminator = Discriminator(config.discriminator, n_phones).to(device)
    optimizers = [
        _adam(generator, config.generator_optimizer),
        _adam(discriminator, config.discriminator_optimizer),
    ]
    chance = torch.Generator(device)
    best = Best()
    parts: dict[str, Stateful] = {
        "generator": generator,
        "discriminator": discriminator,
        "generator_optimizer": optimizers[0],
        "discriminator_optimizer": optimizers[1],
        "best": best,
    }
    update = run.resume(parts)
    if update >= config.updates:
        say(f"{run.directory} is finished ({update} updates); --force trains it again")
        return
    recognizer = PhoneRecognizer(generator, dim, data.text.phones, config.data.pool)
    judge = Judge(data.text)
    speech = Crops(data.speech, config.batch_size, config.data.crop, config.seed)
    text = Crops(data.text.sentences, config.batch_size, config.data.crop, config.seed + 1)
    seen: dict[str, list[torch.Tensor]] = {}

    while update < config.updates and not run.stopping():
        torch.manual_seed(mixed_seed(config.seed, update))  # dropout
        chance.manual_seed(mixed_seed(config.seed, update, 1))
        features, lengths = (tensor.to(device) for tensor in speech.batch(update))
        generators_turn = update % 2 == 0
        with torch.set_grad_enabled(generators_turn), autocast(device, config.precision):
            generated = generator(features, lengths)
            logits, counts = join_runs(generated.logits, generated.lengths, chance)
            made = logits.softmax(-1) * (torch.arange(logits.shape[1], device=device) < counts[:, None])[..., None]
        if generators_turn:
            terms = {
                "fooled": losses.judged(discriminator(made, counts), losses.TEXT),
                "smoothness": config.loss.smoothness * losses.smoothness(logits, counts, config.loss),
                "diversity": config.loss.diversity * losses.diversity(logits, counts, config.loss),
            }
        else:
            phones, sizes = (tensor.to(device) for tensor in text.batch(update))
            real = one_hot(phones, sizes, n_phones)
            terms = {
                "real": losses.judged(discriminator(real, sizes), losses.TEXT),
                "generated": losses.judged(discriminator(made, counts), losses.GENERATED),
            }
            if (update // 2) % config.penalty_every == 0:
                weight = config.loss.gradient_penalty * config.penalty_every
                terms["penalty"] = weight * losses.gradient_penalty(discriminator, real, made, config.loss, chance)

        network, optimizer = (generator, optimizers[0]) if generators_turn else (discriminator, optimizers[1])
        optimizer.zero_grad()  # the other network's gradients, which its loss left behind, go when its turn comes
        torch.stack(list(terms.values())).sum().backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        if not math.isfinite(float(norm)):
            raise UserError(f"the gradient is {float(norm)} at update {update}; {run.directory} keeps the best so far")
        optimizer.step()
        update += 1

        for name, value in terms.items():
            seen.setdefault(name, []).append(value.detach())
        if run.due(update, config.log_every):
            run.log(update, **{name: float(torch.stack(values).mean()) for name, values in seen.items()})
            seen = {}
        if run.due(update, config.valid_every) or update == config.updates:
            quality = judge(recognizer.transcribe(list(data.valid)))
            run.log(update, **described(quality))
            if best.improve(update, quality):
                recognizer.save(run.directory, config, data.prepared, update=update, **described(quality))
        if run.due(update, config.save_every) and update < config.updates:
            run.save(update, parts)

    run.save(update, parts)
    state = "finished" if update == config.updates else "stopped"
    say(f"{state}: {run.directory} at update {update}; best at {best.update}: weighted perplexity {best.value:.2f}")


def described(quality: Quality) -> dict[str, float]:
    """What is logged of a validation."""
    return {
        "weighted_perplexity": quality.weighted_perplexity,
        "perplexity": quality.perplexity,
        "usage": quality.usage,
        "log_prob": quality.log_prob,
        "divergence_4": quality.divergence[-1],
        "tokens_per_sentence": quality.tokens_per_sentence,
    }


def load_unpaired(config: GanConfig) -> Unpaired:
    """Read the prepared folders of a configuration."""
    speech = SpeechSegments(config.data.speech)
    valid = SpeechSegments(config.data.valid_speech) if config.data.valid_speech else speech
    text = PhoneText.load(config.data.text)
    read, checked = (
        [pool_neighbours(folder[i].means, config.data.pool) for i in folder if len(folder[i].means)]
        for folder in (speech, valid)
    )
    sentences = [sentence for sentence in text.sentences if len(sentence)]
    if not read or not checked or not sentences:
        raise UserError(f"nothing to train on: {len(read)} utterances, {len(sentences)} sentences")
    return Unpaired(read, checked, PhoneText(text.phones, sentences), speech.header)


class Best:
    """The lowest weighted perplexity so far, and when; part of the state of a run."""

    def __init__(self) -> None:
        self.update, self.value = 0, math.inf

    def improve(self, update: int, quality: Quality) -> bool:
        """Note a validation; whether it is the best."""
        if quality.weighted_perplexity >= self.value:
            return False
        self.update, self.value = update, quality.weighted_perplexity
        return True

    def state_dict(self) -> dict[str, Any]:
        """Update and value."""
        return vars(self).copy()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put them back."""
        self.update, self.value = state_dict["update"], state_dict["value"]


def _adam(network: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    return torch.optim.Adam(
        network.parameters(), lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay
    )
