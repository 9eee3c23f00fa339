"""How the next token is drawn from the logits.

What narrows the choice comes in the order of transformers' `generate`, and does the same: repetition penalty,
temperature, top-k, top-p, min-p. The draw itself inverts the cumulative distribution at one uniform number, which is a
hash of the seed, the prompt's id, the number of the sample and the step. So a sample depends neither on the batch nor
on the device.
"""

import hashlib
import math
from dataclasses import dataclass

import torch

GOLDEN = 0x9E3779B97F4A7C15  # the increment of splitmix64 (Steele et al. 2014)
MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)  # as int64


@dataclass(frozen=True)
class Sampling:
    """How the next unit is drawn, and how many are.

    Attributes:
        max_units: of a continuation.
        temperature: divides the logits; 0 takes the most probable unit.
        top_k: only the so many most probable; 0: all.
        top_p: only the most probable that together have this share of what top_k left (Holtzman et al. 2020); 1: all.
        seed: of all draws.
        min_p: only what has this share of the probability of the most probable (Nguyen et al. 2024); 0: all.
        repetition_penalty: what prompt or continuation holds already becomes less probable: its logit is divided by
            this where positive, multiplied where negative (Keskar et al. 2019, as transformers does it); 1: no penalty.
    """

    max_units: int = 250
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.max_units < 1 or self.temperature < 0 or self.top_k < 0:
            raise ValueError(f"max_units ≥ 1, temperature ≥ 0 and top_k ≥ 0 are needed, not {self}")
        if not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1 or not 0 < self.repetition_penalty < math.inf:
            raise ValueError(f"0 < top_p ≤ 1, 0 ≤ min_p ≤ 1 and repetition_penalty > 0 are needed, not {self}")


def choose(logits: torch.Tensor, streams: torch.Tensor, step: int, sampling: Sampling) -> torch.Tensor:
    """Draw a token `(B,)` for every row of `logits` `(B, V)`."""
    logits = logits.double()
    if sampling.temperature == 0:
        return logits.argmax(-1)
    cumulative = truncate(logits / sampling.temperature, sampling).softmax(-1).cumsum(-1)
    # The first token whose cumulative probability is above the number: never one of probability 0.
    target = uniform(streams, step)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def penalize(logits: torch.Tensor, seen: torch.Tensor, penalty: float) -> torch.Tensor:
    """`(B, V)` logits, those of the tokens seen `(B, V)` lowered by the repetition penalty."""
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def truncate(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """`(B, V)` logits with −∞ for all tokens outside of top-k, top-p and min-p."""
    if 0 < sampling.top_k < logits.shape[-1]:
        lowest = logits.topk(sampling.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < lowest, -torch.inf)
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        shares = ordered.softmax(-1)
        reached = shares.cumsum(-1) - shares >= sampling.top_p  # by what comes before
        logits = torch.full_like(logits, -torch.inf).scatter(-1, order, ordered.masked_fill(reached, -torch.inf))
    if sampling.min_p > 0:
        logits = logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(sampling.min_p), -torch.inf)
    return logits


def stream_key(seed: int, prompt_id: str, number: int) -> int:
    """64 bits for sample `number` of a prompt."""
    digest = hashlib.sha256(f"{seed}\0{prompt_id}\0{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def uniform(streams: torch.Tensor, step: int) -> torch.Tensor:
    """A number in (0, 1) of each stream `(B,)` at a step: the upper half of splitmix64 of a counter, float64."""
    x = streams + ((step * GOLDEN + 2**63) % 2**64 - 2**63)  # int64 sums and products wrap around
    for shift, multiplier in zip((30, 27), MULTIPLIERS, strict=True):
        x = (x ^ _shift_right(x, shift)) * multiplier
    x = x ^ _shift_right(x, 31)
    return (_shift_right(x, 32).double() + 0.5) * 2.0**-32


def _shift_right(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift; torch's is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
