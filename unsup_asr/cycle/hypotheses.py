"""What a recogniser says of unpaired speech, within bounds: no hypothesis is longer than the speech can hold."""

from dataclasses import dataclass

import torch

from textless.audio.batches import mask
from unsup_asr.ctc.network import RecognitionNetwork, States, needed_states
from unsup_asr.ctc.sampling import Samples, sample
from unsup_asr.tts.alignment import EDGES


@dataclass(frozen=True)
class Bounds:
    """How long hypotheses may be.

    Attributes:
        phones_per_second: what is quicker has run away.
        frame_rate: of the synthesizer's frames.
    """

    phones_per_second: float
    frame_rate: float

    def longest(self, lengths: torch.Tensor) -> torch.Tensor:
        """Phones `(B,)` that speech of `lengths` `(B,)` frames can have."""
        spoken = (lengths * (self.phones_per_second / self.frame_rate)).ceil().long()
        return torch.minimum(spoken, lengths - EDGES).clamp(min=0)


@dataclass(frozen=True)
class Hypotheses:
    """Phones `(B, N)`, zero beyond the counts `(B,)`; `n_cut` of them had run away and were cut."""

    phones: torch.Tensor
    counts: torch.Tensor
    n_cut: int


def bounded(drawn: Samples, longest: torch.Tensor) -> Hypotheses:
    """Cut what was drawn to `longest` `(B,)` phones each."""
    counts = torch.minimum(drawn.counts, longest)
    n_cut = int(((drawn.counts > longest) | ~drawn.ended).sum())
    phones = drawn.symbols[:, : int(counts.max())]
    return Hypotheses(phones * mask(counts, phones.shape[1]), counts, n_cut)


@torch.no_grad()
def transcribe(network: RecognitionNetwork, states: States, longest: torch.Tensor) -> Hypotheses:
    """The likeliest path of CTC, or symbol by symbol of the decoder, of every utterance."""
    return bounded(sample(network, states, temperature=0, max_length=max(1, int(longest.max()))), longest)


def can_be_said(states: States, phones: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """`(B,)` whether CTC has states enough for phones `(B, N)`."""
    needed = [needed_states(row[:n]) for row, n in zip(phones.cpu(), counts.tolist(), strict=True)]
    return torch.tensor(needed, device=counts.device) <= states.lengths
