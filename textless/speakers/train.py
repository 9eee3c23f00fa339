"""Train a speaker encoder: whoever speaks in a crop is to be recognised among all voices, by a margin."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textless.distributed import average_gradients, process_group, select_device, total
from textless.errors import UserError
from textless.progress import say
from textless.speakers.config import DataConfig, SpeakerTrainingConfig
from textless.speakers.data import SpeakerCorpus, load_known
from textless.speakers.embedder import embed_waveforms
from textless.speakers.margin import MarginSoftmax
from textless.speakers.model import SpeakerEncoder
from textless.speakers.verification import equal_error_rate, pair_scores
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate


def train(config: SpeakerTrainingConfig, out: Path, *, device_name: str = "auto", force: bool = False) -> None:
    """Train in `out`, continuing a run that was stopped there; in one process or many (torchrun, Slurm).

    Raises:
        UserError: the manifests name too few speakers, `out` holds something else, or the loss is not finite.
    """
    device = select_device(device_name)
    with process_group(device) as here, Run(out, config, force=force) as run:
        if config.batch_size < here.size:
            raise UserError(f"batch_size = {config.batch_size} is less than one crop for each of {here.size} processes")
        corpus = SpeakerCorpus(config.data, config.seed)
        valid = load_known(config.data.valid_manifest, config.data.min_seconds) if config.data.valid_manifest else None
        torch.manual_seed(config.seed)
        model = SpeakerEncoder(config.model).to(device)
        head = MarginSoftmax(config.model.dim, corpus.n_voices, config.loss.scale).to(device)
        trained = [*model.parameters(), *head.parameters()]
        settings = config.optimizer
        optimizer = torch.optim.AdamW(
            trained, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
        )
        parts: dict[str, Stateful] = {"model": model, "head": head, "optimizer": optimizer}
        step = logged = run.resume(parts)
        if step >= config.steps:
            say(f"{out} is finished ({step} steps); nothing to do (--force trains it again)")
            return
        if run.is_main:
            left_out = "".join(f"; {n} recordings {why} are left out" for why, n in corpus.left_out.items())
            say(f"{corpus.hours:.2f} h of {len(corpus.speakers)} speakers{left_out}")

        sums = torch.zeros(2, device=device)  # loss, crops recognised
        last = False
        while not last:
            batch = corpus.batch(step, config.batch_size, here).to(device)
            features, frames = model.features(batch.waveforms, batch.lengths)
            hide(features, frames, batch.generators, config.data)
            margin = config.loss.margin * min(1.0, step / max(1.0, config.loss.warmup * config.steps))
            with autocast(device, config.precision):
                embeddings = model.embed(features, frames)
            losses, right = head(embeddings, batch.speakers, margin)
            optimizer.zero_grad(set_to_none=True)
            # Gradients are averaged over processes, so the sum over the whole batch is multiplied by their number.
            (losses.sum() * here.size / config.batch_size).backward()
            average_gradients(trained)
            torch.nn.utils.clip_grad_norm_(trained, settings.clip)
            rate = settings.lr * multiplier(settings.schedule, step, config.steps)
            set_learning_rate(optimizer, rate)
            optimizer.step()
            step += 1

            last = step >= config.steps or run.stopping()
            save = last or run.due(step, config.save_every)
            sums += torch.stack([losses.detach().sum(), right.sum()])
            if save or run.due(step, config.log_every):
                loss, accuracy = (total(sums) / (config.batch_size * (step - logged))).tolist()
                if not math.isfinite(loss):
                    raise UserError(
                        f"the loss is {loss} at step {step}: lower optimizer.lr = {settings.lr:g}, or use "
                        f"precision=fp32; {out} stays as it was saved last"
                    )
                run.log(step, loss=loss, accuracy=accuracy, margin=margin, lr=rate)
                sums, logged = torch.zeros_like(sums), step
            if valid is not None and run.is_main and (step >= config.steps or run.due(step, config.valid_every)):
                run.log(step, valid_eer=verify(model, *valid))
            if save:
                _save(run, model, step, parts, config)
        if run.is_main:
            say(f"{out} is finished ({step} steps)" if step >= config.steps else f"{out}: stopped at step {step}")


def hide(
    features: torch.Tensor, frames: torch.Tensor, generators: Sequence[np.random.Generator], config: DataConfig
) -> None:
    """Set a band and a stretch of every utterance's features `(B, M, 80)` to their mean, 0, in place (SpecAugment)."""
    for row, count, generator in zip(features, frames.tolist(), generators, strict=True):
        band, stretch = (int(generator.integers(most + 1)) for most in (config.frequency_mask, config.time_mask))
        low = int(generator.integers(max(1, row.shape[1] - band + 1)))
        start = int(generator.integers(max(1, count - stretch + 1)))
        row[:, low : low + band] = 0
        row[start : start + stretch] = 0


def verify(model: SpeakerEncoder, waveforms: list[torch.Tensor], speakers: list[str]) -> float:
    """Equal error rate over all pairs of recordings, in float32."""
    model.eval()
    vectors = embed_waveforms(model, waveforms)
    model.train()
    return equal_error_rate(*pair_scores(vectors.numpy(), speakers))


def _save(
    run: Run, model: SpeakerEncoder, step: int, parts: dict[str, Stateful], config: SpeakerTrainingConfig
) -> None:
    if run.is_main:
        places: dict[str, Any] = {"data": {"manifest", "valid_manifest"}}
        model.save(run.directory, step=step, training=config.model_dump(mode="json", exclude=places))
    run.save(step, parts)
