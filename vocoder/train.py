"""Train a vocoder: the recorded waveform of a segment against the one that the generator makes of its units."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from textless.audio.io import SAMPLE_RATE
from textless.distributed import World, average_gradients, process_group, select_device, shard_slice, total
from textless.errors import UserError
from textless.progress import say
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from vocoder.conditions import check_sizes, training_conditions
from vocoder.config import VocoderConfig
from vocoder.critics import Critic
from vocoder.data import Corpus
from vocoder.discriminators import discriminator_loss, feature_matching, generator_loss
from vocoder.durations import duration_error
from vocoder.losses import SpectralLoss
from vocoder.model import VocoderModel
from vocoder.pitch_predictor import pitch_error
from vocoder.reading import SHORTEST_SECONDS, load_corpus

VALID_FRAMES = 3000  # of one padded batch


def train(  # noqa: C901, PLR0915 - the loop is meant to be read from top to bottom
    config: VocoderConfig, out: Path, *, device_name: str = "auto", force: bool = False
) -> None:
    """Train in `out`, continuing a run that was stopped there; in one process or many (torchrun, Slurm).

    The segments of a step, and the counts that its losses are divided by, do not depend on the number of processes.

    Raises:
        UserError: data that does not fit together, or `out` holds something else.
    """
    device = select_device(device_name)
    with process_group(device) as world, Run(out, config, force=force) as run:
        corpus, valid = _load(config, world)
        size = max(1, round(config.segment_seconds * corpus.quantizer.frame_rate))
        torch.manual_seed(config.seed)
        model = _model(config, corpus).to(device)
        critic = Critic(config.adversarial, len(config.loss.fft_sizes)).to(device)
        spectral = SpectralLoss(config.loss).to(device)
        optimizer = _adamw(model, config, config.optimizer.lr)
        critic_optimizer = _adamw(critic, config, config.adversarial.lr)
        parts: dict[str, Stateful] = {
            "model": model,
            "optimizer": optimizer,
            "critic": critic,
            "critic_optimizer": critic_optimizer,
        }
        step = saved = logged = run.resume(parts)
        if step >= config.steps:
            say(f"{out} is finished ({step} steps); nothing to do (--force trains it again)")
            return
        if run.is_main:
            say(f"{corpus.seconds / 3600:.2f} h, {len(model.speakers)} speakers, {corpus.quantizer}, on {device}")

        sums: dict[str, torch.Tensor] = {}
        batches = corpus.batches(step, size, config.batch_size, config.seed)
        while step < config.steps and not run.stopping():
            segments = shard_slice(next(batches), world.rank, world.size)
            batch = corpus.collate(segments, size).to(device)
            # Gradients are averaged over processes, so sums over the global count are multiplied by their number.
            weights = batch.lengths * world.size / total(batch.lengths.sum())
            epoch = step * config.batch_size // len(corpus.recordings)
            rate = multiplier(config.optimizer.schedule, step, config.steps) * config.optimizer.epoch_decay**epoch

            with autocast(device, config.precision):
                generated = model.generator(batch.frames, batch.voices, batch.lengths)
            with torch.no_grad():
                real = spectral.hear(batch.waveform)
            fake = spectral.hear(generated.float())
            distances = spectral(fake, real, batch.lengths * corpus.hop)
            terms = {name: (distance * weights).sum() for name, distance in distances.items()}
            loss = config.loss.mel * terms["mel"] + config.loss.stft * terms["stft"]
            if model.durations is not None:
                with autocast(device, config.precision):
                    predicted = model.durations(batch.units, batch.voices, batch.run_lengths)
                errors = duration_error(predicted, batch.durations, batch.run_lengths)
                terms["duration"] = errors * world.size / total(batch.run_lengths.sum())
                loss = loss + config.loss.duration * terms["duration"]
            if model.pitch_predictor is not None and batch.frames.pitch is not None:
                with autocast(device, config.precision):
                    contour = model.pitch_predictor(batch.frames, batch.voices, batch.lengths)
                errors = pitch_error(contour, batch.frames.pitch, batch.lengths)
                terms["pitch"] = errors * world.size / total(batch.lengths.sum())
                loss = loss + config.loss.pitch * terms["pitch"]

            if config.adversarial.start_step is not None and step >= config.adversarial.start_step:
                with autocast(device, config.precision):
                    opinions = critic(real), critic(fake.detach())
                terms["critic"] = (discriminator_loss(*opinions) * weights).sum()
                critic_optimizer.zero_grad()
                terms["critic"].backward()
                average_gradients(critic.parameters())
                set_learning_rate(critic_optimizer, config.adversarial.lr * rate)
                critic_optimizer.step()

                critic.requires_grad_(False)  # the generator's loss goes through the critic, not into it
                with autocast(device, config.precision):
                    opinions = critic(real), critic(fake)
                critic.requires_grad_(True)
                terms["adversarial"] = (generator_loss(opinions[1]) * weights).sum()
                terms["features"] = (feature_matching(*opinions) * weights).sum()
                loss = loss + config.adversarial.weight * terms["adversarial"]
                loss = loss + config.adversarial.feature_matching * terms["features"]

            optimizer.zero_grad()
            loss.backward()
            average_gradients(model.parameters())
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip or math.inf)
            if not torch.isfinite(norm):  # the mean over processes, so that all of them stop
                raise UserError(_diverged(out, step, saved, loss.item(), config.optimizer.lr * rate))
            terms["gradient_norm"] = norm
            set_learning_rate(optimizer, config.optimizer.lr * rate)
            optimizer.step()
            step += 1

            for name, value in terms.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach()
            if run.due(step, config.log_every):
                means = {name: total(value).item() / (world.size * (step - logged)) for name, value in sums.items()}
                run.log(step, **means, lr=config.optimizer.lr * rate)
                sums, logged = {}, step
            if valid is not None and (run.due(step, config.valid_every) or step == config.steps):
                run.log(step, **evaluate(model, spectral, valid, world))
            if run.due(step, config.save_every) or step == config.steps:
                _save(run, model, step, parts, config)
                saved = step

        if step > saved:
            _save(run, model, step, parts, config)
        if run.is_main:
            say(f"{out} is finished ({step} steps)" if step >= config.steps else f"{out}: stopped at step {step}")


def _load(config: VocoderConfig, world: World) -> tuple[Corpus, Corpus | None]:
    if config.batch_size < world.size:
        raise UserError(f"batch_size = {config.batch_size} is less than one segment for each of {world.size} processes")
    data = config.data
    conditions = training_conditions(config)
    # A segment holds at least one window of the loss.
    shortest = max(SHORTEST_SECONDS, max(config.loss.fft_sizes) / SAMPLE_RATE)
    read = partial(load_corpus, memory_gb=config.memory_gb, shortest=shortest, quiet=world.rank > 0)
    corpus = read(data.units, data.manifest, conditions=conditions)
    vectors = list(corpus.cast.embeddings.values())
    check_sizes(config, corpus.pitch, len(vectors[0]) if vectors else None, corpus.cast.styles)
    if data.valid_units is None:
        return corpus, None
    conditions = replace(conditions, store=data.valid_pitch or data.pitch)
    manifest = data.valid_manifest or data.manifest
    return corpus, read(data.valid_units, manifest, conditions=conditions, like=corpus)


def _model(config: VocoderConfig, corpus: Corpus) -> VocoderModel:
    """A new model of the speakers of a corpus."""
    cast = corpus.cast
    model = VocoderModel(
        config.model,
        corpus.quantizer,
        cast.speakers,
        styles=cast.styles,
        pitch=corpus.pitch,
        f0_quantizer=corpus.conditions.f0_quantizer,
        speaker_encoder=cast.speaker_encoder,
    )
    if config.model.pitch == "raw":
        model.levels.copy_(torch.tensor([cast.levels[name] for name in cast.speakers]))
    if config.model.speaker == "embedding":
        model.embeddings.copy_(torch.stack([cast.embeddings[name] for name in cast.speakers]))
    return model


def _diverged(out: Path, step: int, saved: int, loss: float, rate: float) -> str:
    kept = f"{out} keeps the model of step {saved}" if saved else "no step was saved before"
    return (
        f"step {step}: loss {loss:g}, and its gradient is not finite, at a learning rate of {rate:.3g}; {kept}. Train "
        "again with a lower optimizer.lr, a smaller optimizer.clip or precision=fp32"
    )


def _adamw(module: torch.nn.Module, config: VocoderConfig, lr: float) -> torch.optim.AdamW:
    settings = config.optimizer
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(trained, lr=lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True)


def _save(run: Run, model: VocoderModel, step: int, parts: dict[str, Stateful], config: VocoderConfig) -> None:
    if run.is_main:
        model.save(run.directory, config)
    run.save(step, parts)


@torch.no_grad()
def evaluate(model: VocoderModel, spectral: SpectralLoss, corpus: Corpus, world: World) -> dict[str, float]:
    """Mean distances on whole recordings, resynthesised with their true durations, in float32."""
    device = next(model.parameters()).device
    sums = dict.fromkeys(("mel", "stft", "duration", "pitch", "frames", "runs"), 0.0)
    model.eval()
    for segments in corpus.whole(VALID_FRAMES)[world.rank :: world.size]:
        batch = corpus.collate(segments, None).to(device)
        generated = model.generator(batch.frames, batch.voices, batch.lengths)
        distances = spectral(spectral.hear(generated), spectral.hear(batch.waveform), batch.lengths * corpus.hop)
        for name in ("mel", "stft"):
            sums[name] += float((distances[name] * batch.lengths).sum())
        if model.durations is not None:
            predicted = model.durations(batch.units, batch.voices, batch.run_lengths)
            sums["duration"] += float(duration_error(predicted, batch.durations, batch.run_lengths))
        if model.pitch_predictor is not None and batch.frames.pitch is not None:
            contour = model.pitch_predictor(batch.frames, batch.voices, batch.lengths)
            sums["pitch"] += float(pitch_error(contour, batch.frames.pitch, batch.lengths))
        sums["frames"] += int(batch.lengths.sum())
        sums["runs"] += int(batch.run_lengths.sum())
    model.train()
    summed = dict(zip(sums, total(torch.tensor(list(sums.values()), dtype=torch.float64)).tolist(), strict=True))
    names = ("mel", "stft") if model.pitch_predictor is None else ("mel", "stft", "pitch")
    found = {f"valid_{name}": summed[name] / summed["frames"] for name in names}
    return found if model.durations is None else found | {"valid_duration": summed["duration"] / summed["runs"]}
