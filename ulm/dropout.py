"""What is forgotten on purpose in training: units of the input, and elements of hidden vectors."""

import torch
from torch.nn import functional as F


def replace_units(tokens: torch.Tensor, share: float, boundary: int) -> torch.Tensor:
    """`tokens` `(B, T)` with a share of the units replaced by random ones; boundaries stay.

    Noise in what is read smooths a neural LM as lower orders smooth an n-gram model (Xie et al. 2017, "Data noising as
    smoothing in neural network language models"): no single n-gram can be relied on, so wider contexts get used.
    """
    if share == 0.0:
        return tokens
    replaced = (torch.rand(tokens.shape, device=tokens.device) < share) & (tokens != boundary)
    return torch.where(replaced, torch.randint_like(tokens, boundary), tokens)


def dropout(x: torch.Tensor, p: float, training: bool) -> torch.Tensor:  # noqa: FBT001
    """`F.dropout`, with one random byte an element on CPUs, where a random float an element costs eight times more.

    The share dropped is rounded to 1/256, and the kept elements are scaled by exactly what that leaves. torch.compile,
    which cannot follow that, makes random numbers of its own.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(x, p)
    dropped = round(p * 256)
    random = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    keep = random.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * (keep.to(x.dtype) * (256 / (256 - dropped)))
