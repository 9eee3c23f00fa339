"""Train a synthesizer on pairs of speech and phones: one visible loop. The best by held-out pairs is kept."""

import math
from pathlib import Path

import numpy as np
import torch

from textless.audio.batches import mask
from textless.distributed import select_device
from textless.errors import UserError
from textless.training.best import Best
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from textless.training.seeds import mixed_seed
from unsup_asr.tts.config import TtsConfig
from unsup_asr.tts.data import PairedCorpus, load_corpus
from unsup_asr.tts.model import LARGEST_BANK, Reconstruction, TtsModel
from unsup_asr.tts.pairs import Batches, Pair, collate


def train(config: TtsConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> None:
    """Train in `out`, continuing a run that was stopped there.

    Raises:
        UserError: the data do not fit, the loss is not finite any more, or `out` is something else.
    """
    corpus = load_corpus(config.data, config.network.speaker, config.seed)
    with Run(out, config, force=force) as run:
        train_on(corpus, config, run, select_device(device_name))


def train_on(corpus: PairedCorpus, config: TtsConfig, run: Run, device: torch.device) -> None:
    """Train on what was read; the loop."""
    torch.manual_seed(config.seed)
    model = new_model(corpus, config).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=config.optimizer.lr,
        betas=config.optimizer.betas,
        weight_decay=config.optimizer.weight_decay,
    )
    best = Best()
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "best": best}
    step = saved = run.resume(parts)
    if step >= config.steps:
        run.say(f"{run.directory} is finished ({step} steps); --force trains it again")
        return
    frames = round(config.batch_seconds * corpus.kind.frame_rate)
    batches = Batches([len(pair.speech) for pair in corpus.pairs], frames, config.seed)
    run.say(f"{len(corpus.phones)} phones to {corpus.kind}; {batches.per_epoch} batches an epoch")

    while step < config.steps and not run.stopping():
        torch.manual_seed(mixed_seed(config.seed, step))  # dropout
        batch = collate([corpus.pairs[place] for place in batches[step]], device)
        with autocast(device, config.precision):
            made = model.reconstruct(
                batch.phones,
                batch.sizes,
                batch.voices,
                batch.speech,
                batch.lengths,
                batch.durations,
                flat=step < config.flat_steps,
            )
            loss = made.loss()
        optimizer.zero_grad()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip))
        rate = config.optimizer.lr * multiplier(config.optimizer.schedule, step, config.steps)
        if not math.isfinite(norm):
            raise UserError(
                f"step {step}: the gradient is {norm} at a learning rate of {rate:.3g}; {run.directory} keeps the "
                f"state of step {saved}: train again with a lower optimizer.lr"
            )
        set_learning_rate(optimizer, rate)
        optimizer.step()
        step += 1

        if run.due(step, config.log_every):
            run.log(step, loss=float(loss.detach()), **described(made), lr=rate)
        if run.due(step, config.valid_every) or step == config.steps:
            error = evaluate(model, corpus.held_out, frames, device, measure_scatter=True)
            run.log(step, **{f"valid_{name}": value for name, value in error.items()})
            if best.improve(step, error["speech"]):
                model.save(run.directory, step=step, labels=config.data.labels, **error)
        if run.due(step, config.save_every) and step < config.steps:
            run.save(step, parts)
            saved = step

    run.save(step, parts)
    state = "finished" if step == config.steps else "stopped"
    run.say(
        f"{state}: {run.directory} at step {step}; best at {best.step}: {best.value:.4f} a frame of held-out speech"
    )


def new_model(corpus: PairedCorpus, config: TtsConfig) -> TtsModel:
    """A model that knows the phones, the voices and the scale of a corpus, and nothing else yet."""
    voices = corpus.voices
    model = TtsModel(config.network, corpus.phones, corpus.kind, speakers=voices.speakers, voice_size=voices.size)
    if not corpus.kind.is_discrete:
        every = np.concatenate([pair.speech for pair in corpus.pairs])
        model.mean.copy_(torch.from_numpy(every.mean(0, dtype=np.float64)))
        model.scale.copy_(torch.from_numpy(every.std(0, dtype=np.float64)).clamp(min=1e-5))
    if config.network.speaker in {"embedding", "mean"}:
        order = np.random.default_rng([config.seed, 9]).permutation(len(corpus.pairs))[:LARGEST_BANK]
        rows = [corpus.pairs[place].voice for place in order.tolist()]
        model.bank = torch.stack([row for row in rows if row is not None])
    return model


@torch.inference_mode()
def evaluate(
    model: TtsModel, pairs: list[Pair], frames: int, device: torch.device, *, measure_scatter: bool = False
) -> dict[str, float]:
    """Errors of a model on pairs, in evaluation mode: of the speech, the prior, and durations.

    With `measure_scatter`, also note in the model by how much outputs and log durations miss.
    """
    was_training = model.training
    model.eval()
    order = Batches([len(pair.speech) for pair in pairs], frames, 0)
    found: list[Reconstruction] = []
    squares = torch.zeros_like(model.scatter)
    for step in range(order.per_epoch):
        batch = collate([pairs[place] for place in order[step]], device)
        made = model.reconstruct(batch.phones, batch.sizes, batch.voices, batch.speech, batch.lengths, batch.durations)
        found.append(made)
        if measure_scatter and not model.kind.is_discrete:
            valid = mask(batch.lengths, batch.speech.shape[1])[..., None]
            squares += ((made.said - model.standardise(batch.speech)).square() * valid).sum((0, 1))
    n_frames = sum(int(made.frames.sum()) for made in found)
    n_symbols = sum(int(made.symbols.sum()) for made in found)
    duration = sum(float(made.duration.sum()) for made in found) / n_symbols
    if measure_scatter:
        model.duration_scatter.fill_(math.sqrt(duration))
        model.scatter.copy_((squares / n_frames).sqrt())
    model.train(was_training)
    return {
        "speech": sum(float(made.speech.sum()) for made in found) / n_frames,
        "prior": sum(float(made.prior.sum()) for made in found) / n_frames,
        "duration": duration,
    }


def described(made: Reconstruction) -> dict[str, float]:
    """What is logged of a batch: means over frames and symbols."""
    frames, symbols = float(made.frames.sum()), float(made.symbols.sum())
    return {
        "speech": float(made.speech.detach().sum()) / frames,
        "prior": float(made.prior.detach().sum()) / frames,
        "duration": float(made.duration.detach().sum()) / symbols,
    }
