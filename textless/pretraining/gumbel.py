"""A product quantizer that chooses its entries by Gumbel softmax (Jang et al. 2017; Baevski et al. 2020, section 2).

Each of G groups has V entries, and a frame takes one entry from every group. Training adds Gumbel noise to the logits
and takes the best entry; backwards, the choice counts as the softmax at a temperature that falls during training
(straight-through). Evaluation takes the best entry without noise.
"""

from dataclasses import dataclass

import torch
from torch import nn

EPSILON = 1e-7  # inside logarithms: an entry that nobody uses has probability 0


@dataclass(frozen=True)
class Quantized:
    """Frames after quantization."""

    vectors: torch.Tensor  # (M, C): the entries of all groups side by side
    codes: torch.Tensor  # (M, G): which entries they are
    logits: torch.Tensor  # (M, G, V), without noise, float32

    def code_perplexity(self) -> torch.Tensor:
        """Entries in use `(G,)`: exp of the entropy of how often each is the best one."""
        best = self.logits.argmax(dim=-1)
        usage = nn.functional.one_hot(best, self.logits.shape[-1]).float().mean(dim=0)
        return perplexity(usage)

    def prob_perplexity(self) -> torch.Tensor:
        """The same `(G,)` for the mean of the softmax, without noise or temperature: it has a gradient."""
        return perplexity(self.logits.softmax(dim=-1).mean(dim=0))


class GumbelQuantizer(nn.Module):
    """Frames to one of Vᴳ combinations of entries; logits start as broad as fairseq's, entries uniform in 0..1."""

    def __init__(self, input_dim: int, groups: int, entries: int, code_dim: int) -> None:
        super().__init__()
        if code_dim % groups:
            raise ValueError(f"{groups} groups cannot share {code_dim} dimensions evenly")
        self.score = nn.Linear(input_dim, groups * entries)
        self.codebook = nn.Parameter(torch.rand(groups, entries, code_dim // groups))
        nn.init.normal_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, x: torch.Tensor, temperature: float, generator: torch.Generator) -> Quantized:
        """Frames `(M, D)` → quantized; `generator` (on the CPU) gives the noise, in training only."""
        groups, entries, _ = self.codebook.shape
        logits = self.score(x).float().unflatten(-1, (groups, entries))
        if self.training:
            uniform = torch.rand(logits.shape, generator=generator).clamp_min(torch.finfo(torch.float32).tiny)
            soft = ((logits - (-uniform.log()).log().to(x.device)) / temperature).softmax(dim=-1)
            codes = soft.argmax(dim=-1)
            hard = nn.functional.one_hot(codes, entries).float()
            chosen = hard + (soft - soft.detach())
        else:
            codes = logits.argmax(dim=-1)
            chosen = nn.functional.one_hot(codes, entries).float()
        vectors = torch.einsum("mgv,gvc->mgc", chosen, self.codebook).flatten(1)
        return Quantized(vectors, codes, logits)


def perplexity(probabilities: torch.Tensor) -> torch.Tensor:
    """exp(−Σ p log p) over the last dimension: 1 if one entry has it all, V if all have the same."""
    return (-(probabilities * (probabilities + EPSILON).log()).sum(dim=-1)).exp()
