"""Where a token stands in its utterance: as rotations of queries and keys, or as a vector added to its embedding."""

import math

import torch

SINUSOIDAL_BASE = 10_000.0
FIRST_SINUSOID = 2  # fairseq counts from the padding index, 1, plus one


def document_positions(documents: torch.Tensor) -> torch.Tensor:
    """`(B, T)` numbers of packed documents → `(B, T)` positions, from 0 in each document."""
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values


def rotary(positions: torch.Tensor, head_dim: int, base: float) -> torch.Tensor:
    """Cosines and sines `(2, ..., D/2)` of the angles by which positions `(...)` turn each pair of coordinates.

    Su et al. 2021, "RoFormer". Frequencies are computed as Llama's are, so that angles agree to the bit.
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions[..., None].float() * (1.0 / base**exponents)  # (..., D/2)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (i, i + D/2) of `x` `(B, H, T, D)`; `turns` is `(2, T, D/2)` or `(2, B, T, D/2)`."""
    cos, sin = (turns if turns.dim() == 3 else turns[:, :, None]).to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def sinusoidal(positions: torch.Tensor, dim: int) -> torch.Tensor:
    """`(..., D)`: sines, then cosines, of positions `(...)` counted from 2, as fairseq's language models have them.

    Frequencies are those of tensor2tensor, 10000^(−i / (D/2 − 1)), computed in the same steps: far into an utterance
    the rounding of a frequency is seen in the sine.
    """
    step = math.log(SINUSOIDAL_BASE) / max(dim // 2 - 1, 1)
    frequencies = torch.exp(torch.arange(dim // 2, device=positions.device, dtype=torch.float32) * -step)
    angles = (positions + FIRST_SINUSOID)[..., None].float() * frequencies  # (..., D/2)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
