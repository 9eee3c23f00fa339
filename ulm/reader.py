"""Rows of tokens that grow one token at a time, read by a network with a key-value cache.

A row that reaches the context goes on from its last half context, as the windows of scoring do: every token is
predicted from half a context or more, and from the same tokens by which `ulm.likelihood` would judge it.
"""

from collections.abc import Sequence

import torch

from ulm.cache import Cache
from ulm.model import UnitTransformer
from ulm.vocabulary import Vocabulary


class Reader:
    """What a network has read of every row, and what it expects next.

    Equal prompts are read once. A prompt longer than the context is read from its last half context or more on.

    Args:
        network: read without dropout.
        vocabulary: its boundary begins every row.
        context: longest window, in tokens.
        prompts: tokens of each row, possibly none.
        max_tokens: that a row grows by, at most.

    Attributes:
        logits: `(B, V)`, of the token that follows each row.
    """

    @torch.inference_mode()
    def __init__(
        self,
        network: UnitTransformer,
        vocabulary: Vocabulary,
        context: int,
        prompts: Sequence[Sequence[int]],
        max_tokens: int,
    ) -> None:
        self._network, self._context = network.eval(), context
        self._device = network.embedding.weight.device
        histories = [(vocabulary.boundary, *prompt) for prompt in prompts]
        longest = max(map(len, histories))
        # One place more than the context: see `take`.
        self._capacity = min(context, longest + max_tokens) + 1
        distinct = {history: place for place, history in enumerate(dict.fromkeys(histories))}
        cache, logits = self._read([_window(history, context) for history in distinct])
        origin = torch.tensor([distinct[history] for history in histories], device=self._device)
        shared = len(distinct) < len(histories)
        self._cache, self.logits = (cache.select(origin), logits[origin]) if shared else (cache, logits)
        self._tokens = torch.zeros(len(histories), longest + max_tokens, dtype=torch.long)  # (B, T)
        self._lengths = torch.tensor([len(history) for history in histories])
        for row, history in enumerate(histories):
            self._tokens[row, : len(history)] = torch.tensor(history)

    @torch.inference_mode()
    def take(self, tokens: torch.Tensor) -> None:
        """Add one token `(B,)` to every row.

        A row whose window was full takes it in a spare place, for nothing; the end of its history is then read again.
        """
        full = torch.nonzero(self._cache.lengths == self._context)[:, 0]
        self._tokens[torch.arange(len(tokens)), self._lengths] = tokens.cpu()
        self._lengths = self._lengths + 1
        ones = torch.ones_like(tokens)
        self.logits = self._network.read(tokens[:, None], ones, self._cache)
        if len(full):
            kept = self._context - self._context // 2 + 1
            ends = [self._tokens[row, self._lengths[row] - kept : self._lengths[row]].tolist() for row in full.tolist()]
            again, self.logits[full] = self._read(ends)
            self._cache.put(full, again)

    @torch.inference_mode()
    def select(self, rows: torch.Tensor) -> None:
        """Keep some rows, in the order given; a row may come several times."""
        self._cache, self.logits = self._cache.select(rows), self.logits[rows]
        self._tokens, self._lengths = self._tokens[rows.cpu()], self._lengths[rows.cpu()]

    def _read(self, windows: Sequence[Sequence[int]]) -> tuple[Cache, torch.Tensor]:
        """Read one window a row into a new cache; logits `(B, V)` of what follows."""
        lengths = torch.tensor([len(window) for window in windows], device=self._device)
        tokens = torch.zeros(len(windows), int(lengths.max()), dtype=torch.long)
        for row, window in enumerate(windows):
            tokens[row, : len(window)] = torch.tensor(window)
        cache = Cache.empty(self._network, len(windows), self._capacity)
        return cache, self._network.read(tokens.to(self._device), lengths, cache)


def _window(history: Sequence[int], context: int) -> Sequence[int]:
    """The part of a prompt, boundary included, that scoring would see when predicting what follows."""
    stride = context // 2
    skipped = -(-max(0, len(history) - context) // stride)
    return history[skipped * stride :]
