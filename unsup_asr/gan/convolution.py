"""A convolution along time as one matrix product, which is what its second derivatives are quick as.

The gradient penalty differentiates the discriminator's gradient. PyTorch's convolutions have slow second derivatives on
CPUs; those of a product of shifted copies are products again.
"""

import math

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
        padded = F.pad(x, (0, 0, *self.padding))
        count = (padded.shape[1] - kernel) // self.stride + 1
        span = (count - 1) * self.stride + 1
        shifted = [padded[:, k : k + span : self.stride] for k in range(kernel)]
        columns = torch.cat(shifted, dim=2)  # (B, T', kernel · I)
        return F.linear(columns, self.weight.permute(0, 2, 1).flatten(1), self.bias)
