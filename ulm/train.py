"""Training a unit LM: one visible loop, on one process or many."""

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from textless.distributed import World, process_group, select_device, shard_slice, total
from textless.errors import UserError
from textless.progress import say
from textless.training.checkpoint import Stateful
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from ulm.config import OptimizerConfig, TrainConfig
from ulm.data import IGNORED, Batch, PackedUnits
from ulm.language_model import TransformerLanguageModel
from ulm.model import UnitTransformer
from ulm.vocabulary import Vocabulary
from units.files import UnitsFile, read_units
from units.identity import require_same


def train(config: TrainConfig, directory: Path, *, device: str = "auto", force: bool = False) -> None:
    """Train in `directory` until `config.steps`, from where an earlier run stopped; a finished run is left alone.

    Raises:
        UserError: the data do not exist, hold nothing or have two quantizers; the directory is something else or
            a run of another configuration; the loss is not finite any more.
    """
    chosen = select_device(device)
    with process_group(chosen) as here, Run(directory, config, force=force) as run:
        _train(config, run, here, chosen)


def _train(config: TrainConfig, run: Run, here: World, device: torch.device) -> None:
    training, validation = read_data(config)
    vocabulary = Vocabulary(training.quantizer.k)
    data = PackedUnits([item.units for item in training.utterances], vocabulary, config.context)
    held_out = validation and PackedUnits([item.units for item in validation.utterances], vocabulary, config.context)
    n_rows = rows_per_update(config, here)

    torch.manual_seed(config.seed)
    model = UnitTransformer(config.model, vocabulary.size).to(device)
    optimizer = make_optimizer(model, config.optimizer)
    best = Best()
    parts: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "best": best}
    step = run.resume(parts)
    if step >= config.steps:
        say(f"{run.directory} is finished ({step} steps); --force trains it again")
        return
    say(
        f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters; {data.n_rows} rows of {config.context} "
        f"tokens an epoch, {n_rows} an update: {config.steps * n_rows / data.n_rows:.1f} epochs in all"
    )
    parallel = _parallel(model, here, device)
    language_model = TransformerLanguageModel(model, training.quantizer, config.context, units_per_second(training))
    loss_sum, n_seen = torch.zeros((), device=device), 0

    while step < config.steps and not run.stopping():
        # Dropout has a seed of its own for every update and process: nothing to put back when resuming.
        torch.manual_seed(_mix(config.seed, step, here.rank))
        rate = config.optimizer.lr * multiplier(config.optimizer.schedule, step, config.steps)
        set_learning_rate(optimizer, rate)
        batch = data.batch(step, n_rows, config.seed)
        loss_sum += accumulate_gradients(parallel, batch, config, here, device)
        n_seen += batch.n_targets
        if config.optimizer.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1

        if run.due(step, config.log_every) or step == config.steps:
            run.log(step, bits_per_token=bits_per_token(loss_sum, n_seen, step), lr=rate)
            loss_sum, n_seen = torch.zeros((), device=device), 0
        if held_out and (run.due(step, config.valid_every) or step == config.steps):
            bits = validate(model, held_out, config, here, device)
            run.log(step, valid_bits_per_unit=bits)
            if best.improve(step, bits) and config.keep == "best" and run.is_main:
                language_model.save(run.directory, step=step, valid_bits_per_unit=bits)
        if run.due(step, config.save_every) and step < config.steps:
            run.save(step, parts)

    if step == config.steps and run.is_main and (config.keep == "last" or held_out is None):
        language_model.save(run.directory, step=step)
    run.save(step, parts)
    if step < config.steps:
        say(f"stopped at step {step} of {config.steps}; the same command goes on from there")
    else:
        say(f"finished: {run.directory}" + (f", best at step {best.step}: {best.bits:.4f} bits" if held_out else ""))


