"""What an encoder is, and how a specification such as `mfcc@50`, `hubert-base:9` or `DIR:4` names a layer of one.

Frame i of an encoder at `frame_rate` f is centred at (i + ½) / f seconds where the encoder allows it; an encoder that
departs from that says so.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from textless.audio.batches import pad
from textless.encoders import checkpoints, directory, published, spectral
from textless.encoders.directory import WeightedEncoder
from textless.encoders.speech_transformer import SpeechTransformer
from textless.errors import AudioError, UserError
from textless.files import sha256
from textless.training.precision import Precision, uses_bf16


class Encoder(Protocol):
    """Waveforms to features, layer by layer.

    Layer 0 is what enters the first block and layer n what block n gives; an encoder without blocks has layer 0 only.
    Padding and batching never change a feature.
    """

    sample_rate: int  # Hz

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        ...

    def layer_dim(self, layer: int) -> int:
        """Size of a frame of a layer."""
        ...

    @property
    def num_layers(self) -> int:
        """Blocks, so that layers 0..num_layers can be asked for."""
        ...

    @property
    def min_samples(self) -> int:
        """Samples below which there is no frame."""
        ...

    def forward(self, waveforms: torch.Tensor, lengths: torch.Tensor, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)` and lengths `(B,)` → features `(B, T, D)` of a layer, frame counts `(B,)`."""
        ...

    def sha256(self) -> str:
        """Identity of weights and settings: equal hashes give equal features."""
        ...


