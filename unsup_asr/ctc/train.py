"""Training a CTC recogniser on transcripts: one visible loop, on one process or many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from textless.distributed import average_gradients, process_group, select_device, total, world
from textless.encoders.directory import save_encoder
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import atomic_directory
from textless.training.best import Best
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from textless.training.seeds import mixed_seed
from unsup_asr.ctc.config import CtcConfig
from unsup_asr.ctc.data import PairedSpeech, RecordedSpeech, Speech, StoredSpeech, number_transcripts, phones_of
from unsup_asr.ctc.learner import Learner
from unsup_asr.ctc.model import ENCODER, CtcRecognizer
from unsup_asr.ctc.network import RecognitionNetwork
from unsup_asr.ctc.tuned_encoder import TunedEncoder, open_tuned
from unsup_asr.ctc.validation import validate
from unsup_asr.phone_text import PhoneText
from unsup_asr.recognizers import EncoderSource
from unsup_asr.selection import Judge
from unsup_asr.transcripts import read_transcripts


@dataclass(frozen=True)
class Task:
    """What is learnt from what.

    Attributes:
        training: utterances with symbols.
        held_out: others, for validation.
        phones: names of the symbols.
        dim: numbers a frame of the features.
        source: the encoder.
        tuned: the encoder itself, if it is trained along.
        text: unpaired, with the same phones; None without.
    """

    training: PairedSpeech
    held_out: PairedSpeech
    phones: tuple[str, ...]
    dim: int
    source: EncoderSource
    tuned: TunedEncoder | None
    text: PhoneText | None


def train(config: CtcConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> None:
    """Train in `out`, continuing a run that was stopped there; a finished one is left alone.

    Raises:
        UserError: speech and transcripts have nothing in common, phones are unknown, features are of another encoder,
            the loss is not finite, or `out` is something else.
    """
    device = select_device(device_name)
    with process_group(device), Run(out, config, force=force) as run:
        train_on(read_task(config), config, run, device)


def train_on(task: Task, config: CtcConfig, run: Run, device: torch.device) -> None:
    """Train on what was read; the loop."""
    here = world()
    torch.manual_seed(config.seed)
    network = RecognitionNetwork(config.network, task.dim, len(task.phones))
    learner = Learner(network, task.tuned, config).to(device)
    trained = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = make_optimizer(trained, config)
    best, judge = Best(), Judge(task.text) if task.text is not None else None
    parts: dict[str, Stateful] = {"learner": learner, "optimizer": optimizer, "best": best}
    step = run.resume(parts)
    if step >= config.steps:
        run.say(f"{run.directory} is finished ({step} steps); --force trains it again")
        return
    run.say(
        f"{sum(p.numel() for p in trained) / 1e6:.2f} M parameters to train; {task.training.hours:.2f} h of "
        f"{len(task.training.ids)} utterances{task.training.left_out}; {len(task.held_out.ids)} held out; "
        f"{len(task.phones)} phones"
    )
    sums: dict[str, list[torch.Tensor]] = {}

    learner.train()
    while step < config.steps and not run.stopping():
        # Dropout has a seed of its own for every update and process: nothing to put back when resuming.
        torch.manual_seed(mixed_seed(config.seed, step, here.rank))
        masks = torch.Generator().manual_seed(mixed_seed(config.seed, step, here.rank, 1))
        learner.hold_encoder(still=step < config.encoder.freeze_steps)
        batch, weight = task.training.batch(step, config.batch_seconds, config.seed, here)
        with autocast(device, config.precision):
            losses = learner(batch.to(device), masks)
        # Gradients are averaged over processes, so the sum over the whole batch is multiplied by their number.
        (losses["loss"] * (here.size * weight)).backward()
        for name, nats in losses.items():
            sums.setdefault(name, []).append(nats.detach() * weight)
        average_gradients(trained)
        norm = float(torch.nn.utils.clip_grad_norm_(trained, config.optimizer.clip or math.inf))
        if not math.isfinite(norm):
            raise UserError(
                f"the gradient is {norm} at step {step}: lower optimizer.lr = {config.optimizer.lr:g}, or use "
                f"precision=fp32; {run.directory} keeps the best so far"
            )
        rate = config.optimizer.lr * multiplier(config.optimizer.schedule, step, config.steps)
        set_learning_rate(optimizer, rate)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1

        if run.due(step, config.log_every) or step == config.steps:
            run.log(step, **_means(sums), gradient_norm=norm, lr=rate)
            sums = {}
        if run.is_main and (run.due(step, config.valid_every) or step == config.steps):
            found = validate(
                learner,
                task.held_out,
                judge,
                seconds=config.batch_seconds,
                precision=config.precision,
                device=device,
            )
            run.log(step, **found.metrics())
            if best.improve(step, found.criterion):
                save(learner, task, config, run.directory, step=step, **found.metrics())
        if run.due(step, config.save_every) and step < config.steps:
            run.save(step, parts)

    run.save(step, parts)
    state = "finished" if step == config.steps else "stopped"
    run.say(f"{state}: {run.directory} at step {step}; best at {best.step}: criterion {best.value:.4f}")


def read_task(config: CtcConfig) -> Task:
    """Read what a configuration names."""
    data = config.data
    transcripts = read_transcripts(data.transcripts)
    text = PhoneText.load(data.text) if data.text is not None else None
    phones = text.phones if text is not None else phones_of(transcripts)
    if text is not None and text.silence is not None:
        phones = phones[: text.silence]  # the last: numbers stay
    if not phones:
        raise UserError(f"{data.transcripts} has no phones: nothing to learn")
    tuned = open_tuned(config.encoder, config.mask) if config.encoder.finetune else None
    speech, dim, source = _open(data.speech, tuned, config)
    stride = math.prod(config.network.strides)
    training = PairedSpeech.pair(speech, number_transcripts(transcripts, phones, data.transcripts), stride)
    if data.valid_speech is None or data.valid_transcripts is None:
        training, held_out = _split(training, data.held_out, config.seed)
    else:
        checked, _, valid_source = _open(data.valid_speech, tuned, config)
        if not valid_source.is_same_layer(source):
            raise UserError(f"{data.valid_speech} is of {valid_source.encoder}, {data.speech} of {source.encoder}")
        labels = number_transcripts(read_transcripts(data.valid_transcripts), phones, data.valid_transcripts)
        held_out = PairedSpeech.pair(checked, labels, stride)
    return Task(training, held_out, phones, dim, source, tuned, text)


def make_optimizer(parameters: Sequence[torch.nn.Parameter], config: CtcConfig) -> torch.optim.Optimizer:
    """AdamW; matrices decay, norms and biases do not."""
    settings = config.optimizer
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=True)


def save(learner: Learner, task: Task, config: CtcConfig, directory: Path, **training: float) -> None:
    """Write the model directory, and the encoder into it if it was trained along."""
    source = task.source
    if learner.encoder is not None:
        encoder = learner.encoder.encoder
        with atomic_directory(directory / ENCODER) as folder:
            save_encoder(folder, encoder, finetuned_from=config.encoder.spec)
        source = EncoderSource(f"{ENCODER}:{encoder.blocks}", encoder.sha256(), source.frame_rate)
    CtcRecognizer(learner.network, task.phones, source).save(directory, config.data.labels, **training)


def _open(path: Path, tuned: TunedEncoder | None, config: CtcConfig) -> tuple[Speech, int, EncoderSource]:
    """Speech, numbers a frame, and whose features they are."""
    if tuned is not None:
        encoder = tuned.encoder
        speech = RecordedSpeech.open(path, encoder.frame_rate)
        return speech, encoder.dim, EncoderSource(config.encoder.spec, encoder.sha256(), encoder.frame_rate)
    store = FeatureStore(path)
    header = store.header
    return StoredSpeech(store), header.dim, EncoderSource.of(header)


def _split(paired: PairedSpeech, share: float, seed: int) -> tuple[PairedSpeech, PairedSpeech]:
    """Hold out a share of the utterances, at least one; which ones depends on ids and seed alone."""
    ids = sorted(paired.ids)
    n = max(1, round(share * len(ids)))
    if n >= len(ids):
        raise UserError(f"{len(ids)} utterances are too few to hold some out; give data.valid_speech")
    chosen = {ids[i] for i in np.random.default_rng(mixed_seed(seed)).permutation(len(ids))[:n].tolist()}
    return paired.only([i for i in ids if i not in chosen]), paired.only(sorted(chosen))


def _means(sums: dict[str, list[torch.Tensor]]) -> dict[str, float]:
    """Nats a symbol over the updates since the last line of the log, of all processes."""
    return {
        f"{name}_nats": float(total(torch.stack(values).sum()).cpu()) / len(values) for name, values in sums.items()
    }
