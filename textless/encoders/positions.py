"""How the Transformer of a speech encoder learns where a frame is.

Each kind of published model has its own: a wide grouped convolution whose output is added to the frames (wav2vec 2.0,
HuBERT), a stack of narrow ones (data2vec), a gated bias on attention by relative position on top of the convolution
(WavLM), and for small models trained here a fixed linear bias (ALiBi; Press et al. 2022) with half of the heads looking
each way.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class ConvolutionalPosition(nn.Module):
    """Σ over 128 frames around each, in 16 groups of channels, then GELU: what wav2vec 2.0 adds to its frames.

    An even kernel sees one frame more to the left than to the right. With `batch_norm` (mHuBERT-147) the frames are
    normalised by running statistics first.
    """

    def __init__(self, dim: int, kernel: int, groups: int, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, groups=groups)
        self.norm = nn.BatchNorm1d(dim) if batch_norm else None
        nn.init.normal_(self.conv.weight, std=math.sqrt(4 / (kernel * dim)))
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Frames `(B, T, D)`, zero where `valid` `(B, T, 1)` is not → what is added to them."""
        kernel = self.conv.kernel_size[0]
        x = x.to(self.conv.weight.dtype).mT
        if self.norm is not None:
            x = self.norm(x) * valid.mT
        x = self.conv(F.pad(x, (kernel // 2, kernel - 1 - kernel // 2)))
        return F.gelu(x).mT


class ConvolutionalPositionStack(nn.Module):
    """Several grouped convolutions, each followed by a layer norm without weights and GELU (data2vec)."""

    def __init__(self, dim: int, kernel: int, groups: int, depth: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups) for _ in range(depth)
        )

    def forward(self, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Frames `(B, T, D)`, zero where `valid` `(B, T, 1)` is not → what is added to them."""
        n_frames = x.shape[1]
        for conv in self.convs:
            assert isinstance(conv, nn.Conv1d)
            x = conv(x.to(conv.weight.dtype).mT)[..., :n_frames].mT
            x = F.gelu(F.layer_norm(x, x.shape[-1:])) * valid
        return x


class RelativeBuckets(nn.Module):
    """A learned bias `(H, T, T)` by relative position, in buckets that widen with distance (T5)."""

    def __init__(self, heads: int, buckets: int, max_distance: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(buckets, heads)
        self.buckets = buckets
        self.max_distance = max_distance

    def forward(self, n_frames: int) -> torch.Tensor:
        """Bias of every head for every pair of frames."""
        steps = torch.arange(n_frames, device=self.embedding.weight.device)
        offset = steps[None, :] - steps[:, None]  # key - query
        half = self.buckets // 2
        exact = half // 2  # offsets below have a bucket each
        distance = offset.abs()
        scaled = torch.log(distance.float().clamp_min(1) / exact) / math.log(self.max_distance / exact)
        far = (exact + (scaled * (half - exact)).long()).clamp_max(half - 1)
        bucket = torch.where(distance < exact, distance, far) + half * (offset > 0)
        return self.embedding(bucket).permute(2, 0, 1)  # (T, T, H) -> (H, T, T)


class PositionGate(nn.Module):
    """WavLM's gate: how strongly each query frame of each head heeds the relative bias (Chen et al. 2022, eq. 4-6)."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(head_dim, 8)
        self.constant = nn.Parameter(torch.ones(heads))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Frames by head `(B, H, T, D / H)` → gate `(B, H, T, 1)`."""
        projected = self.project(x.to(self.project.weight.dtype)).float()
        update, reset = torch.sigmoid(projected.unflatten(-1, (2, 4)).sum(-1)).chunk(2, dim=-1)
        return update * (reset * self.constant[:, None, None] - 1) + 2


def linear_biases(heads: int, n_frames: int, device: torch.device) -> torch.Tensor:
    """Fixed bias `(H, T, T)`: minus distance × a slope per head; even heads see only backwards, odd ones only forwards.

    Slopes fall geometrically from ½ to 1/256 over the heads of a direction. A frame always sees itself.
    """
    steps = torch.arange(n_frames, device=device)
    offset = (steps[None, :] - steps[:, None]).float()  # key - query
    pairs = (heads + 1) // 2
    exponents = torch.linspace(1, 8, pairs, device=device) if pairs > 1 else torch.full((1,), 4.0, device=device)
    slopes = (2.0**-exponents).repeat_interleave(2)[:heads, None, None]
    bias = -slopes * offset.abs()
    backwards = torch.arange(heads, device=device)[:, None, None] % 2 == 0
    return bias.masked_fill(torch.where(backwards, offset > 0, offset < 0), -math.inf)
