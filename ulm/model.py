"""A decoder-only Transformer over units, in the shapes that published unit LMs have.

The default has rotary positions, norms before each part, GELU and no biases. GSLM's (Lakhotia et al. 2021) and Llama,
Qwen, OPT and GPT-2, of which others make their unit LMs, differ from it in settings of `ModelConfig` alone.

By default a token is embedded together with the few before it: one table an offset, and hashed tables of the n-grams
they make (Pagnoni et al. 2024, "Byte latent transformer"; Huang et al. 2025, "Over-tokenized transformer"). Units are
shorter than phones, so what follows depends first of all on the last few, and attention takes long to find that out. A
planted source of words after 300 k tokens of training: 4.2 bits without, 3.1 with two earlier units, 2.5 with their
n-grams.

The embedding and the output layer are apart from the trunk, so that a model of several streams of tokens (units,
durations, pitch) widens those two and leaves the rest alone.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ulm.attention import Attention, packed_mask
from ulm.cache import Cache, LayerCache
from ulm.config import ModelConfig
from ulm.dropout import dropout, replace_units
from ulm.norms import make_norm
from ulm.positions import document_positions, rotary, sinusoidal

HASH = 2_654_435_761  # Knuth's multiplier


class UnitTransformer(nn.Module):
    """Logits of the next token at every position.

    Args:
        config: its shape.
        vocabulary_size: V, of `Vocabulary.size`: K units, the boundary, inert symbols.
        inert: how many of these are inert symbols.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int, inert: int = 0) -> None:
        super().__init__()
        self.config = config
        self.boundary = vocabulary_size - inert - 1
        self.nothing = vocabulary_size  # stands before the first token of a row or an utterance
        width = config.embedding_dim or config.dim
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.earlier = nn.ModuleList(nn.Embedding(vocabulary_size + 1, config.dim) for _ in range(config.lookback))
        self.trunk = nn.ModuleList(Block(config) for _ in range(config.layers))
        tables = config.lookback if config.ngram_rows else 0
        self.ngrams = nn.ModuleList(nn.Embedding(config.ngram_rows, config.dim) for _ in range(tables))
        learned = config.positions == "learned"
        self.position = nn.Embedding(config.max_positions, config.dim) if learned else None
        self.project_in = nn.Linear(width, config.dim, bias=False) if width != config.dim else nn.Identity()
        self.project_out = nn.Linear(config.dim, width, bias=False) if width != config.dim else nn.Identity()
        self.norm = make_norm(config) if config.final_norm else nn.Identity()
        self.head = nn.Linear(width, vocabulary_size, bias=False)
        self._initialize()
        if config.tied:
            self.head.weight = self.embedding.weight

    def _initialize(self) -> None:
        """Normal weights of standard deviation 0.02, smaller where they add to the residual (Radford et al. 2019).

        Embeddings that are scaled by √D start at 1/√D, so that a token is read at the size of its position.
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                is_residual = name.endswith(("attention.project.weight", "ffn.shrink.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * self.config.layers) if is_residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
        if self.config.embedding_scale:
            nn.init.normal_(self.embedding.weight, std=self.config.dim**-0.5)

    def forward(self, tokens: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """Logits `(B, T, V)` of the token that follows each of `tokens` `(B, T)`; see `hidden`."""
        return self.head(self.hidden(tokens, documents))

    def hidden(self, tokens: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
        """What the output layer reads, `(B, T, E)`, where E is the width of the embedding.

        Args:
            tokens: `(B, T)`; each row begins a new context; padding at the end of a row changes nothing before it.
            documents: `(B, T)` numbers of the utterances packed in each row; attention stays inside an utterance, and
                positions that are added begin again in each. None: each row is one utterance.

        Raises:
            ValueError: T is more than the learned positions.
        """
        config = self.config
        if self.position is not None and tokens.shape[1] > config.max_positions:
            raise ValueError(f"{tokens.shape[1]} tokens in a row, but only {config.max_positions} learned positions")
        if self.training:
            tokens = replace_units(tokens, config.noise, self.boundary)
        places = torch.arange(tokens.shape[1], device=tokens.device)  # (T,)
        # Rotations are relative: only what is added has to begin again in every document.
        added = places if documents is None or config.positions == "rotary" else document_positions(documents)
        x = self.embed(tokens, added, self.before(len(tokens)), documents)  # (B, T, D)
        mask = None if documents is None else packed_mask(documents, _compute_dtype(x))
        turns = self.turns(places)
        for block in self.trunk:
            if config.checkpoint_activations and self.training:
                x = checkpoint(block, x, turns, mask, use_reentrant=False)
            else:
                x = block(x, turns, mask)
        return self.project_out(self.norm(x))

    def before(self, rows: int) -> torch.Tensor:
        """What comes before the beginning, `(rows, lookback)`."""
        shape = (rows, self.config.lookback)
        return torch.full(shape, self.nothing, device=self.embedding.weight.device)

    def embed(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        before: torch.Tensor,
        documents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Vectors `(B, T, D)` of tokens `(B, T)` at `positions`, with those before them inside of their document."""
        x = self.embedding(tokens)
        x = self.project_in(x * math.sqrt(self.config.dim) if self.config.embedding_scale else x)
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
        if self.position is not None:
            x = x + self.position(positions)
        elif self.config.positions == "sinusoidal":
            x = x + sinusoidal(positions, self.config.dim).to(x.dtype)
        return dropout(x, self.config.dropout, self.training)

    def turns(self, positions: torch.Tensor) -> torch.Tensor | None:
        """Rotations at positions `(...)`, `(2, ..., D/2H)`; None where positions are added to the embedding."""
        if self.config.positions != "rotary":
            return None
        return rotary(positions, self.config.dim // self.config.heads, self.config.rotary_base)

    @property
    def key_dtype(self) -> torch.dtype:
        """What keys and values come out in."""
        block = self.trunk[0]
        assert isinstance(block, Block)
        return block.attention.queries_keys_values.weight.dtype

    def read(self, tokens: torch.Tensor, lengths: torch.Tensor, cache: Cache) -> torch.Tensor:
        """Take new tokens into the cache; logits `(B, V)` of what follows the last of each row.

        A token beyond the learned positions is read at the last one: a row that is full can be carried along.

        Args:
            tokens: `(B, T)`, padded at the end.
            lengths: `(B,)` how many of each row count, at least 1.
            cache: what each row has read before, with room for T more.
        """
        positions = cache.lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)  # (B, T)
        added = positions if self.position is None else positions.clamp(max=self.config.max_positions - 1)
        x = self.embed(tokens, added, cache.recent)
        turns = self.turns(positions)
        mask = cache.begin(positions)
        for layer, block in enumerate(self.trunk):
            x = block(x, turns, mask, cache.layer(layer))
        cache.end(tokens, lengths)
        last = x[torch.arange(len(x), device=x.device), lengths - 1]  # (B, T, D) -> (B, D)
        return self.head(self.project_out(self.norm(last)))


