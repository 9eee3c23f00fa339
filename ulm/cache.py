"""What a Transformer keeps of the tokens it has read, so that a new one costs one position, not the whole row."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch

if TYPE_CHECKING:
    from ulm.model import UnitTransformer


@dataclass
class LayerCache:
    """Keys and values of one layer, `(B, G, C, D)` each, and where the tokens being read go."""

    keys: torch.Tensor
    values: torch.Tensor
    rows: torch.Tensor  # (B, 1)
    positions: torch.Tensor  # (B, T)
    filled: int

    def extend(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Store `(B, G, T, D)`; return all that was stored, up to the longest row."""
        self.keys[self.rows, :, self.positions] = keys.transpose(1, 2).to(self.keys.dtype)
        self.values[self.rows, :, self.positions] = values.transpose(1, 2).to(self.values.dtype)
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]


class Cache:
    """Keys and values of everything each row has read.

    Rows are at different positions: what lies beyond a row's length is garbage of padding, masked, and overwritten
    as the row grows. `UnitTransformer.read` fills it; `select` and `put` move rows.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor, recent: torch.Tensor) -> None:
        self.keys, self.values = keys, values  # (L, B, G, C, D)
        self.lengths = lengths  # (B,)
        self.recent = recent  # (B, lookback), the last tokens

    @classmethod
    def empty(cls, model: "UnitTransformer", rows: int, capacity: int, dtype: torch.dtype | None = None) -> Self:
        """Room for `capacity` tokens in each of `rows`; `dtype` is that of the computed keys unless given."""
        config, weight = model.config, model.embedding.weight
        shape = (config.layers, rows, config.kv_heads or config.heads, capacity, config.dim // config.heads)
        lengths = torch.zeros(rows, dtype=torch.long, device=weight.device)
        zeros = [torch.zeros(shape, dtype=dtype or model.key_dtype, device=weight.device) for _ in range(2)]
        return cls(zeros[0], zeros[1], lengths, model.before(rows))

    def begin(self, positions: torch.Tensor) -> torch.Tensor | None:
        """Note where the next tokens go, `(B, T)`; the mask `(B, 1, T, T')` of what each sees, None: all before it."""
        first, last = (int(bound) for bound in positions.aminmax())
        self._positions, self._filled = positions, last + 1
        self._rows = torch.arange(len(positions), device=positions.device)[:, None]
        if last - first + 1 == positions.shape[1] and first in {0, last}:
            return None  # the beginnings of all rows, or one token each of rows that are equally long
        return (torch.arange(self._filled, device=positions.device) <= positions[..., None])[:, None]

    def end(self, tokens: torch.Tensor, lengths: torch.Tensor) -> None:
        """Note that the first `lengths` `(B,)` of `tokens` `(B, T)` were read."""
        lookback = self.recent.shape[1]
        if lookback:
            last = lengths[:, None] + torch.arange(lookback, device=lengths.device)  # (B, lookback), of recent, tokens
            self.recent = torch.cat([self.recent, tokens], dim=1).gather(1, last)
        self.lengths = self.lengths + lengths

    def layer(self, index: int) -> LayerCache:
        """Keys and values of one layer, sharing memory with the whole."""
        return LayerCache(self.keys[index], self.values[index], self._rows, self._positions, self._filled)

    def select(self, rows: torch.Tensor) -> "Cache":
        """Copy some rows, in the order given; a row may come several times."""
        filled = int(self.lengths.max())
        keys, values = (x.new_zeros(x.shape[0], len(rows), *x.shape[2:]) for x in (self.keys, self.values))
        keys[:, :, :, :filled] = self.keys[:, rows, :, :filled]
        values[:, :, :, :filled] = self.values[:, rows, :, :filled]
        return Cache(keys, values, self.lengths[rows], self.recent[rows])

    def put(self, rows: torch.Tensor, other: "Cache") -> None:
        """Replace `rows` by those of another cache of the same capacity."""
        self.keys[:, rows], self.values[:, rows] = other.keys, other.values
        self.lengths[rows], self.recent[rows] = other.lengths, other.recent
