"""The attention decoder: the next symbol from the symbols before it and the states of the speech."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from unsup_asr.ctc.config import NetworkConfig


class AttentionDecoder(nn.Module):
    """Blocks of causal self-attention, attention to the states, and a feed-forward network (Vaswani et al. 2017).

    Symbol V is both the beginning, as input, and the end, as output.
    """

    def __init__(self, config: NetworkConfig, n_symbols: int) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.boundary = n_symbols
        self.embedding = nn.Embedding(n_symbols + 1, config.dim)
        nn.init.normal_(self.embedding.weight, std=config.dim**-0.5)
        self.blocks = nn.ModuleList(DecoderBlock(config) for _ in range(config.decoder_blocks))
        self.norm = nn.LayerNorm(config.dim)
        self.output = nn.Linear(config.dim, n_symbols + 1)

    def forward(self, states: torch.Tensor, lengths: torch.Tensor, symbols: torch.Tensor) -> torch.Tensor:
        """States `(B, T, H)`, their counts `(B,)`, symbols `(B, N)` → logits `(B, N + 1, V + 1)`, the end the last.

        Row n is of what follows the first n symbols. Padding of `symbols` may be any symbol: nothing before sees it.
        """
        begun = F.pad(symbols, (1, 0), value=self.boundary)
        return Decoding(self, states, lengths).read(self.embedding(begun))


class Decoding:
    """Symbols read so far, for decoding step by step: keys and values of all blocks are kept.

    Args:
        decoder: the network.
        states: of the speech, `(B, T, H)`.
        lengths: their counts `(B,)`.
    """

    def __init__(self, decoder: AttentionDecoder, states: torch.Tensor, lengths: torch.Tensor) -> None:
        self._decoder = decoder
        self._blocks = [block for block in decoder.blocks if isinstance(block, DecoderBlock)]
        self._memories = [block.across.keys_values(states) for block in self._blocks]
        self._valid = mask(lengths, states.shape[1])[:, None, None]
        self._pasts: list[Heads | None] = [None] * len(self._blocks)
        self._n_read = 0

    def read(self, embedded: torch.Tensor) -> torch.Tensor:
        """Embeddings `(B, N, H)` of the next symbols → logits `(B, N, V + 1)` of what follows each.

        More than one can be read only at first.
        """
        decoder, n_read, n = self._decoder, self._n_read, embedded.shape[1]
        assert n == 1 or n_read == 0, "several symbols at once only at the beginning"
        x = embedded * math.sqrt(embedded.shape[2]) + sinusoids(n_read, n, embedded)
        x = F.dropout(x, decoder.dropout, decoder.training)
        for number, (block, memory) in enumerate(zip(self._blocks, self._memories, strict=True)):
            x, self._pasts[number] = block(x, self._pasts[number], memory, self._valid)
        self._n_read += n
        return decoder.output(decoder.norm(x))


Heads = tuple[torch.Tensor, torch.Tensor]  # keys and values, (B, heads, T, H / heads) each


class DecoderBlock(nn.Module):
    """Self-attention, attention to the speech, feed-forward, each with a norm before it and added to what came in."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.within, self.across = Attention(config), Attention(config)
        self.norms = nn.ModuleList(nn.LayerNorm(config.dim) for _ in range(3))
        self.up, self.down = nn.Linear(config.dim, config.ffn), nn.Linear(config.ffn, config.dim)

    def forward(
        self, x: torch.Tensor, past: Heads | None, memory: Heads, valid: torch.Tensor
    ) -> tuple[torch.Tensor, Heads]:
        """Symbols `(B, N, H)` → the same, and keys and values of all symbols so far."""
        inner = self.norms[0](x)
        keys, values = self.within.keys_values(inner)
        if past is not None:
            keys, values = torch.cat([past[0], keys], dim=2), torch.cat([past[1], values], dim=2)
        x = x + self._drop(self.within(inner, (keys, values), None, causal=past is None))
        x = x + self._drop(self.across(self.norms[1](x), memory, valid, causal=False))
        x = x + self._drop(self.down(self._drop(F.gelu(self.up(self.norms[2](x))))))
        return x, (keys, values)

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x, self.dropout, self.training)


class Attention(nn.Module):
    """Attention of several heads, whose keys and values are made apart from its queries."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.queries = nn.Linear(config.dim, config.dim)
        self.both = nn.Linear(config.dim, 2 * config.dim)
        self.out = nn.Linear(config.dim, config.dim)

    def keys_values(self, x: torch.Tensor) -> Heads:
        """`(B, T, H)` → keys and values of every head."""
        keys, values = self.both(x).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return keys, values

    def forward(self, x: torch.Tensor, keys_values: Heads, valid: torch.Tensor | None, *, causal: bool) -> torch.Tensor:
        """Queries from `(B, N, H)` → `(B, N, H)`."""
        queries = self.queries(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, N, H / heads)
        mixed = F.scaled_dot_product_attention(queries, *keys_values, valid, is_causal=causal)
        return self.out(mixed.transpose(1, 2).flatten(2))


def sinusoids(start: int, n: int, like: torch.Tensor) -> torch.Tensor:
    """Positions `start`..`start + n - 1` as sines and cosines `(n, H)`."""
    half = like.shape[-1] // 2
    rates = torch.exp(torch.arange(half, device=like.device) * (-math.log(10_000.0) / half))
    angles = torch.arange(start, start + n, device=like.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(like.dtype)
