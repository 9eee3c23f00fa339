"""The convolutional front end of wav2vec 2.0 and its descendants, as matrix products.

A convolution with kernel k and stride s over a channels-last sequence x `(T, C)` is a sum of matrix products, and needs
no copy: the rows of x taken s at a time, `(T/s, s·C)`, are a view, and so is every s-th row of x from row j on. With
k = q·s + r, tap group g < q multiplies the first kind of view shifted by g, each of the r last taps the second kind.

Batching is done in time: utterances lie one after the other in one long sequence, each beginning on a multiple of the
total stride, so that its frame t starts at the same sample as if it were alone. A frame that looks across a border
comes after the last valid one of its utterance and is dropped.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from textless.audio.batches import mask

BLOCK_SAMPLES = 16_000 * 4  # of waveform taken at a time when nothing is trained: the activations stay in the cache


def strided_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, stride: int = 1
) -> torch.Tensor:
    """`F.conv1d` without padding, channels last: x `(T, C)`, weight `(D, C, k)` → `((T − k) // s + 1, D)`."""
    dim, channels, kernel = weight.shape
    frames = (len(x) - kernel) // stride + 1
    groups, rest = divmod(kernel, stride)
    taps = weight.permute(0, 2, 1)  # (D, k, C)
    result: torch.Tensor | None = None

    def add(rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        if result is not None:
            return torch.addmm(result, rows, matrix)
        return rows @ matrix if bias is None else torch.addmm(bias, rows, matrix)

    for group in range(groups):
        start = group * stride
        rows = x[start : start + frames * stride].view(frames, stride * channels)
        result = add(rows, taps[:, start : start + stride].reshape(dim, stride * channels).T)
    for tap in range(kernel - rest, kernel):
        result = add(x[tap::stride][:frames], taps[:, tap].T)
    assert result is not None
    return result


class ConvolutionalFrontEnd(nn.Module):
    """Waveform to features: convolutions without padding, each followed by a norm (some) and GELU.

    `norm="group"` (HuBERT base): the output of the first layer is normalised over each utterance's time, channel by
    channel. `norm="layer"` (large models): every layer's output over its channels.
    """

    def __init__(self, layers: Sequence[tuple[int, int, int]], norm: str, *, bias: bool) -> None:
        """Build it; `layers` gives channels, kernel and stride of each."""
        super().__init__()
        self.strides = [stride for _, _, stride in layers]
        self.kernels = [kernel for _, kernel, _ in layers]
        self.norm = norm
        sizes = [1, *(channels for channels, _, _ in layers)]
        self.convs = nn.ModuleList(
            nn.Conv1d(a, b, kernel, stride, bias=bias) for a, (b, kernel, stride) in zip(sizes, layers, strict=False)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(b) for b in (sizes[1:] if norm == "layer" else sizes[1:2]))
        for index in range(len(layers)):
            weight = self._layer(index)[0]
            nn.init.kaiming_normal_(weight)
            # Taps lie together in memory, as the products want them; the shape stays that of a convolution.
            weight.data = weight.data.mT.contiguous().mT

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    @property
    def receptive_field(self) -> int:
        """Samples that a frame looks at; shorter waveforms have no frame."""
        field = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            field = (field - 1) * stride + kernel
        return field

    def frames(self, lengths: torch.Tensor) -> torch.Tensor:
        """Frame counts of waveforms of so many samples."""
        return ((lengths - self.receptive_field) // self.hop + 1).clamp_min(0)

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, C)`, frame counts `(B,)`; T is the longest's."""
        frames = self.frames(lengths)
        n_frames = int(frames.max())
        weights, biases = self._first_layer(waveforms, lengths)
        per_block = n_frames if torch.is_grad_enabled() else BLOCK_SAMPLES // self.hop
        blocks = []
        for start in range(0, n_frames, per_block):
            count = min(per_block, n_frames - start)
            end = (start + count - 1) * self.hop + self.receptive_field
            blocks.append(self._convolve(waveforms[:, start * self.hop : end], count, weights, biases))
        return torch.cat(blocks, dim=1) if len(blocks) > 1 else blocks[0], frames

    def _convolve(self, samples: torch.Tensor, count: int, weights: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
        """Samples `(B, S)`, first layer `(B, k, C)`, `(B, 1, C)` → the first `count` frames `(B, count, C)`."""
        batch, kernel, stride = len(samples), self.kernels[0], self.strides[0]
        if batch == 1:
            x = torch.addmm(biases[0], samples[0].unfold(-1, kernel, stride), weights[0])
        else:
            rows = -(-samples.shape[1] // self.hop) * self.hop // stride
            samples = F.pad(samples, (0, (rows - 1) * stride + kernel - samples.shape[1]))
            x = torch.baddbmm(biases, samples.unfold(-1, kernel, stride), weights).flatten(0, 1)  # (B · rows, C)
        x = self._activate(x, 0)
        for layer in range(1, len(self.convs)):
            x = self._activate(strided_convolution(x, *self._layer(layer), self.strides[layer]), layer)
        if batch > 1:
            laid = rows * stride // self.hop  # frames from the beginning of one utterance to that of the next
            return F.pad(x, (0, 0, 0, batch * laid - len(x))).unflatten(0, (batch, laid))[:, :count]
        return x[None, :count]

    def _layer(self, index: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        conv = self.convs[index]
        assert isinstance(conv, nn.Conv1d)
        return conv.weight, conv.bias

    def _activate(self, x: torch.Tensor, layer: int) -> torch.Tensor:
        if self.norm == "layer":
            x = self.norms[layer](x)
        elif layer == 0:
            x = x.to(self._layer(len(self.convs) - 1)[0].dtype)
        return F.gelu(x)

    def _first_layer(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights `(B, k, C)` and biases `(B, 1, C)` of the first layer, group norm included, in float32.

        The layer is linear, so mean and variance of its output over time follow from mean m `(k,)` and covariance V
        `(k, k)` of the windows it looks at: w·m + b and wᵀVw. Taken in float64 over the whole utterance, they make the
        norm independent of padding and of the blocks that the rest is computed in, and it costs no pass of its own.
        """
        kernel, stride = self.kernels[0], self.strides[0]
        weight, bias = self._layer(0)
        weight = weight[:, 0].double()  # (C, k)
        offset = weight.new_zeros(len(weight)) if bias is None else bias.double()
        if self.norm != "group":
            return weight.T.float().expand(len(lengths), -1, -1), offset.float().expand(len(lengths), 1, -1)
        norm = self.norms[0]
        assert isinstance(norm, nn.LayerNorm)
        counts = (lengths - kernel) // stride + 1
        windows = waveforms.double().unfold(-1, kernel, stride)
        windows = windows * mask(counts, windows.shape[1])[..., None]  # (B, T, k)
        mean = windows.sum(dim=1) / counts[:, None]
        covariance = windows.mT @ windows / counts[:, None, None] - mean[:, :, None] * mean[:, None, :]
        variance = torch.einsum("ck,bkl,cl->bc", weight, covariance, weight).clamp_min(0)
        scale = norm.weight.double() / (variance + norm.eps).sqrt()  # (B, C)
        shift = norm.bias.double() - (mean @ weight.T) * scale  # the layer's own bias cancels
        return (weight.T * scale[:, None, :]).float(), shift[:, None, :].float()
