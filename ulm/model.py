"""A decoder-only Transformer over units: rotary positions, pre-norm, GELU, no biases.

A token is embedded together with the few before it: one table an offset, and hashed tables of the n-grams they make
(Pagnoni et al. 2024, "Byte latent transformer"; Huang et al. 2025, "Over-tokenized transformer"). Units are shorter
than phones, so what follows depends first of all on the last few, and attention takes long to find that out. A planted
source of words after 300 k tokens of training: 4.2 bits without, 3.1 with two earlier units, 2.5 with their n-grams.

The embedding and the output layer are apart from the trunk, so that a model of several streams of tokens (units,
durations, pitch) widens those two and leaves the rest alone.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn
from torch.nn import functional as F

from ulm.config import ModelConfig

ROTARY_BASE = 10_000.0
HASH = 2_654_435_761  # Knuth's multiplier


class UnitTransformer(nn.Module):
    """Logits of the next token at every position.

    Args:
        config: sizes.
        vocabulary_size: K + 1.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config = config
        self.nothing = vocabulary_size  # stands before the first token of a row or an utterance
        self.embedding = nn.Embedding(vocabulary_size, config.dim)
        self.earlier = nn.ModuleList(nn.Embedding(vocabulary_size + 1, config.dim) for _ in range(config.lookback))
        self.trunk = nn.ModuleList(Block(config) for _ in range(config.layers))
        tables = config.lookback if config.ngram_rows else 0
        self.ngrams = nn.ModuleList(nn.Embedding(config.ngram_rows, config.dim) for _ in range(tables))
        self.norm = nn.LayerNorm(config.dim, bias=False)
        self.head = nn.Linear(config.dim, vocabulary_size, bias=False)
        self._initialize()
        if config.tied:
            self.head.weight = self.embedding.weight

    def _initialize(self) -> None:
        """Normal weights of standard deviation 0.02, smaller where they add to the residual (Radford et al. 2019)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                is_residual = name.endswith(("attention.project.weight", "ffn.shrink.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.layers) if is_residual else 0.02)

    def forward(self, tokens: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """Logits `(B, T, K + 1)` of the token that follows each of `tokens` `(B, T)`.

        Args:
            tokens: each row begins a new context; padding at the end of a row changes nothing before it.
            documents: `(B, T)` numbers of the utterances packed in each row; attention stays inside an utterance.
                None: each row is one utterance.
        """
        turns = rotary(torch.arange(tokens.shape[1], device=tokens.device), self.config.dim // self.config.heads)
        if self.training:
            tokens = replace_units(tokens, self.config.noise, boundary=self.nothing - 1)
        x = self.embed(tokens, self.before(len(tokens)), documents)  # (B, T, D)
        mask = None if documents is None else packed_mask(documents, _compute_dtype(x))
        for block in self.trunk:
            x = block(x, turns, mask)
        return self.head(self.norm(x))

    def before(self, rows: int) -> torch.Tensor:
        """What comes before the beginning, `(rows, lookback)`."""
        shape = (rows, self.config.lookback)
        return torch.full(shape, self.nothing, device=self.embedding.weight.device)

    def embed(self, tokens: torch.Tensor, before: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """Vectors `(B, T, D)` of tokens `(B, T)` with those before them, inside of their document."""
        x = self.embedding(tokens)
        read = torch.cat([before, tokens], dim=1)  # (B, lookback + T)
        ngram = tokens
        for offset in range(1, self.config.lookback + 1):
            earlier = read[:, before.shape[1] - offset : read.shape[1] - offset]  # (B, T)
            if documents is not None:
                same = F.pad(documents, (offset, 0), value=-1)[:, :-offset] == documents
                earlier = earlier.where(same, self.nothing)
            x = x + self.earlier[offset - 1](earlier)
            if self.ngrams:
                ngram = ngram * (self.nothing + 1) + earlier
                x = x + self.ngrams[offset - 1](ngram * HASH % self.config.ngram_rows)
        return dropout(x, self.config.dropout, self.training)

    def read(self, tokens: torch.Tensor, lengths: torch.Tensor, cache: "Cache") -> torch.Tensor:
        """Take new tokens into the cache; logits `(B, K + 1)` of what follows the last of each row.

        Args:
            tokens: `(B, T)`, padded at the end.
            lengths: `(B,)` how many of each row count, at least 1.
            cache: what each row has read before; T > 1 needs an empty one.
        """
        positions = cache.lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)  # (B, T)
        turns = rotary(positions, self.config.dim // self.config.heads)
        x = self.embed(tokens, cache.recent)
        mask = cache.begin(positions)
        for layer, block in enumerate(self.trunk):
            x = block(x, turns, mask, cache.layer(layer))
        cache.end(tokens, lengths)
        last = x[torch.arange(len(x), device=x.device), lengths - 1]  # (B, T, D) -> (B, D)
        return self.head(self.norm(last))


class Block(nn.Module):
    """Attention and feed-forward, each normalized before and added to what came in."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.dim, bias=False)
        self.attention = Attention(config)
        self.ffn_norm = nn.LayerNorm(config.dim, bias=False)
        self.ffn = FeedForward(config)
        self.dropout = config.dropout

    def forward(
        self,
        x: torch.Tensor,
        turns: torch.Tensor,
        mask: torch.Tensor | None,
        cache: "LayerCache | None" = None,
    ) -> torch.Tensor:
        """`(B, T, D)` → `(B, T, D)`."""
        x = x + dropout(self.attention(self.attention_norm(x), turns, mask, cache), self.dropout, self.training)
        return x + dropout(self.ffn(self.ffn_norm(x)), self.dropout, self.training)


