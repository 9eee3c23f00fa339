"""The network of a recogniser: states of the speech, CTC over them, an attention decoder where there is one.

    states = network(features, lengths)
    network.ctc_log_probs(states)                       every symbol and blank, at every state
    network.ctc_nats(states, symbols, counts)           what a transcript costs
    network.attention_nats(states, symbols, counts)     likewise, teacher-forced

What is sampled from it, and how gradients come through what was sampled, is in `sampling.py` and `relaxation.py`.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from unsup_asr.ctc.config import NetworkConfig
from unsup_asr.ctc.decoder import AttentionDecoder
from unsup_asr.ctc.trunk import Trunk


@dataclass(frozen=True)
class States:
    """Of a batch: values `(B, T, H)`, of which `lengths` `(B,)` are valid."""

    values: torch.Tensor
    lengths: torch.Tensor

    def repeat(self, n: int) -> "States":
        """Every utterance `n` times, one after the other: `(B n, T, H)`."""
        return States(self.values.repeat_interleave(n, dim=0), self.lengths.repeat_interleave(n))


class RecognitionNetwork(nn.Module):
    """Features of an encoder → states → symbols.

    Args:
        config: shape.
        dim: numbers a frame.
        n_symbols: phones or letters, V; the blank of CTC is number V.
    """

    def __init__(self, config: NetworkConfig, dim: int, n_symbols: int) -> None:
        super().__init__()
        self.config, self.dim, self.n_symbols = config, dim, n_symbols
        self.trunk = Trunk(config, dim)
        self.ctc = nn.Linear(config.dim, n_symbols + 1)
        self.decoder = AttentionDecoder(config, n_symbols) if config.decoder_blocks else None

    @property
    def stride(self) -> int:
        """Frames a state."""
        return self.trunk.stride

    def forward(
        self,
        features: torch.Tensor,
        lengths: torch.Tensor,
        masks: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> States:
        """Features `(B, T, D)`, frames `(B,)` → states; `masks` hide frames `(B, T)` and channels `(B, D)`."""
        return States(*self.trunk(features, lengths, masks))

    def ctc_log_probs(self, states: States, temperature: float = 1.0) -> torch.Tensor:
        """`(B, T, V + 1)` natural logs, float32, the blank last."""
        return (self.ctc(states.values).float() / temperature).log_softmax(-1)

    def ctc_nats(
        self, states: States, symbols: torch.Tensor, counts: torch.Tensor, temperature: float = 1.0
    ) -> torch.Tensor:
        """Negative log-probability `(B,)` of symbols `(B, N)`, `counts` `(B,)` of them, over all alignments.

        Infinite where there are too few states (see `needed_states`).
        """
        log_probs = self.ctc_log_probs(states, temperature).transpose(0, 1)  # (B, T, V + 1) -> (T, B, V + 1)
        return F.ctc_loss(log_probs, symbols, states.lengths, counts, blank=self.n_symbols, reduction="none")

    def attention_nats(
        self, states: States, symbols: torch.Tensor, counts: torch.Tensor, smoothing: float = 0.0
    ) -> torch.Tensor:
        """Negative log-probability `(B,)` of symbols `(B, N)` and the end after `counts` `(B,)` of them.

        With `smoothing` the targets have that share on all symbols alike.
        """
        if self.decoder is None:
            raise ValueError("this network has no attention decoder: set decoder_blocks")
        logits = self.decoder(states.values, states.lengths, symbols).float()  # (B, N + 1, V + 1)
        end = torch.arange(symbols.shape[1] + 1, device=symbols.device) == counts[:, None]
        targets = F.pad(symbols, (0, 1)).masked_fill(end, self.n_symbols)
        nats = F.cross_entropy(logits.mT, targets, reduction="none", label_smoothing=smoothing)  # (B, N + 1)
        return (nats * mask(counts + 1, nats.shape[1])).sum(dim=1)


def needed_states(symbols: torch.Tensor) -> int:
    """States without which CTC cannot say symbols `(N,)`: one each, and a blank between equal neighbours."""
    return len(symbols) + int((symbols[1:] == symbols[:-1]).sum())
