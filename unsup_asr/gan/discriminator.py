"""The discriminator: is this a sentence of phones? Causal convolutions over distributions; one score a sentence.

It is wav2vec-U's, with its parameters, computed with a sixth of the operations:

- Between the first two convolutions there is no nonlinearity. They are one convolution of V channels with 2k - 1 taps,
  whose weights W = Σ W₂W₁ cost little beside what they save: k·dim + k·V inputs become (2k - 1)·V. (The bias of the
  first, which zero padding cuts off, becomes one bias for each of the first places.)
- The mean over time of the last convolution is a sum over places with weights that differ at the end only: those of
  place s are the sum of the taps that reach a place that counts.
- The gradient with respect to the input, which the penalty needs, is written down (`slope`) instead of being taken by
  automatic differentiation, so that one differentiation is left to do. What comes before the first nonlinearity
  (`drive`) is linear: that of a point between text and speech lies between theirs, and is not computed again.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from unsup_asr.gan.config import DiscriminatorConfig
from unsup_asr.gan.convolution import TimeConvolution, by_window, overlap_add, windows


class Discriminator(nn.Module):
    """Distributions over V phones → a logit: above 0 for what was generated, below for what is text."""

    def __init__(self, config: DiscriminatorConfig, n_phones: int) -> None:
        super().__init__()
        self.kernel = config.kernel
        causal = (config.kernel - 1, 0)
        self.first = TimeConvolution(n_phones, config.dim, config.kernel, padding=causal)
        self.hidden = nn.ModuleList(
            TimeConvolution(config.dim, config.dim, config.kernel, padding=causal) for _ in range(config.hidden_layers)
        )
        self.last = TimeConvolution(config.dim, 1, config.kernel, padding=causal)

    def forward(self, phones: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """`(B, T, V)` → the mean `(B,)` of its logits over the first `lengths` `(B,)` places (None: over all)."""
        return self.score(self.drive(phones), lengths)

    def drive(self, phones: torch.Tensor) -> torch.Tensor:
        """`(B, T, V)` → `(B, T, dim)`, what the first GELU gets."""
        weight, bias = self._joint()
        time, before = phones.shape[1], 2 * self.kernel - 2
        place = torch.arange(time, device=phones.device).clamp(max=self.kernel - 1)
        return F.linear(windows(F.pad(phones, (0, 0, before, 0)), before + 1), weight) + bias[place]

    def score(self, drive: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """`(B, T, dim)` → the mean `(B,)` of the logits over the first `lengths` `(B,)` places (None: over all)."""
        x = F.gelu(drive)
        for layer in self._hidden[1:]:
            x = F.gelu(layer(x))
        reach = self._reach()  # (k, dim)
        if lengths is None:
            lengths = torch.full((len(drive),), drive.shape[1], device=drive.device)
        left = lengths[:, None] - 1 - torch.arange(drive.shape[1], device=drive.device)  # (B, T) places that follow
        weighted = F.linear(x, reach).gather(2, left.clamp(0, self.kernel - 1)[..., None])[..., 0]
        assert self.last.bias is not None
        return (weighted * (left >= 0)).sum(1) / lengths.clamp(min=1) + self.last.bias * (lengths > 0)

    def slope(self, drive: torch.Tensor) -> torch.Tensor:
        """The gradient `(B, T, V)` of each score over all T places with respect to the phones behind `(B, T, dim)`.

        With u the drive and r_s the weights of place s, of one hidden layer: Σ_t W_tᵀ (gelu'(u) · r / T).
        """
        time = drive.shape[1]
        inputs = [drive]
        deeper = self._hidden[1:]
        for layer in deeper:
            inputs.append(layer(F.gelu(inputs[-1])))
        left = torch.arange(time - 1, -1, -1, device=drive.device).clamp(max=self.kernel - 1)
        back = gelu_slope(inputs.pop()) * (self._reach()[left] / time)
        for layer in reversed(deeper):
            back = _transposed(back, by_window(layer.weight), self.kernel) * gelu_slope(inputs.pop())
        return _transposed(back, self._joint()[0], 2 * self.kernel - 1)

    @property
    def _hidden(self) -> list[TimeConvolution]:
        return [layer for layer in self.hidden if isinstance(layer, TimeConvolution)]

    def _joint(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The first two convolutions as one: weights `(dim, (2k - 1) · V)`, biases `(k, dim)` of the first places."""
        first, second = self.first, self._hidden[0]
        assert first.bias is not None
        assert second.bias is not None
        k, dim = self.kernel, len(second.weight)
        products = second.weight.permute(2, 0, 1).reshape(k * dim, -1) @ by_window(first.weight)  # (k · dim, k · V)
        shifted = products.view(k, dim, -1).transpose(0, 1)  # (dim, k, k · V): taps a and b, which meet at a + b
        weight = overlap_add(shifted.reshape(dim, k, -1), k, 2 * k - 1)  # (dim, 2k - 1, V)
        carried = torch.einsum("oik,i->ko", second.weight, first.bias)
        # At place t the taps k - 1 - t and later see what is no padding.
        return weight.flatten(1), second.bias + carried.flip(0).cumsum(0)

    def _reach(self) -> torch.Tensor:
        """`(k, dim)`: the weight in the sum of all logits of a place that m places follow, m = 0 ... k - 1 and more."""
        return self.last.weight[0].T.flip(0).cumsum(0)


def _transposed(back: torch.Tensor, weight: torch.Tensor, kernel: int) -> torch.Tensor:
    """The adjoint of a causal convolution with weights `(O, k · I)`: `(B, T, O)` → `(B, T, I)`."""
    time = back.shape[1]
    return overlap_add(back @ weight, kernel, time + kernel - 1)[:, kernel - 1 :]


def gelu_slope(x: torch.Tensor) -> torch.Tensor:
    """gelu'(x) = Φ(x) + x φ(x), itself differentiable once."""
    return _GeluSlope.apply(x)


class _GeluSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: torch.Tensor) -> torch.Tensor:
        density = x.square().mul_(-0.5).exp_().mul_(1 / math.sqrt(2 * math.pi))
        ctx.save_for_backward(x, density)
        return (x * math.sqrt(0.5)).erf_().add_(1).mul_(0.5).addcmul_(x, density)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *grads: torch.Tensor) -> torch.Tensor:
        x, density = ctx.saved_tensors  # type: ignore[attr-defined]
        return grads[0] * density * (2 - x.square())  # φ (2 - x²)
