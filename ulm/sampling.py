"""Continuations of unit sequences, sampled many at a time with a key-value cache.

The randomness of a sample is a hash of the seed, the prompt's id, the number of the sample, the step and the token
(Gumbel-max: the token whose logit plus Gumbel noise is largest is a sample of the softmax). It depends neither on the
batch nor on the device.

A row that reaches the context goes on from its last half context, as the windows of scoring do.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ulm.model import Cache, UnitTransformer

GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # the increment and multipliers of splitmix64 (Steele et al. 2014), as int64
MULTIPLIERS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


@dataclass(frozen=True)
class Sampling:
    """How the next unit is drawn.

    Attributes:
        max_units: of a continuation.
        temperature: divides the logits; 0 takes the most probable unit.
        top_k: only the so many most probable; 0: all.
        top_p: only the most probable that together have this share (Holtzman et al. 2020); 1: all.
        seed: of all noise.
    """

    max_units: int = 250
    temperature: float = 0.7
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_units < 1 or self.temperature < 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ValueError(f"max_units ≥ 1, temperature ≥ 0, top_k ≥ 0 and 0 < top_p ≤ 1 are needed, not {self}")


@torch.inference_mode()
def sample(
    model: UnitTransformer,
    boundary: int,
    context: int,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[int],
    sampling: Sampling,
) -> list[list[int]]:
    """One continuation of every prompt, up to the end of the utterance or `max_units`.

    Args:
        model: read in float32, without dropout.
        boundary: the token that begins and ends an utterance.
        context: longest window, in tokens.
        prompts: units of each row; equal prompts are read once. An empty one is continued by at least one unit.
        keys: 64 bits of randomness for each row, see `stream_key`.
        sampling: how to draw, and how much.
    """
    model.eval()
    device = model.embedding.weight.device
    histories = [[boundary, *prompt] for prompt in prompts]
    capacity = min(context, max(map(len, histories)) + sampling.max_units) + 1  # one more: see _next_logits
    distinct = {tuple(history): place for place, history in enumerate(dict.fromkeys(map(tuple, histories)))}
    cache, logits = _read(model, [_window(history, context) for history in distinct], capacity)
    origin = torch.tensor([distinct[tuple(history)] for history in histories], device=device)
    cache, logits = cache.select(origin), logits[origin]

    streams = torch.tensor(keys, dtype=torch.int64, device=device)
    continuations: list[list[int]] = [[] for _ in prompts]
    rows, ended = list(range(len(prompts))), [False] * len(prompts)
    for step in range(sampling.max_units):
        if step == 0:
            logits[[not prompt for prompt in prompts], boundary] = -torch.inf
        tokens = choose(logits, streams, step, sampling).tolist()
        for row, token in zip(rows, tokens, strict=True):
            ended[row] |= token == boundary
            histories[row].append(token)
            if not ended[row]:
                continuations[row].append(token)
        running = [place for place, row in enumerate(rows) if not ended[row]]
        if not running or step == sampling.max_units - 1:
            break
        if len(running) <= len(rows) // 2:  # ended rows are carried along until they are half of the batch
            places = torch.tensor(running, device=device)
            cache, streams = cache.select(places), streams[places]
            rows, tokens = [rows[place] for place in running], [tokens[place] for place in running]
        logits = _next_logits(model, cache, tokens, [histories[row] for row in rows], context)
    return continuations


def _next_logits(
    model: UnitTransformer, cache: Cache, tokens: list[int], histories: list[list[int]], context: int
) -> torch.Tensor:
    """Logits `(B, K + 1)` after one more token in every row.

    A row whose window was full takes the token in a spare place, for nothing; its last half is then read again.
    """
    device = cache.lengths.device
    full = torch.nonzero(cache.lengths == context)[:, 0]
    ones = torch.ones(len(tokens), dtype=torch.long, device=device)
    logits = model.read(torch.tensor(tokens, device=device)[:, None], ones, cache)
    if len(full):
        kept = context - context // 2 + 1
        again, logits[full] = _read(model, [histories[row][-kept:] for row in full.tolist()], cache.keys.shape[3])
        cache.put(full, again)
    return logits


def _window(history: Sequence[int], context: int) -> Sequence[int]:
    """The part of a prompt, boundary included, that scoring would see when predicting what follows."""
    stride = context // 2
    skipped = -(-max(0, len(history) - context) // stride)
    return history[skipped * stride :]


def _read(model: UnitTransformer, windows: Sequence[Sequence[int]], capacity: int) -> tuple[Cache, torch.Tensor]:
    """Read one window a row into a new cache; logits `(B, K + 1)` of what follows."""
    device = model.embedding.weight.device
    lengths = torch.tensor([len(window) for window in windows], device=device)
    tokens = torch.zeros(len(windows), int(lengths.max()), dtype=torch.long, device=device)
    for row, window in enumerate(windows):
        tokens[row, : len(window)] = torch.tensor(window, device=device)
    cache = Cache.empty(model, len(windows), capacity)
    return cache, model.read(tokens, lengths, cache)


def choose(logits: torch.Tensor, streams: torch.Tensor, step: int, sampling: Sampling) -> torch.Tensor:
    """Draw a token `(B,)` for every row of `logits` `(B, K + 1)`."""
    logits = logits.double()
    if sampling.temperature == 0:
        return logits.argmax(-1)
    logits = truncate(logits / sampling.temperature, sampling)
    return (logits + gumbel_noise(streams, step, logits.shape[-1])).argmax(-1)


def truncate(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """`(B, K + 1)` logits with −∞ for all tokens outside of top-k and top-p."""
    if not sampling.top_k and sampling.top_p == 1.0:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    shares = ordered.softmax(-1)
    keep = shares.cumsum(-1) - shares < sampling.top_p  # what comes before has not reached top_p yet
    if sampling.top_k:
        keep &= torch.arange(logits.shape[-1], device=logits.device) < sampling.top_k
    return torch.full_like(logits, -torch.inf).scatter(-1, order, ordered.masked_fill(~keep, -torch.inf))


def stream_key(seed: int, prompt_id: str, number: int) -> int:
    """64 bits for sample `number` of a prompt."""
    digest = hashlib.sha256(f"{seed}\0{prompt_id}\0{number}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def gumbel_noise(streams: torch.Tensor, step: int, size: int) -> torch.Tensor:
    """Standard Gumbel noise `(B, size)` of each stream `(B,)` at a step: splitmix64 of a counter, float64."""
    counter = torch.arange(size, device=streams.device) + step * size
    x = streams[:, None] + counter * GOLDEN  # int64 products wrap around, as splitmix64 wants
    for shift, multiplier in zip((30, 27), MULTIPLIERS, strict=True):
        x = (x ^ _shift_right(x, shift)) * multiplier
    x ^= _shift_right(x, 31)
    uniform = (_shift_right(x, 11).double() + 0.5) * 2.0**-53  # in (0, 1)
    return -torch.log(-torch.log(uniform))


def _shift_right(x: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical shift; torch's is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
