"""What an encoder is, and how a specification such as `mfcc@50` or `hubert-base:9` names one.

Frame i of an encoder at `frame_rate` f is centred at (i + ½) / f seconds where the encoder allows it; an encoder that
departs from that says so.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from textless.audio.batches import pad
from textless.errors import AudioError, UserError


class Encoder(Protocol):
    """Waveforms to features, layer by layer.

    Layer 0 is what enters the first block and layer n what block n gives; an encoder without blocks has layer 0 only.
    Padding and batching never change a feature.
    """

    sample_rate: int  # Hz
    frame_rate: float  # Hz
    dim: int
    num_layers: int  # blocks, so layers 0..num_layers can be asked for

    def forward(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, last_layer: int
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Waveforms `(B, S)` and lengths `(B,)` → features `(B, T, D)` of layers 0..last_layer, frame counts `(B,)`."""
        ...

    def sha256(self) -> str:
        """Identity of weights and settings: equal hashes give equal features."""
        ...


@dataclass(frozen=True)
class EncoderSpec:
    """A parsed specification: `NAME`, `NAME@FRAME_RATE`, `NAME:LAYER` or `DIR:LAYER`."""

    name: str
    frame_rate: int | None = None
    layer: int | None = None

    @classmethod
    def parse(cls, text: str) -> "EncoderSpec":
        """Read a specification.

        Raises:
            UserError: it has not the form of one.
        """
        match = re.fullmatch(r"(?P<name>.+?)(?:@(?P<rate>[1-9]\d*))?(?::(?P<layer>\d+))?", text.strip())
        if match is None:
            raise UserError(f"{text!r} is not an encoder: use mfcc, logmel@50, NAME:LAYER or DIR:LAYER")
        rate, layer = match["rate"], match["layer"]
        return cls(match["name"], int(rate) if rate else None, int(layer) if layer else None)


class LayerEncoder:
    """One layer of an encoder, ready to use: what a specification stands for."""

    def __init__(self, spec: str, encoder: Encoder, layer: int, device: torch.device) -> None:
        self.spec = spec
        self.encoder = encoder
        self.layer = layer
        self.device = device
        self.sha256 = encoder.sha256()

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.encoder.frame_rate

    @property
    def dim(self) -> int:
        """Size of a frame."""
        return self.encoder.dim

    @property
    def min_samples(self) -> int:
        """Samples below which there is no frame."""
        return math.ceil(self.encoder.sample_rate / self.frame_rate)

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Waveforms `(S_i,)` at 16 kHz → features `(T_i, D)`, float32 on the CPU, padded into one batch inside.

        Raises:
            AudioError: a waveform is shorter than one frame.
        """
        shortest = min(map(len, waveforms))
        if shortest < self.min_samples:
            raise AudioError(f"{shortest} samples are less than one frame of {self.spec} ({self.min_samples})")
        padded, lengths = pad(waveforms)
        layers, frames = self.encoder.forward(padded.to(self.device), lengths.to(self.device), self.layer)
        return [row[:n].float().cpu() for row, n in zip(layers[self.layer], frames.tolist(), strict=True)]


def load_encoder(spec: str, device: torch.device | None = None) -> LayerEncoder:
    """Build the encoder that a specification names.

    Raises:
        UserError: there is no such encoder, or it has no such layer or frame rate.
    """
    from textless.encoders import spectral

    parsed = EncoderSpec.parse(spec)
    device = device or torch.device("cpu")
    if parsed.name not in spectral.NAMES:
        raise UserError(f"no encoder named {parsed.name!r}; available: {', '.join(spectral.NAMES)}, at any @FRAME_RATE")
    if parsed.layer not in (None, 0):
        raise UserError(f"{parsed.name} has layer 0 only, {spec!r} asks for layer {parsed.layer}")
    encoder = spectral.SpectralEncoder(parsed.name, parsed.frame_rate or spectral.DEFAULT_FRAME_RATE)
    return LayerEncoder(spec, encoder.to(device), 0, device)
