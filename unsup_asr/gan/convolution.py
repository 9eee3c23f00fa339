"""Convolutions along time as matrix products of windows, which is what they and their second derivatives are quick as.

The gradient penalty differentiates the discriminator's gradient. PyTorch's convolutions have slow second derivatives on
CPUs; those of a product of windows are products of windows again. `windows` and `overlap_add` are each other's adjoint:

    windows(x)[t] = (x[t·s], ..., x[t·s + k - 1])          (B, T, I) → (B, T', k · I)
    overlap_add(y)[t] = Σ_{t'·s + j = t} y[t', j]          (B, T', k · I) → (B, T, I)
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class TimeConvolution(nn.Module):
    """`(B, T, I)` → `(B, T', O)`, with weights laid out and initialized as `nn.Conv1d` has them.

    Args:
        inputs: I.
        outputs: O.
        kernel: frames that each output sees.
        stride: frames from one output to the next.
        padding: zeros before and after; output t sees the frames t·stride - before, and kernel - 1 more.
        bias: whether outputs have one.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, padding: tuple[int, int], bias: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.padding = stride, padding
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        bound = 1 / math.sqrt(inputs * kernel)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, I)` → `(B, T', O)`, T' = (T + before + after - kernel) // stride + 1."""
        kernel = self.weight.shape[2]
        return F.linear(
            windows(F.pad(x, (0, 0, *self.padding)), kernel, self.stride), by_window(self.weight), self.bias
        )


def by_window(weight: torch.Tensor) -> torch.Tensor:
    """Weights `(O, I, k)` of a convolution → `(O, k · I)`, which multiply a window."""
    return weight.permute(0, 2, 1).flatten(1)


def windows(x: torch.Tensor, kernel: int, stride: int = 1) -> torch.Tensor:
    """`(B, T, I)` → `(B, (T - kernel) // stride + 1, kernel · I)`; T ≥ kernel."""
    return _Windows.apply(x, kernel, stride)


def overlap_add(y: torch.Tensor, kernel: int, time: int, stride: int = 1) -> torch.Tensor:
    """`(B, T', kernel · I)` → `(B, time, I)`, the sum of what the windows have at each place."""
    return _OverlapAdd.apply(y, kernel, time, stride)


class _Windows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: int, stride: int) -> torch.Tensor:  # noqa: ANN401
        ctx.sizes = kernel, x.shape[1], stride
        batch, time, size = x.shape
        x = x.contiguous()
        # With channels last, a window is one piece of memory; windows overlap.
        view = x.as_strided(
            (batch, (time - kernel) // stride + 1, kernel * size), (time * size, stride * size, 1), x.storage_offset()
        )
        return view.contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # noqa: ANN401
        kernel, time, stride = ctx.sizes
        return overlap_add(grads[0], kernel, time, stride), None, None


class _OverlapAdd(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: torch.Tensor, kernel: int, time: int, stride: int) -> torch.Tensor:  # noqa: ANN401
        ctx.sizes = kernel, stride
        batch, count, size = y.shape
        size //= kernel
        total = y.new_zeros(batch, time, size)
        span = (count - 1) * stride + 1
        for j in range(kernel):
            total[:, j : j + span : stride] += y[..., j * size : (j + 1) * size]
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:  # noqa: ANN401
        return windows(grads[0], *ctx.sizes), None, None, None
