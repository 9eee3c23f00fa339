"""From symbols to frames: every symbol's state is repeated for as many frames as it lasts (Ren et al. 2019)."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Expansion:
    """Which symbol a frame belongs to, and where in it.

    Attributes:
        symbols: `(B, T)` int64.
        places: `(B, T, 3)`: how far through the symbol the frame is (0..1), its square, and the log of the duration.
        lengths: `(B,)` frames.
    """

    symbols: torch.Tensor
    places: torch.Tensor
    lengths: torch.Tensor

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        """States of symbols `(B, N, W)` → of frames `(B, T, W)`; beyond an utterance's end those of its last symbol."""
        return states.gather(1, self.symbols[..., None].expand(-1, -1, states.shape[2]))


def expand(durations: torch.Tensor) -> Expansion:
    """Durations `(B, N)` int64, zero beyond an utterance's last symbol."""
    ends = durations.cumsum(1)
    lengths = ends[:, -1]
    frames = torch.arange(int(lengths.max()), device=durations.device).expand(len(durations), -1).contiguous()
    inside = torch.minimum(frames, lengths[:, None] - 1)
    symbols = torch.searchsorted(ends, inside, right=True)
    lasting = durations.gather(1, symbols)
    starts = ends.gather(1, symbols) - lasting
    share = (inside - starts + 0.5) / lasting.clamp(min=1)
    places = torch.stack([share, share.square(), lasting.clamp(min=1).float().log()], dim=2)
    return Expansion(symbols, places, lengths)
