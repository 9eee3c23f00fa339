"""Training a unit LM: one visible loop, on one process or many."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn import functional as F

from textless.distributed import World, process_group, select_device, total
from textless.errors import UserError
from textless.training.best import Best
from textless.training.checkpoint import Stateful
from textless.training.parallel import WholeModel, WholeOptimizer, parallelize, unsynchronized, whole
from textless.training.precision import autocast
from textless.training.run import Run
from textless.training.schedule import multiplier, set_learning_rate
from textless.training.seeds import mixed_seed
from ulm.config import OptimizerConfig, TrainConfig
from ulm.corpus import read_corpora
from ulm.data import IGNORED, Batch, PackedUnits
from ulm.divergence import Divergence
from ulm.language_model import TransformerLanguageModel
from ulm.model import UnitTransformer
from ulm.warm_start import initial_network

Logits = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # of tokens and documents
CHECK_EVERY = 10  # updates between looks at whether all was finite; the first that was not is known exactly


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
    training, validation = read_corpora(config.data.train, config.data.valid, config.data.bpe)
    data = PackedUnits(training.documents, config.context)
    held_out = validation and PackedUnits(validation.documents, config.context)
    n_rows = rows_per_update(config, here)
    steps = math.ceil(config.epochs * data.n_rows / n_rows) if config.epochs else config.steps

    torch.manual_seed(config.seed)
    network, tokenizer = initial_network(config, training.tokenizer)
    model = parallelize(network.to(device), network.trunk, config.parallel, here, device)
    optimizer = make_optimizer(network, config.optimizer)
    best, divergence = Best(), Divergence(device)
    parts: dict[str, Stateful] = {"model": WholeModel(network), "optimizer": WholeOptimizer(optimizer), "best": best}
    step = saved = run.resume(parts)
    if step >= steps or best.is_past(config.patience):
        run.say(f"{run.directory} is finished ({step} steps); --force trains it again")
        return
    run.say(
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters; {training.counts}; {data.n_rows} rows "
        f"of {config.context} tokens an epoch, {n_rows} an update: {steps * n_rows / data.n_rows:.1f} epochs in all"
    )
    forward = torch.compile(model) if config.compile else model
    rate_of_units = training.units_per_second
    language_model = TransformerLanguageModel(
        network, tokenizer.quantizer, config.context, rate_of_units, bpe=tokenizer.bpe, inert=tokenizer.inert
    )
    log = Log(device)

    network.train()
    while step < steps and not best.is_past(config.patience) and not run.stopping():
        # Dropout has a seed of its own for every update and process: nothing to put back when resuming.
        torch.manual_seed(mixed_seed(config.seed, step, here.rank))
        rate = config.optimizer.lr * multiplier(config.optimizer.schedule, step, steps)
        set_learning_rate(optimizer, rate)
        batch = data.batch(step, n_rows, config.seed, here)
        nats = accumulate_gradients(model, forward, batch, config, here, device)
        norm = clip_gradients(network, config.optimizer.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        divergence.note(step, rate, nats, norm)
        log.add(nats, batch.n_targets, norm)

        log_now = run.due(step, config.log_every) or step == steps
        validate_now = held_out and (run.due(step, config.valid_every) or step == steps)
        save_now = run.due(step, config.save_every) and step < steps
        if log_now or validate_now or save_now or step % CHECK_EVERY == 0:
            divergence.check(run.directory, saved)
        if log_now:
            run.log(step, **log.take(), lr=rate)
        if held_out and validation and validate_now:
            with log.paused():
                bits = validation.bits(validate(network, held_out, config, here, device))
            run.log(step, **{f"valid_{name}": value for name, value in bits.items()})
            if best.improve(step, bits["bits_per_unit"]) and config.keep == "best":
                save(language_model, run, step=step, valid_bits_per_unit=bits["bits_per_unit"])
        if save_now:
            run.save(step, parts)
            saved = step

    divergence.check(run.directory, saved)
    finished = step == steps or best.is_past(config.patience)
    if finished and (config.keep == "last" or held_out is None):
        save(language_model, run, step=step)
    run.save(step, parts)
    if not finished:
        run.say(f"stopped at step {step} of {steps}; the same command goes on from there")
    else:
        at_best = f", best at step {best.step}: {best.value:.4f} bits per unit" if held_out else ""
        run.say(f"finished: {run.directory}{at_best}")


def accumulate_gradients(
    model: torch.nn.Module,
    forward: Logits,
    batch: Batch,
    config: TrainConfig,
    here: World,
    device: torch.device,
) -> torch.Tensor:
    """Gradients of this process's rows, a part at a time; the sum of their nats.

    They are of the mean over the targets of all processes: a sum over the global count, times the number of processes
    because gradients are divided by it when they are exchanged.
    """
    scale = here.size / batch.n_targets
    rows = len(batch.tokens)
    size = _rows_at_once(config, rows)
    nats = torch.zeros((), device=device)
    for start in range(0, rows, size):
        # Gradients are exchanged once an update, with its last part.
        is_last = start + size >= rows
        with unsynchronized(model, skip=not is_last), autocast(device, config.precision):
            loss = cross_entropy_sum(forward, batch.rows(start, start + size, device))
            (loss * scale).backward()
        nats += loss.detach()
    return nats


def clip_gradients(network: torch.nn.Module, largest: float) -> torch.Tensor:
    """Scale the whole gradient down to a norm of `largest` (0: leave it); the norm it had, over all processes."""
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), largest or math.inf)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def save(language_model: TransformerLanguageModel, run: Run, **training: float) -> None:
    """Write the model directory; every process takes part."""
    weights = whole(language_model.network.state_dict())
    if run.is_main:
        language_model.save(run.directory, weights, **training)


def rows_per_update(config: TrainConfig, here: World) -> int:
    """Rows of `context` tokens in an update, over all processes; at least one each."""
    n_rows = config.batch_tokens // config.context
    if n_rows < here.size:
        raise UserError(
            f"batch_tokens={config.batch_tokens} makes {n_rows} rows of context={config.context} tokens, too few for "
            f"{here.size} processes: raise batch_tokens to {here.size * config.context} at least"
        )
    return n_rows


def _rows_at_once(config: TrainConfig, rows: int) -> int:
    """Of `rows` on a process, those that go through the network together."""
    return max(1, config.micro_batch_tokens // config.context) if config.micro_batch_tokens else rows


def make_optimizer(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Adam or AdamW; matrices decay, norms and biases do not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.epsilon, fused=True)


def cross_entropy_sum(model: Logits, batch: Batch) -> torch.Tensor:
    """Nats over all targets of a batch."""
    logits = model(batch.tokens, batch.documents)  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=IGNORED, reduction="sum")


@torch.no_grad()
def validate(
    network: UnitTransformer, data: PackedUnits, config: TrainConfig, here: World, device: torch.device
) -> float:
    """Nats of all units of held-out utterances; like `ulm score`, without the end of the utterance."""
    network.eval()
    nats = torch.zeros((), device=device, dtype=torch.float64)
    n_rows = here.size * _rows_at_once(config, max(1, rows_per_update(config, here) // here.size))
    for batch in data.in_order(n_rows, here):
        batch.targets[batch.targets == data.documents.boundary] = IGNORED
        with autocast(device, config.precision):
            nats += cross_entropy_sum(network, batch.rows(0, len(batch.tokens), device))
    network.train()
    return float(total(nats))


class Log:
    """Means since the last line of the log, summed where they were computed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._start()

    def _start(self) -> None:
        self._nats, self._norm = torch.zeros((), device=self._device), torch.zeros((), device=self._device)
        self._targets = self._updates = 0
        self._began = time.monotonic()

    def add(self, nats: torch.Tensor, n_targets: int, norm: torch.Tensor) -> None:
        """Note an update: nats of this process, targets of all, the norm of the gradient."""
        self._nats, self._norm = self._nats + nats, self._norm + norm
        self._targets += n_targets
        self._updates += 1

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time that does not count."""
        began = time.monotonic()
        yield
        self._began += time.monotonic() - began

    def take(self) -> dict[str, float]:
        """What to log, over all processes."""
        bits = float(total(self._nats)) / self._targets / math.log(2)
        norm = float(self._norm) / self._updates
        speed = self._targets / (time.monotonic() - self._began)
        self._start()
        return {"bits_per_token": bits, "gradient_norm": norm, "tokens_per_second": speed}