def accumulate_gradients(
    model: torch.nn.Module, batch: Batch, config: TrainConfig, here: World, device: torch.device
) -> torch.Tensor:
    """Gradients of this process's rows, a part at a time; the sum of their nats.

    They are of the mean over the targets of all processes: a sum over the global count, times the number of processes
    because DistributedDataParallel divides by it.
    """
    scale = here.size / batch.n_targets
    mine = shard_slice(range(len(batch.tokens)), here.rank, here.size)
    size = max(1, config.micro_batch_tokens // config.context) if config.micro_batch_tokens else len(mine)
    nats = torch.zeros((), device=device)
    for start in range(0, len(mine), size):
        part = mine[start : start + size]
        # Gradients are exchanged once an update, with its last part.
        is_last = start + size >= len(mine)
        with _unsynchronized(model, skip=not is_last), autocast(device, config.precision):
            loss = cross_entropy_sum(model, batch.rows(part[0], part[-1] + 1, device))
            (loss * scale).backward()
        nats += loss.detach()
    return nats


def rows_per_update(config: TrainConfig, here: World) -> int:
    """Rows of `context` tokens in an update, over all processes; at least one each."""
    n_rows = config.batch_tokens // config.context
    if n_rows < here.size:
        raise UserError(
            f"batch_tokens={config.batch_tokens} makes {n_rows} rows of context={config.context} tokens, too few for "
            f"{here.size} processes: raise batch_tokens to {here.size * config.context} at least"
        )
    return n_rows


def bits_per_token(nats: torch.Tensor, n_targets: int, step: int) -> float:
    """Training loss since the last log, over all processes; a model that has diverged is not trained any further."""
    bits = float(total(nats)) / n_targets / math.log(2)
    if not math.isfinite(bits):
        raise UserError(f"the loss is {bits} at step {step}: lower optimizer.lr, or use precision=fp32")
    return bits


def read_data(config: TrainConfig) -> tuple[UnitsFile, UnitsFile | None]:
    """The units files of a configuration, of one quantizer."""
    training = read_units(config.data.train)
    if config.data.valid is None:
        return training, None
    validation = read_units(config.data.valid)
    require_same(training.quantizer, validation.quantizer, str(config.data.train), str(config.data.valid))
    return training, validation


def units_per_second(file: UnitsFile) -> float | None:
    """Mean rate of deduplicated units, from the durations; None where there are none."""
    timed = [item for item in file.utterances if item.durations]
    frames = sum(item.n_frames for item in timed)
    return sum(len(item.units) for item in timed) * file.quantizer.frame_rate / frames if frames else None


def make_optimizer(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """AdamW; matrices decay, gains of norms do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)


def cross_entropy_sum(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Nats over all targets of a batch."""
    logits = model(batch.tokens, batch.documents)  # (B, T, K + 1)
    return F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")


@torch.inference_mode()
def validate(
    model: UnitTransformer, data: PackedUnits, config: TrainConfig, here: World, device: torch.device
) -> float:
    """Bits per unit of held-out utterances; like `ulm score`, without the end of the utterance."""
    model.eval()
    nats, n_units = torch.zeros((), device=device, dtype=torch.float64), 0
    for batch in data.in_order(config.batch_tokens // config.context):
        batch.targets[batch.targets == data.boundary] = IGNORED
        n_units += batch.n_targets
        mine = shard_slice(range(len(batch.tokens)), here.rank, here.size)
        if mine:
            with autocast(device, config.precision):
                nats += cross_entropy_sum(model, batch.rows(mine[0], mine[-1] + 1, device))
    model.train()
    return float(total(nats)) / n_units / math.log(2)


class Best:
    """The lowest validation bits so far, and when; part of the state of a run."""

    def __init__(self) -> None:
        self.step, self.bits = 0, math.inf

    def improve(self, step: int, bits: float) -> bool:
        """Note a new value; whether it is the lowest."""
        if bits >= self.bits:
            return False
        self.step, self.bits = step, bits
        return True

    def state_dict(self) -> dict[str, Any]:
        """Step and bits."""
        return {"step": self.step, "bits": self.bits}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put them back."""
        self.step, self.bits = state_dict["step"], state_dict["bits"]


def _parallel(model: UnitTransformer, here: World, device: torch.device) -> torch.nn.Module:
    if here.size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def _unsynchronized(model: torch.nn.Module, *, skip: bool) -> AbstractContextManager[None]:
    return model.no_sync() if skip and isinstance(model, DistributedDataParallel) else nullcontext()


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]) >> 1
