"""One model on many processes: a copy on each (DistributedDataParallel), or a part on each (fully_shard).

Checkpoints hold whole tensors in either case, so that they do not depend on how many processes wrote them.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils._pytree import tree_map_only

from textless.distributed import World

Parallel = Literal["ddp", "fully_shard"]


def parallelize(
    model: nn.Module, blocks: Iterable[nn.Module], kind: Parallel, here: World, device: torch.device
) -> nn.Module:
    """What to call instead of `model` in training; alone, `model` itself.

    `fully_shard` (Zhao et al. 2023, "PyTorch FSDP") replaces the parameters of `model`: make the optimizer after it.

    Args:
        model: on the device of this process.
        blocks: parts of it that are gathered one at a time.
        kind: how to divide the work.
        here: this process.
        device: its device.
    """
    if here.size == 1:
        return model
    match kind:
        case "ddp":
            return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)
        case "fully_shard":
            mesh = init_device_mesh(device.type, (here.size,))
            for block in blocks:
                fully_shard(block, mesh=mesh)
            fully_shard(model, mesh=mesh)
            return model


def unsynchronized(model: nn.Module, *, skip: bool) -> AbstractContextManager[None]:
    """With `skip`, gradients of this backward pass stay here, to be exchanged with those of a later one."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(not skip)
    return model.no_sync() if skip and isinstance(model, DistributedDataParallel) else nullcontext()


def whole(value: Any) -> Any:  # noqa: ANN401
    """`value` with the parts of tensors gathered, on the CPU; every process has to take part."""
    return tree_map_only(DTensor, lambda tensor: tensor.full_tensor().cpu(), value)


class WholeModel:
    """State of a model that may be in parts; taking it needs every process."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors."""
        return whole(self._model.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Each process takes its part."""
        own = self._model.state_dict()
        self._model.load_state_dict({name: _part(value, own[name]) for name, value in state_dict.items()})


class WholeOptimizer:
    """State of an optimizer whose parameters may be in parts; taking it needs every process."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer

    def state_dict(self) -> dict[str, Any]:
        """Whole tensors."""
        return whole(self._optimizer.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Each process takes its part."""
        self._optimizer.load_state_dict(state_dict)
        for parameter, state in self._optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    state[name] = _part(value, parameter)


def _part(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The part of a whole tensor that this process holds of `like`."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