class Block(nn.Module):
    """Attention and feed-forward, each added to what came in, with a norm before it (or after the sum)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        self.ffn_norm = make_norm(config)
        self.ffn = FeedForward(config)
        self.dropout, self.norm_first = config.dropout, config.norm_first

    def forward(
        self,
        x: torch.Tensor,
        turns: torch.Tensor | None,
        mask: torch.Tensor | None,
        cache: LayerCache | None = None,
    ) -> torch.Tensor:
        """`(B, T, D)` → `(B, T, D)`."""
        if self.norm_first:
            x = x + dropout(self.attention(self.attention_norm(x), turns, mask, cache), self.dropout, self.training)
            return x + dropout(self.ffn(self.ffn_norm(x)), self.dropout, self.training)
        x = self.attention_norm(x + dropout(self.attention(x, turns, mask, cache), self.dropout, self.training))
        return self.ffn_norm(x + dropout(self.ffn(x), self.dropout, self.training))


class FeedForward(nn.Module):
    """Two linear layers with a nonlinearity between; in SwiGLU (Shazeer 2020) the first also makes the gates of it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = activation(config)
        inner = 2 * config.ffn if config.activation == "swiglu" else config.ffn
        self.widen = nn.Linear(config.dim, inner, bias=config.bias == "all")
        self.shrink = nn.Linear(config.ffn, config.dim, bias=config.bias == "all")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, T, D)` → `(B, T, D)`."""
        return self.shrink(self.activation(self.widen(x)))


def activation(config: ModelConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    """The nonlinearity of a feed-forward layer."""
    match config.activation:
        case "gelu":
            return F.gelu
        case "gelu-tanh":
            return partial(F.gelu, approximate="tanh")
        case "relu":
            return F.relu
        case "swiglu":
            return swiglu


def swiglu(x: torch.Tensor) -> torch.Tensor:
    """`(..., 2F)` → `(..., F)`: the second half, gated by the SiLU of the first."""
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


def _compute_dtype(x: torch.Tensor) -> torch.dtype:
    """The type matrix products of `x` come out in."""
    return torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
