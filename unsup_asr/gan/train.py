"""Adversarial training: the generator and the discriminator take turns; the best checkpoint is kept, by no label."""

import math
from pathlib import Path

import torch

from textless.distributed import select_device
from textless.errors import UserError
from textless.progress import say
from textless.training.best import Best
from textless.training.checkpoint import Stateful
from textless.training.run import Run
from textless.training.seeds import mixed_seed
from unsup_asr.gan.adversaries import Adversaries, SpeechBatch
from unsup_asr.gan.config import GanConfig
from unsup_asr.gan.data import Crops
from unsup_asr.gan.initial import start_from_matching
from unsup_asr.gan.model import PhoneRecognizer
from unsup_asr.gan.unpaired import Unpaired, load_unpaired
from unsup_asr.selection import Judge


def train(config: GanConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> None:
    """Train in `out`, continuing a run that was stopped there.

    Raises:
        UserError: the data are not prepared, or of nothing; the loss is not finite any more; `out` is something else.
    """
    data = load_unpaired(config.data)
    with Run(out, config, force=force) as run:
        train_on(data, config, run, select_device(device_name))


def train_on(  # noqa: C901 - the loop is meant to be read from top to bottom
    data: Unpaired, config: GanConfig, run: Run, device: torch.device
) -> None:
    """Train on what was read; the loop."""
    torch.manual_seed(config.seed)
    players = Adversaries(config, data.front_end.dim, len(data.text.phones), device)
    best = Best()
    parts: dict[str, Stateful] = {**players.parts(), "best": best}
    update = run.resume(parts)
    if update >= config.updates:
        say(f"{run.directory} is finished ({update} updates); --force trains it again")
        return
    if update == 0 and config.initial == "matching":
        start_from_matching(players.generator, data, config)
    recognizer = PhoneRecognizer(players.generator, data.front_end, data.text.phones)
    judge = Judge(data.text)
    batches = Batches(data, config, device)
    chance = torch.Generator(device)
    seen: dict[str, list[torch.Tensor]] = {}

    while update < config.updates and not run.stopping():
        torch.manual_seed(mixed_seed(config.seed, update))  # dropout
        chance.manual_seed(mixed_seed(config.seed, update, 1))
        speech, noise = batches.speech(update), config.noise_at(update)
        if update % 2 == 0:
            terms, norm = players.update_generator(speech, chance, noise)
        else:
            due = (update // 2) % config.penalty_every == 0
            weight = config.loss.gradient_penalty * config.penalty_every * due
            terms, norm = players.update_discriminator(speech, *batches.text(update), chance, weight, noise)
        if not math.isfinite(norm):
            raise UserError(f"the gradient is {norm} at update {update}; {run.directory} keeps the best so far")
        update += 1

        for name, value in terms.items():
            seen.setdefault(name, []).append(value.detach())
        if run.due(update, config.log_every):
            run.log(update, **{name: float(torch.stack(values).mean()) for name, values in seen.items()})
            seen = {}
        if run.due(update, config.valid_every) or update == config.updates:
            quality = judge(recognizer.transcribe(data.valid))
            run.log(update, **quality.record())
            if best.improve(update, quality.weighted_perplexity):
                recognizer.save(run.directory, update=update, **quality.record())
        if run.due(update, config.save_every) and update < config.updates:
            run.save(update, parts)

    run.save(update, parts)
    state = "finished" if update == config.updates else "stopped"
    say(f"{state}: {run.directory} at update {update}; best at {best.step}: weighted perplexity {best.value:.2f}")


class Batches:
    """What an update reads, by its number.

    Speech is cut to more rows than become `crop` phones: what is generated is cut again, to as many phones as text. If
    both were cut to the same number of places, what is generated would be shorter, and told from text by that alone.
    """

    ROWS = 2  # for a phone, at most, that speech is cut to

    def __init__(self, data: Unpaired, config: GanConfig, device: torch.device) -> None:
        size, crop, seed = config.batch_size, config.data.crop, config.seed
        self._device = device
        rows = None if crop is None else crop * self.ROWS * config.generator.stride
        self._features = Crops(data.speech, size, rows, seed)
        self._clusters = None if data.clusters is None else Crops(data.clusters, size, rows, seed)
        self._text = Crops(data.text.sentences, size, crop, seed + 1)

    def speech(self, update: int) -> SpeechBatch:
        """Features, lengths, and clusters of the same frames."""
        features, lengths = (tensor.to(self._device) for tensor in self._features.batch(update))
        clusters = None if self._clusters is None else self._clusters.batch(update)[0].to(self._device)
        return SpeechBatch(features, lengths, clusters)

    def text(self, update: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Phones `(B, T)` and lengths `(B,)`."""
        phones, lengths = self._text.batch(update)
        return phones.to(self._device), lengths.to(self._device)
