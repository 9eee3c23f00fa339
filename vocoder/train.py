"""Train a vocoder: the recorded waveform of a segment against the one that the generator makes of its units."""

from pathlib import Path

import torch

from textless.distributed import World, average_gradients, process_group, select_device, shard_slice, total
from textless.errors import UserError
from textless.progress import say
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from vocoder.config import VocoderConfig
from vocoder.data import Corpus, load_corpus
from vocoder.discriminators import Discriminators, discriminator_loss, feature_matching, generator_loss
from vocoder.durations import duration_error
from vocoder.losses import SpectralLoss
from vocoder.model import VocoderModel

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
        model = VocoderModel(config.model, corpus.quantizer, corpus.speakers).to(device)
        critic = Discriminators(config.adversarial, len(config.loss.fft_sizes)).to(device)
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
            say(f"{corpus.seconds / 3600:.2f} h, {len(corpus.speakers)} speakers, {corpus.quantizer}, on {device}")

        sums: dict[str, torch.Tensor] = {}
        batches = corpus.batches(step, size, config.batch_size, config.seed)
        while step < config.steps and not run.stopping():
            segments = shard_slice(next(batches), world.rank, world.size)
            batch = corpus.collate(segments, size, corpus.speakers).to(device)
            # Gradients are averaged over processes, so sums over the global count are multiplied by their number.
            weights = batch.lengths * world.size / total(batch.lengths.sum())
            rate = multiplier(config.optimizer.schedule, step, config.steps)

            with autocast(device, config.precision):
                generated = model.generator(batch.frames, batch.speakers, batch.lengths)
                predicted = model.durations(batch.units, batch.speakers, batch.run_lengths)
            with torch.no_grad():
                real = spectral.spectra(batch.waveform)
            fake = spectral.spectra(generated)
            distances = spectral(fake, real, batch.lengths * corpus.hop)
            errors = duration_error(predicted, batch.durations, batch.run_lengths)
            terms = {name: (distance * weights).sum() for name, distance in distances.items()}
            terms["duration"] = errors * world.size / total(batch.run_lengths.sum())
            loss = config.loss.mel * terms["mel"] + config.loss.stft * terms["stft"]
            loss = loss + config.loss.duration * terms["duration"]

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
            terms["gradient_norm"] = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
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
                run.log(step, **evaluate(model, spectral, valid, corpus.speakers, world))
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
    data, quiet = config.data, world.rank > 0
    corpus = load_corpus(data.units, data.manifest, memory_gb=config.memory_gb, quiet=quiet)
    if data.valid_units is None:
        return corpus, None
    manifest = data.valid_manifest or data.manifest
    return corpus, load_corpus(data.valid_units, manifest, memory_gb=config.memory_gb, like=corpus, quiet=quiet)


def _adamw(module: torch.nn.Module, config: VocoderConfig, lr: float) -> torch.optim.AdamW:
    settings = config.optimizer
    return torch.optim.AdamW(
        module.parameters(), lr=lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def _save(run: Run, model: VocoderModel, step: int, parts: dict[str, Stateful], config: VocoderConfig) -> None:
    if run.is_main:
        model.save(run.directory, config)
    run.save(step, parts)


@torch.no_grad()
def evaluate(
    model: VocoderModel, spectral: SpectralLoss, corpus: Corpus, speakers: list[str], world: World
) -> dict[str, float]:
    """Mean distances on whole recordings, resynthesised with their true durations, in float32."""
    device = next(model.parameters()).device
    sums = torch.zeros(5, dtype=torch.float64)
    for segments in corpus.whole(VALID_FRAMES)[world.rank :: world.size]:
        batch = corpus.collate(segments, None, speakers).to(device)
        generated = model.generator(batch.frames, batch.speakers, batch.lengths)
        distances = spectral(spectral.spectra(generated), spectral.spectra(batch.waveform), batch.lengths * corpus.hop)
        predicted = model.durations(batch.units, batch.speakers, batch.run_lengths)
        errors = duration_error(predicted, batch.durations, batch.run_lengths)
        mel, stft = ((distances[name] * batch.lengths).sum() for name in ("mel", "stft"))
        found = [mel, stft, batch.lengths.sum(), errors, batch.run_lengths.sum()]
        sums += torch.tensor([float(value) for value in found], dtype=torch.float64)
    mel, stft, frames, errors, runs = total(sums).tolist()
    return {"valid_mel": mel / frames, "valid_stft": stft / frames, "valid_duration": errors / runs}
