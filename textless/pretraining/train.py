"""Pretraining: one visible loop for every objective, on one process or many."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import read_manifest
from textless.distributed import World, average_gradients, process_group, select_device, total
from textless.encoders.cpc import Cpc
from textless.encoders.directory import load_encoder_directory, save_encoder
from textless.encoders.logmel_front_end import LogMelFrontEnd
from textless.encoders.speech_transformer import SpeechTransformer
from textless.errors import UserError
from textless.pretraining.collapse import CollapseWatch
from textless.pretraining.config import PretrainConfig
from textless.pretraining.cpc import CpcObjective, CpcObjectiveConfig
from textless.pretraining.data import Crops, Targets
from textless.pretraining.data2vec import Data2VecConfig, Data2VecObjective
from textless.pretraining.hubert import HubertConfig, HubertObjective, heads_for
from textless.pretraining.objective import Batch, Outcome
from textless.pretraining.wav2vec2 import Wav2Vec2Config, Wav2Vec2Objective
from textless.progress import say
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate

STATISTICS_BATCHES = 8  # from which mean and variance of log-mel energies are taken
E = TypeVar("E", SpeechTransformer, Cpc)
Evaluate = Callable[[Path], dict[str, float]]  # encoder directory → what to log


def pretrain(
    config: PretrainConfig,
    directory: Path,
    targets: Sequence[Targets] = (),
    *,
    evaluate: Evaluate | None = None,
    device: str = "auto",
    force: bool = False,
) -> None:
    """Train in `directory` until `config.steps`, from where an earlier run stopped; a finished run is left alone.

    Args:
        config: the run.
        directory: becomes an encoder directory, with `metrics.jsonl` and `resume.pt`.
        targets: labels for objectives that predict them.
        evaluate: judges the encoder every `config.evaluate_every` steps.
        device: auto, cpu, cuda.
        force: start again.

    Raises:
        UserError: data or labels cannot be used; the directory is something else or a run of another configuration;
            the loss is not finite any more, or the encoder has collapsed.
    """
    chosen = select_device(device)
    with process_group(chosen) as here, Run(directory, config, force=force) as run:
        _pretrain(config, run, here, chosen, targets, evaluate)


def _pretrain(
    config: PretrainConfig,
    run: Run,
    here: World,
    device: torch.device,
    targets: Sequence[Targets],
    evaluate: Evaluate | None,
) -> None:
    torch.manual_seed(config.seed)
    objective = new_objective(config, targets)
    encoder = objective.encoder
    data = Crops(read_manifest(config.data.manifest), targets, config.data, _grid(encoder, targets), config.seed)
    if isinstance(encoder, SpeechTransformer) and isinstance(encoder.front_end, LogMelFrontEnd) and not config.start:
        batches = (data.batch(step, World()) for step in range(min(STATISTICS_BATCHES, data.n_batches)))
        encoder.front_end.fit((batch.waveforms, batch.lengths) for batch in batches)
    objective.to(device).train()
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.dim() >= 2], "weight_decay": config.optimizer.weight_decay},
            {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=config.optimizer.lr,
        betas=config.optimizer.betas,
        fused=True,
    )
    watch = CollapseWatch(config.optimizer.schedule.warmup_steps)
    parts: dict[str, Stateful] = {"objective": objective, "optimizer": optimizer, "watch": watch}
    step = run.resume(parts)
    if step >= config.steps:
        say(f"{run.directory} is finished ({step} steps); --force trains it again")
        return
    say(
        f"{sum(p.numel() for p in encoder.parameters()) / 1e6:.2f} M parameters, {data.hours:.2f} h of speech, "
        f"{data.n_batches} updates an epoch: {config.steps / data.n_batches:.1f} epochs"
    )
    log = Log()
    while step < config.steps and not run.stopping():
        batch = _move(data.batch(step, here), device)
        torch.manual_seed(int(torch.randint(1 << 62, (), generator=batch.generator)))  # of dropout
        with autocast(device, config.precision):
            outcome = objective(batch, step / config.steps)
        count = total(outcome.count.detach().double().cpu())
        (outcome.loss * (here.size / count.clamp_min(1).to(device))).float().backward()
        average_gradients(trained)
        norm = torch.nn.utils.clip_grad_norm_(trained, config.optimizer.clip or math.inf)
        set_learning_rate(optimizer, config.optimizer.lr * multiplier(config.optimizer.schedule, step, config.steps))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        objective.after_update(step / config.steps)

        log.add(outcome, batch, norm)
        if run.due(step, config.log_every) or step == config.steps:
            metrics = log.take(step)
            run.log(step, **metrics, lr=optimizer.param_groups[0]["lr"])
            watch.check(step, metrics)
        if run.due(step, config.save_every) and step < config.steps:
            run.save(step, parts)
        if evaluate is not None and run.due(step, config.evaluate_every) and run.is_main:
            save_encoder(run.directory, encoder, trained=_trained(config, step))
            run.log(step, **evaluate(run.directory))
    if step == config.steps and run.is_main:
        save_encoder(run.directory, encoder, trained=_trained(config, step))
    run.save(step, parts)
    if step < config.steps:
        say(f"stopped at step {step} of {config.steps}; the same command goes on from there")
    else:
        say(f"finished: {run.directory}")


class Log:
    """Sums since the last line of the log, kept where they were computed: looking at them would make a GPU wait."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        self._samples = torch.zeros(())

    def add(self, outcome: Outcome, batch: Batch, norm: torch.Tensor) -> None:
        """Note an update."""
        metrics = {"loss": (outcome.loss, outcome.count), **outcome.metrics, "gradient_norm": (norm, norm.new_ones(()))}
        for name, (value, count) in metrics.items():
            value, count = value.detach().double(), count.detach().double()  # noqa: PLW2901
            before = self._sums.get(name)
            self._sums[name] = (value, count) if before is None else (before[0] + value, before[1] + count)
        self._samples = self._samples.to(batch.lengths.device) + batch.lengths.sum()

    def take(self, step: int) -> dict[str, float]:
        """Means over all processes since the last call; a loss that is not finite is not trained any further."""
        sums = {name: total(torch.stack(pair).cpu()).tolist() for name, pair in self._sums.items()}
        means = {name: value / max(count, 1.0) for name, (value, count) in sums.items()}
        if not math.isfinite(means["loss"]):
            raise UserError(f"the loss is {means['loss']} at step {step}: lower optimizer.lr, or use precision=fp32")
        means["audio_seconds"] = float(total(self._samples.cpu())) / SAMPLE_RATE
        self._sums, self._samples = {}, torch.zeros(())
        return means