class Attention(nn.Module):
    """Causal self-attention of several heads, with positions as rotations (Su et al. 2021)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.queries_keys_values = nn.Linear(config.dim, 3 * config.dim, bias=False)
        self.project = nn.Linear(config.dim, config.dim, bias=False)

    def forward(
        self, x: torch.Tensor, turns: torch.Tensor, mask: torch.Tensor | None, cache: "LayerCache | None"
    ) -> torch.Tensor:
        """`(B, T, D)` → `(B, T, D)`; without `mask`, every position sees itself and those before it."""
        batch, time, dim = x.shape
        qkv = self.queries_keys_values(x).view(batch, time, 3, self.heads, dim // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # (B, T, 3, H, D/H) -> 3 of (B, H, T, D/H)
        queries, keys = rotate(queries, turns), rotate(keys, turns)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        y = attend(queries, keys, values, mask)
        return self.project(y.transpose(1, 2).reshape(batch, time, dim))  # (B, H, T, D/H) -> (B, T, D)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.widen = nn.Linear(config.dim, config.ffn, bias=False)
        self.shrink = nn.Linear(config.ffn, config.dim, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, D)` → `(B, T, D)`."""
        return self.shrink(F.gelu(self.widen(x)))


def attend(queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Weighted mean of `values` `(B, H, T', D)` for every query `(B, H, T, D)`.

    PyTorch's fused attention has a slow bfloat16 path on CPUs: forward and backward over 16 rows of 256 tokens take
    33 ms with it, 16 ms as two matrix products around a softmax. Everywhere else the fused one is faster.
    """
    if mask is not None and mask.dtype == queries.dtype == torch.bfloat16 and mask.device.type == "cpu":
        weights = (queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5 + mask).softmax(-1, queries.dtype)
        return weights @ values
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, is_causal=mask is None)


def packed_mask(documents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`(B, T)` document numbers → `(B, 1, T, T)`: 0 where a query may look at a key, −∞ elsewhere."""
    same = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
    mask = torch.zeros(same.shape, dtype=dtype, device=documents.device)
    return mask.masked_fill(~same.tril(), -torch.inf)[:, None]


def rotary(positions: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Cosines and sines `(2, ..., D/2)` of the angles by which positions `(...)` turn each pair of coordinates."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions[..., None].float() * ROTARY_BASE**-exponents  # (..., D/2)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (i, i + D/2) of `x` `(B, H, T, D)`; `turns` is `(2, T, D/2)` or `(2, B, T, D/2)`."""
    cos, sin = (turns if turns.dim() == 3 else turns[:, :, None]).to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


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

    The share dropped is rounded to 1/256, and the kept elements are scaled by exactly what that leaves.
    """
    if not training or p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    dropped = round(p * 256)
    random = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    keep = random.view(torch.uint8)[: x.numel()].view(x.shape) >= dropped
    return x * (keep.to(x.dtype) * (256 / (256 - dropped)))


def _compute_dtype(x: torch.Tensor) -> torch.dtype:
    """The type matrix products of `x` come out in."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype


@dataclass
class LayerCache:
    """Keys and values of one layer, `(B, H, C, D)` each, and where the tokens being read go."""

    keys: torch.Tensor
    values: torch.Tensor
    positions: torch.Tensor  # (B, T)
    filled: int

    def extend(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store `(B, H, T, D)`; return all that was stored, up to the longest row."""
        rows = torch.arange(len(keys), device=keys.device)[:, None]  # (B, 1), against positions (B, T)
        self.keys[rows, :, self.positions] = keys.transpose(1, 2).to(self.keys.dtype)
        self.values[rows, :, self.positions] = values.transpose(1, 2).to(self.values.dtype)
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]


class Cache:
    """Keys and values of everything each row has read, so that a new token costs one position, not the whole row.

    Rows are at different positions: what lies beyond a row's length is garbage of padding, masked, and overwritten
    as the row grows.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor, recent: torch.Tensor) -> None:
        self.keys, self.values = keys, values  # (L, B, H, C, D)
        self.lengths = lengths  # (B,)
        self.recent = recent  # (B, lookback), the last tokens

    @classmethod
    def empty(cls, model: UnitTransformer, rows: int, capacity: int) -> Self:
        """Room for `capacity` tokens in each of `rows`."""
        config, weight = model.config, model.embedding.weight
        shape = (config.layers, rows, config.heads, capacity, config.dim // config.heads)
        lengths = torch.zeros(rows, dtype=torch.long, device=weight.device)
        return cls(weight.new_zeros(shape), weight.new_zeros(shape), lengths, model.before(rows))

    def begin(self, positions: torch.Tensor) -> torch.Tensor:
        """Note where the next tokens go, `(B, T)`; the mask `(B, 1, T, T')` of what each of them sees."""
        self._positions, self._filled = positions, int(positions.max()) + 1
        return (torch.arange(self._filled, device=positions.device) <= positions[..., None])[:, None]

    def end(self, tokens: torch.Tensor, lengths: torch.Tensor) -> None:
        """Note that the first `lengths` `(B,)` of `tokens` `(B, T)` were read."""
        lookback = self.recent.shape[1]
        last = lengths[:, None] + torch.arange(lookback, device=lengths.device)  # (B, lookback), of recent and tokens
        self.recent = torch.cat([self.recent, tokens], dim=1).gather(1, last)
        self.lengths = self.lengths + lengths

    def layer(self, index: int) -> LayerCache:
        """Keys and values of one layer, sharing memory with the whole."""
        return LayerCache(self.keys[index], self.values[index], self._positions, self._filled)

    def select(self, rows: torch.Tensor) -> "Cache":
        """Copy some rows, in the order given; a row may come several times."""
        return Cache(self.keys[:, rows], self.values[:, rows], self.lengths[rows], self.recent[rows])

    def put(self, rows: torch.Tensor, other: "Cache") -> None:
        """Replace `rows` by those of another cache of the same capacity."""
        self.keys[:, rows], self.values[:, rows] = other.keys, other.values
        self.lengths[rows], self.recent[rows] = other.lengths, other.recent
