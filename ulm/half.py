"""A network whose matrix products run in bfloat16, for scoring and generation.

What is added up along the layers, the norms and the output layer stay in float32, so that the error is that of the
products alone. The weights are converted once, not at every step, and take half the memory.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from ulm.model import UnitTransformer


class HalfLinear(nn.Module):
    """A linear layer with bfloat16 weights and results."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.detach().bfloat16())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().bfloat16())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(..., D)` → `(..., E)`."""
        return F.linear(x.bfloat16(), self.weight, self.bias)


def halved(network: UnitTransformer) -> UnitTransformer:
    """A copy with the linear layers of its trunk in bfloat16; the rest is shared with the original."""
    trunk = copy.deepcopy(network.trunk)
    for parent in list(trunk.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, HalfLinear(child))
    half = copy.copy(network)
    half._modules = {**network._modules, "trunk": trunk}  # noqa: SLF001
    return half.eval()