ObjectiveModule = HubertObjective | Wav2Vec2Objective | CpcObjective | Data2VecObjective


def new_objective(config: PretrainConfig, targets: Sequence[Targets]) -> ObjectiveModule:
    """The objective of a configuration with a new encoder, or with the weights of `config.start`."""
    match config.objective:
        case HubertConfig():
            heads = heads_for(config.objective, targets, SpeechTransformer(config.encoder).frame_rate)
            encoder = SpeechTransformer(config.encoder.model_copy(update={"heads": heads}))
            return HubertObjective(_started(encoder, config.start), config.objective)
        case Wav2Vec2Config():
            return Wav2Vec2Objective(_started(SpeechTransformer(config.encoder), config.start), config.objective)
        case Data2VecConfig():
            return Data2VecObjective(_started(SpeechTransformer(config.encoder), config.start), config.objective)
        case CpcObjectiveConfig():
            return CpcObjective(_started(Cpc(config.cpc), config.start), config.objective)


def _started(encoder: E, start: Path | None) -> E:
    """The encoder with the weights of another; its heads stay new, since they name other units."""
    if start is None:
        return encoder
    weights = {
        name: w for name, w in load_encoder_directory(start).state_dict().items() if not name.startswith("heads.")
    }
    expected = {name: w.shape for name, w in encoder.state_dict().items() if not name.startswith("heads.")}
    if expected != {name: w.shape for name, w in weights.items()}:
        raise UserError(f"{start} is an encoder of another shape; training cannot start from it")
    encoder.load_state_dict(weights, strict=False)
    return encoder


def _grid(encoder: SpeechTransformer | Cpc, targets: Sequence[Targets]) -> int:
    """Samples that crops may start at multiples of: whole frames of the encoder and of all labels."""
    return math.lcm(*(round(SAMPLE_RATE / rate) for rate in (encoder.frame_rate, *(t.frame_rate for t in targets))))


def _move(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    waveforms, lengths, speakers, *labels = (
        item.to(device, non_blocking=True) for item in (batch.waveforms, batch.lengths, batch.speakers, *batch.labels)
    )
    return Batch(waveforms, lengths, speakers, tuple(labels), batch.generator)


def _trained(config: PretrainConfig, step: int) -> dict[str, object]:
    """What the encoder directory says of its making; places on this machine are left out."""
    places: dict[str, Any] = {"start": True, "data": {"manifest", "targets"}}
    return {"step": step, "config": config.model_dump(mode="json", exclude=places)}
