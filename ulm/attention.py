"""Causal self-attention of several heads, which stays inside of packed documents and may share keys between heads."""

import torch
from torch import nn
from torch.nn import functional as F

from ulm.cache import LayerCache
from ulm.cached_attention import attend_next
from ulm.config import ModelConfig
from ulm.dropout import dropout
from ulm.positions import rotate


class Attention(nn.Module):
    """Attention with one product for queries, keys and values; positions may be rotations (Su et al. 2021).

    Groups of heads may share keys and values (Ainslie et al. 2023, "GQA").
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.dropout = config.attention_dropout
        width = config.dim // config.heads * (self.heads + 2 * self.kv_heads)
        self.queries_keys_values = nn.Linear(config.dim, width, bias=config.bias != "none")
        self.project = nn.Linear(config.dim, config.dim, bias=config.bias == "all")

    def forward(
        self, x: torch.Tensor, turns: torch.Tensor | None, mask: torch.Tensor | None, cache: LayerCache | None
    ) -> torch.Tensor:
        """`(B, T, D)` → `(B, T, D)`; without `mask`, every position sees itself and those before it."""
        batch, time, dim = x.shape
        qkv = self.queries_keys_values(x).view(batch, time, -1, dim // self.heads).transpose(1, 2)  # (B, H+2G, T, D/H)
        queries_keys, values = qkv.split([self.heads + self.kv_heads, self.kv_heads], dim=1)
        if turns is not None:
            queries_keys = rotate(queries_keys, turns)
        queries, keys = queries_keys.split([self.heads, self.kv_heads], dim=1)
        if cache is not None and time == 1 and x.device.type == "cpu" and not torch.is_grad_enabled():
            y = attend_next(queries, keys, values, cache.keys, cache.values, cache.positions[:, 0])
        else:
            if cache is not None:
                keys, values = cache.extend(keys, values)
            y = attend(queries, keys, values, mask, self.dropout if self.training else 0.0)
        return self.project(y.transpose(1, 2).reshape(batch, time, dim))  # (B, H, T, D/H) -> (B, T, D)


def attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    dropped: float = 0.0,
) -> torch.Tensor:
    """Weighted mean `(B, H, T, D)` of `values` `(B, G, T', D)` for every query `(B, H, T, D)`; G divides H.

    PyTorch's fused attention has a slow bfloat16 path on CPUs: forward and backward over 8 rows of 4 heads and 256
    tokens take 32 ms with it, 15 to 20 ms as two matrix products around a softmax. Elsewhere the fused one is faster.
    """
    batch, heads, time, dim = queries.shape
    groups = keys.shape[1]
    if time == 1:  # heads of a group are queries of one head: nothing is copied
        queries = queries.reshape(batch, groups, heads // groups, dim)
    elif groups != heads:
        keys, values = (x.repeat_interleave(heads // groups, dim=1) for x in (keys, values))
    if mask is not None and mask.dtype == queries.dtype == torch.bfloat16 and mask.device.type == "cpu":
        scores = (queries * dim**-0.5) @ keys.transpose(-1, -2)
        scores += mask
        y = dropout(scores.softmax(-1, queries.dtype), dropped, dropped > 0) @ values
    else:
        causal = mask is None and time > 1
        y = F.scaled_dot_product_attention(queries, keys, values, mask, dropped, is_causal=causal)
    return y.reshape(batch, heads, time, dim)


def packed_mask(documents: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`(B, T)` document numbers → `(B, 1, T, T)`: 0 where a query may look at a key, −∞ elsewhere."""
    same = documents[:, :, None] == documents[:, None, :]  # (B, T, T)
    mask = torch.zeros(same.shape, dtype=dtype, device=documents.device)
    return mask.masked_fill(~same.tril(), -torch.inf)[:, None]
