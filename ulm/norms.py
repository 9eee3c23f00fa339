"""Norms over the elements of a vector."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ulm.config import ModelConfig


def make_norm(config: ModelConfig) -> nn.Module:
    """A norm over D; only layer norms have biases, and only where everything has."""
    if config.norm == "rms":
        return RMSNorm(config.dim, config.norm_epsilon)
    return nn.LayerNorm(config.dim, config.norm_epsilon, bias=config.bias == "all")


class RMSNorm(nn.RMSNorm):
    """x / √(mean x² + ε), times a gain (Zhang & Sennrich 2019).

    PyTorch has a kernel for it on GPUs only; on CPUs it composes ten operations. Forward and backward of 2048 vectors
    of 256 take 5.4 ms so, and 1.3 to 2.3 ms as here, on one core.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(..., D)` → `(..., D)`."""
        assert self.eps is not None
        if x.device.type != "cpu":
            return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)
        return _RMSNorm.apply(x, self.weight, self.eps)


class _RMSNorm(torch.autograd.Function):
    """With n = x / r and y = w n: ∂x = (w ∂y − n mean(n w ∂y)) / r."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, gain: torch.Tensor, epsilon: float) -> torch.Tensor:  # noqa: ANN401
        exact = torch.promote_types(x.dtype, torch.float32)
        squares = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact).square_()
        inverse = squares.div_(x.shape[-1]).add_(epsilon).rsqrt_().to(x.dtype)
        normed = x * inverse
        ctx.save_for_backward(normed, inverse, gain)
        return normed * gain

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:  # noqa: ANN401
        normed, inverse, gain = ctx.saved_tensors
        products = gradient * normed
        mean = (products @ gain)[..., None] / normed.shape[-1]
        return (gradient * gain).sub_(normed * mean).mul_(inverse), products.flatten(0, -2).sum(0), None
