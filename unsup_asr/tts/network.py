"""The network of a synthesizer: phones and a voice → durations and, frame by frame, units or vectors.

    states = network.read(phones, sizes, voices)
    network.prior(states)                        what a symbol sounds like, before its place in time is known
    network.log_durations(states)
    network.say(states, sizes, expand(durations))

Around the phones stand two edges, symbols of the network's own, which take the silence before and after an utterance.
Phones may be numbers or distributions: what a straight-through estimator gives goes in as it is. Neither padding nor
the other utterances of a batch change an utterance.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from unsup_asr.tts.alignment import EDGES
from unsup_asr.tts.config import NetworkConfig
from unsup_asr.tts.expansion import Expansion


@dataclass(frozen=True)
class States:
    """Of symbols, edges included: `(B, N, W)` each, of which `sizes` `(B,)` count.

    Attributes:
        alone: symbol and voice, whatever stands beside.
        values: what the encoder makes of all symbols together.
    """

    alone: torch.Tensor
    values: torch.Tensor
    sizes: torch.Tensor


class TtsNetwork(nn.Module):
    """Convolutions over symbols, length regulation, convolutions over frames.

    Args:
        config: shape.
        n_phones: V.
        outputs: K logits of units, or D numbers of a frame.
        voice: speakers of a table, or numbers of an embedding.
    """

    def __init__(self, config: NetworkConfig, n_phones: int, outputs: int, voice: int) -> None:
        super().__init__()
        self.config, self.n_phones, self.outputs = config, n_phones, outputs
        width = config.width
        self.phone = nn.Embedding(n_phones, width)
        self.edges = nn.Parameter(torch.randn(EDGES, width))
        self.speaker: nn.Embedding | nn.Linear | None
        match config.speaker:
            case "none":
                self.speaker = None
            case "table":
                self.speaker = nn.Embedding(voice, width)
            case "embedding" | "mean":
                self.speaker = nn.Linear(voice, width)
        self.encoder = nn.ModuleList(Block(config) for _ in range(config.encoder_layers))
        self.duration = nn.Sequential(Block(config), nn.LayerNorm(width), nn.Linear(width, 1))
        self.to_prior = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))
        self.place = nn.Linear(3, width)
        self.decoder = nn.ModuleList(Block(config) for _ in range(config.decoder_layers))
        self.to_output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs))

    def read(self, phones: torch.Tensor, sizes: torch.Tensor, voices: torch.Tensor | None) -> States:
        """Phones `(B, N)`, or distributions of them `(B, N, V)`, and voices `(B,)` or `(B, E)` → states of symbols."""
        embedded = phones @ self.phone.weight if phones.is_floating_point() else self.phone(phones)
        embedded = embedded * mask(sizes, embedded.shape[1])[..., None]
        x = F.pad(embedded, (0, 0, 1, 1))
        last = F.one_hot(sizes + 1, x.shape[1])[..., None]  # (B, N + 2, 1)
        x = x + last * self.edges[1]
        x = torch.cat([x[:, :1] + self.edges[0], x[:, 1:]], dim=1)
        if self.speaker is not None:
            if voices is None:
                raise ValueError(f"the synthesizer has voices ({self.config.speaker}): give one an utterance")
            x = x + self.speaker(voices)[:, None]
        alone = x
        x = F.dropout(x, self.config.dropout, self.training)
        valid = mask(sizes + EDGES, x.shape[1])
        for block in self.encoder:
            x = block(x, valid)
        return States(alone, x, sizes + EDGES)

    def prior(self, states: States) -> torch.Tensor:
        """What each symbol sounds like on the whole, `(B, N, K or D)`; phones are aligned by it.

        It knows no neighbours: where one phone always follows another, a prior that knew them could make the first
        sound like both and give the second no time.
        """
        return self.to_prior(states.alone)

    def log_durations(self, states: States) -> torch.Tensor:
        """log(frames) `(B, N)`."""
        block, norm, project = self.duration
        x = block(states.values, mask(states.sizes, states.values.shape[1]))
        return project(norm(x))[..., 0]

    def say(self, states: States, expansion: Expansion) -> torch.Tensor:
        """States of symbols → outputs of frames, `(B, T, K or D)`."""
        x = expansion(states.values) + self.place(expansion.places)
        valid = mask(expansion.lengths, x.shape[1])
        for block in self.decoder:
            x = block(x, valid)
        return self.to_output(x)


class Block(nn.Module):
    """Norm, convolution, GELU, projection, added to what came in."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.norm = nn.LayerNorm(config.width)
        self.convolution = nn.Conv1d(config.width, config.width, config.kernel, padding=config.kernel // 2)
        self.project = nn.Linear(config.width, config.width)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
        """`(B, T, W)`, valid `(B, T)` → `(B, T, W)`."""
        inside = self.norm(x) if valid is None else self.norm(x) * valid[..., None]
        y = F.gelu(self.convolution(inside.mT).mT)  # (B, T, W) -> (B, W, T) -> (B, T, W)
        return x + F.dropout(self.project(y), self.dropout, self.training)
