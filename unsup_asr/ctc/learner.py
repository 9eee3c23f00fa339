"""What is trained: a recogniser, and the encoder before it where that moves, too."""

import torch
from torch import nn

from unsup_asr.ctc.config import CtcConfig
from unsup_asr.ctc.data import Batch
from unsup_asr.ctc.masking import draw_masks
from unsup_asr.ctc.network import RecognitionNetwork, States
from unsup_asr.ctc.tuned_encoder import TunedEncoder


class Learner(nn.Module):
    """The loss of a batch.

    Args:
        network: the recogniser.
        encoder: None: its features are given.
        config: weights of the losses, masks.
    """

    def __init__(self, network: RecognitionNetwork, encoder: TunedEncoder | None, config: CtcConfig) -> None:
        super().__init__()
        self.network, self.encoder, self.config = network, encoder, config

    def states(self, batch: Batch, generator: torch.Generator | None = None) -> States:
        """States of the recogniser; frames and channels are masked if a generator, of the CPU, is given."""
        if self.encoder is not None:
            return self.network(*self.encoder(batch.rows, batch.lengths, generator))
        if generator is None:
            return self.network(batch.rows, batch.lengths)
        masks = draw_masks(batch.lengths.cpu(), self.network.dim, self.config.mask, generator)
        device = batch.rows.device
        return self.network(batch.rows, batch.lengths, (masks[0].to(device), masks[1].to(device)))

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """Sums of nats over the symbols of a batch: CTC's, the decoder's (if there is one) and what is minimised."""
        states = self.states(batch, generator)
        ctc = self.network.ctc_nats(states, batch.symbols, batch.counts).sum()
        if self.network.decoder is None:
            return {"ctc": ctc, "loss": ctc}
        smoothing, weight = self.config.smoothing, self.config.ctc_weight
        attention = self.network.attention_nats(states, batch.symbols, batch.counts, smoothing).sum()
        return {"ctc": ctc, "attention": attention, "loss": weight * ctc + (1 - weight) * attention}

    def hold_encoder(self, *, still: bool) -> None:
        """Whether the encoder moves; its front end never does."""
        if self.encoder is not None:
            self.encoder.requires_grad_(not still)
            self.encoder.encoder.front_end.requires_grad_(False)
