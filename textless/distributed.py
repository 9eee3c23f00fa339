"""One process or many: ranks from torchrun, Slurm or nothing, and the few collective operations used here.

Training uses a process group (`process_group`); verbs that turn files into files need none: each process takes its
own shards (`my_shards`), by rank or by index in a Slurm array, writes one file a shard, and skips finished ones.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from textless.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """The place of this process among its peers."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def world() -> World:
    """Rank and size as set by torchrun (`RANK`, `WORLD_SIZE`), by `srun`, or one process alone.

    A Slurm batch script that calls the program without `srun` is one process, whatever the size of its allocation.
    """
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        return World(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", "0")))
    if "SLURM_STEP_NUM_TASKS" in env and "SLURM_PROCID" in env:
        return World(int(env["SLURM_PROCID"]), int(env["SLURM_STEP_NUM_TASKS"]), int(env.get("SLURM_LOCALID", "0")))
    return World()


def file_world() -> World:
    """Like `world`, and where there is one process only, its index in a Slurm array counts as its rank."""
    here = world()
    env = os.environ
    if here.size == 1 and "SLURM_ARRAY_TASK_ID" in env and "SLURM_ARRAY_TASK_COUNT" in env:
        first, step = int(env.get("SLURM_ARRAY_TASK_MIN", "0")), int(env.get("SLURM_ARRAY_TASK_STEP", "1"))
        return World((int(env["SLURM_ARRAY_TASK_ID"]) - first) // step, int(env["SLURM_ARRAY_TASK_COUNT"]))
    return here


def my_shards(count: int) -> range:
    """Indices of the shards, of `count` in all, that this process writes."""
    here = file_world()
    return range(here.rank, count, here.size)


def shard_slice(items: Sequence[T], index: int, count: int) -> Sequence[T]:
    """Contiguous share `index` of `count`; the shares in order make the whole, and differ by one item at most."""
    return items[index * len(items) // count : (index + 1) * len(items) // count]


@contextmanager
def process_group(device: torch.device) -> Iterator[World]:
    """Join the process group of this launch (nccl on CUDA, gloo on CPU); nothing is done for a single process."""
    here = world()
    if here.size == 1 or dist.is_initialized():
        yield here
        return
    os.environ.setdefault("RANK", str(here.rank))
    os.environ.setdefault("WORLD_SIZE", str(here.size))
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        os.environ["MASTER_ADDR"] = first_host(os.environ.get("SLURM_STEP_NODELIST", "127.0.0.1"))
    if device.type == "cuda":
        torch.cuda.set_device(here.local_rank)
    # Small counts live on the CPU even where models do not, so gloo comes along with nccl.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield here
    finally:
        dist.destroy_process_group()


def first_host(nodes: str) -> str:
    """First host name of a Slurm node list: `gpu[03-05,9],cpu1` → `gpu03`."""
    match = re.match(r"([^,\[]+)(?:\[([^\],-]+))?", nodes)
    if match is None:
        raise UserError(f"cannot read the Slurm node list {nodes!r}; set MASTER_ADDR")
    return match.group(1) + (match.group(2) or "")


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over all processes (the tensor itself when alone)."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
    return values


def barrier() -> None:
    """Wait for all processes."""
    if dist.is_initialized():
        dist.barrier()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over processes, in one collective call.

    For loops with several optimizers, where DistributedDataParallel's hooks get in the way. A parameter without a
    gradient on this process takes part as zero.
    """
    if not dist.is_initialized():
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, mean in zip(trained, flat.split([g.numel() for g in gradients]), strict=True):
        parameter.grad = mean.view_as(parameter).clone()


def select_device(name: str = "auto") -> torch.device:
    """`auto` is this process's CUDA device if there is one, else the CPU; any other name is torch's own.

    Raises:
        UserError: the device is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError("device cuda was asked for, but no CUDA device is available; use --device cpu")
        if device.index is None:
            device = torch.device("cuda", world().local_rank)
    return device