@runtime_checkable
class SpeakerAdaptive(Protocol):
    """An encoder that hears every speaker on their own terms (CMVN, vocal tract length).

    Its `forward` takes a further argument, `speakers` `(B, P)`: the state of every utterance's speaker. Without it each
    utterance's state is estimated from that utterance alone.
    """

    def speaker_state(self, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
        """State `(P,)` of one speaker, estimated from recordings `(S_i,)` of theirs."""
        ...


@dataclass(frozen=True)
class EncoderSpec:
    """A parsed specification: `NAME[@FRAME_RATE][:LAYER][,chunk=SECONDS]`, where NAME may be a directory."""

    name: str
    frame_rate: int | None = None
    layer: int | None = None
    chunk: float | None = None  # seconds that attention sees

    def __str__(self) -> str:
        rate = f"@{self.frame_rate}" if self.frame_rate is not None else ""
        layer = f":{self.layer}" if self.layer is not None else ""
        return f"{self.name}{rate}{layer}" + (f",chunk={self.chunk:g}" if self.chunk is not None else "")

    @classmethod
    def parse(cls, text: str) -> "EncoderSpec":
        """Read a specification.

        Raises:
            UserError: it has not the form of one.
        """
        pattern = r"(?P<name>.+?)(?:@(?P<rate>[1-9]\d*))?(?::(?P<layer>\d+))?(?:,chunk=(?P<chunk>\d+(?:\.\d+)?))?"
        match = re.fullmatch(pattern, text.strip())
        if match is None or "," in match["name"]:
            raise UserError(
                f"{text!r} is not an encoder: use mfcc, logmel@50, NAME:LAYER, DIR:LAYER, or [...],chunk=30"
            )
        rate, layer, chunk = match["rate"], match["layer"], match["chunk"]
        return cls(
            match["name"],
            int(rate) if rate else None,
            int(layer) if layer else None,
            float(chunk) if chunk else None,
        )


class LayerEncoder:
    """One layer of an encoder, ready to use: what a specification stands for."""

    def __init__(self, spec: str, encoder: Encoder, layer: int, device: torch.device, settings: str = "") -> None:
        self.spec = spec
        self.encoder = encoder
        self.layer = layer
        self.device = device
        self.sha256 = sha256(f"{encoder.sha256()} {settings}".encode()) if settings else encoder.sha256()

    @property
    def frame_rate(self) -> float:
        """Frames a second."""
        return self.encoder.frame_rate

    @property
    def dim(self) -> int:
        """Size of a frame."""
        return self.encoder.layer_dim(self.layer)

    @property
    def min_samples(self) -> int:
        """Samples below which there is no frame."""
        return self.encoder.min_samples

    @property
    def adapts_to_speakers(self) -> bool:
        """Whether features of an utterance depend on what else is known of its speaker."""
        return isinstance(self.encoder, SpeakerAdaptive)

    @torch.inference_mode()
    def speaker_state(self, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
        """State of one speaker `(P,)`, from recordings `(S_i,)` of theirs."""
        if not isinstance(self.encoder, SpeakerAdaptive):
            raise TypeError(f"{self.spec} does not adapt to speakers")
        return self.encoder.speaker_state([waveform.to(self.device) for waveform in waveforms]).cpu()

    @torch.inference_mode()
    def encode(
        self, waveforms: Sequence[torch.Tensor], speakers: Sequence[torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """Waveforms `(S_i,)` at 16 kHz → features `(T_i, D)`, float32 on the CPU, padded into one batch inside.

        Args:
            waveforms: of any lengths.
            speakers: state of the speaker of each, for an encoder that adapts; None: estimated from each one alone.

        Raises:
            AudioError: a waveform is shorter than one frame.
        """
        shortest = min(map(len, waveforms))
        if shortest < self.min_samples:
            raise AudioError(f"{shortest} samples are less than one frame of {self.spec} ({self.min_samples})")
        padded, lengths = pad(waveforms)
        known: Mapping[str, torch.Tensor] = (
            {} if speakers is None else {"speakers": torch.stack(list(speakers)).to(self.device)}
        )
        features, frames = self.encoder.forward(padded.to(self.device), lengths.to(self.device), self.layer, **known)
        return [row[:n].float().cpu() for row, n in zip(features, frames.tolist(), strict=True)]


def load_encoder(spec: str, device: torch.device | None = None, precision: Precision = "fp32") -> LayerEncoder:
    """Build the encoder that a specification names.

    Args:
        spec: `mfcc`, `logmel@50`, the name of a published model with a layer, or a directory (ours, or of Hugging Face)
            or checkpoint file with a layer.
        device: where it runs.
        precision: bf16 runs the matrix products of a Transformer in bfloat16, and `auto` does where hardware has them;
            spectral features are always computed in float32.

    Raises:
        UserError: there is no such encoder, or it has no such layer or frame rate.
    """
    parsed = EncoderSpec.parse(spec)
    device = device or torch.device("cpu")
    if parsed.name in spectral.NAMES:
        if parsed.layer not in (None, 0):
            raise UserError(f"{parsed.name} has layer 0 only, {spec!r} asks for layer {parsed.layer}")
        if parsed.chunk is not None:
            raise UserError(f"{spec!r}: {parsed.name} has no attention to limit to a chunk")
        rate = parsed.frame_rate or spectral.DEFAULT_FRAME_RATE
        return LayerEncoder(spec, spectral.SpectralEncoder(parsed.name, rate).to(device), 0, device)
    encoder = _load_model(parsed.name)
    settings = _set(encoder, parsed, spec)
    layer = encoder.num_layers if parsed.layer is None and encoder.num_layers <= 1 else parsed.layer
    if layer is None or layer > encoder.num_layers:
        found = "names no layer" if layer is None else f"asks for layer {layer}"
        raise UserError(f"{spec!r} {found}: {parsed.name} has layers 0 to {encoder.num_layers} ({parsed.name}:LAYER)")
    loaded = LayerEncoder(spec, encoder, layer, device, settings)
    if uses_bf16(device, precision):
        for part in encoder.modules():
            if isinstance(part, SpeechTransformer):
                part.use_bfloat16()
    encoder.to(device)
    return loaded


def _set(encoder: WeightedEncoder, parsed: EncoderSpec, spec: str) -> str:
    """Give an encoder the chunk and the frame rate that are asked for; what that adds to its identity."""
    settings = []
    if parsed.chunk is not None:
        if not isinstance(encoder, SpeechTransformer):
            raise UserError(f"{spec!r}: {parsed.name} has no attention to limit to a chunk")
        encoder.attention_window = max(1, round(parsed.chunk * encoder.frame_rate))
        settings.append(f"chunk {parsed.chunk!r}")
    if parsed.frame_rate not in (None, encoder.frame_rate):
        passes, rest = divmod(parsed.frame_rate, encoder.frame_rate)
        if rest or not isinstance(encoder, SpeechTransformer):
            raise UserError(
                f"{spec!r}: {parsed.name} comes at {encoder.frame_rate:g} Hz"
                + (" and its multiples" if isinstance(encoder, SpeechTransformer) else " only")
            )
        encoder.passes = int(passes)
        settings.append(f"passes {encoder.passes}")
    return ", ".join(settings)


def _load_model(name: str) -> WeightedEncoder:
    path = Path(name)
    if directory.is_encoder(path):
        return directory.load_encoder_directory(path)
    if path.exists():
        return checkpoints.load_foreign(path).encoder
    if name in published.MODELS:
        return published.load(name).encoder
    close = difflib.get_close_matches(name, [*spectral.NAMES, *published.MODELS], n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise UserError(f"no encoder or directory named {name!r}; {hint}`textless encoder list` shows all")
