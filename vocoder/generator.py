"""The generator: units at frame rate → features → backbone → head → waveform.

All layers work at the frame rate of the units; only the head, an inverse short-time Fourier transform, makes samples
of frames (as in Vocos, Siuzdak 2023, https://arxiv.org/abs/2306.00814). That is why it is quick on a CPU.

Padding never changes a result: whatever a layer reads from its neighbours is zero beyond the end of the utterance.
"""

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from vocoder.conditioning import PitchInput, SpeakerInput, StyleInput, checked_pitch
from vocoder.config import ModelConfig, hop_length
from vocoder.frames import N_FEATURES, Frames
from vocoder.harmonics import hertz, phases, pulses
from vocoder.residual import Block
from vocoder.voices import Voices


class Generator(nn.Module):
    """Units and a speaker → a waveform of exactly `hop` samples a frame."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int, frame_rate: float) -> None:
        super().__init__()
        self.upsample = config.upsample
        self.reach = sum(config.dilations)  # frames of the backbone
        self.features = Features(config, k, n_speakers)
        self.backbone = nn.ModuleList(
            Block(config.width, config.hidden, dilation, config.residual_scale) for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.width)
        self.hop = hop_length(frame_rate)
        self.head = ISTFTHead(config.width, hop_length(frame_rate, config.upsample), voiced=config.pitch == "raw")

    @property
    def context(self) -> int:
        """Frames of units to either side that the samples of a frame may depend on."""
        reach = -(-(self.reach + 2) // self.upsample)  # a window covers its frame and one and a half to either side
        return max(reach, 5) if self.head.voiced else reach  # windows of pulses, which lie between centres of frames

    def forward(self, frames: Frames, voices: Voices, lengths: torch.Tensor) -> torch.Tensor:
        """Synthesize a padded batch.

        Args:
            frames: `(B, T)` units with their features and pitch.
            voices: who speaks each utterance.
            lengths: frames of each utterance, `(B,)`.

        Returns:
            Waveforms `(B, T × samples a frame of units)`, zero beyond the length.
        """
        valid = mask(lengths * self.upsample, frames.units.shape[1] * self.upsample)  # (B, T)
        x = self.features(frames, voices)
        for block in self.backbone:
            x = block(x, valid)
        return self.head(self.norm(x), valid, self._source(frames, voices) if self.head.voiced else None)

    @torch.no_grad()
    def _source(self, frames: Frames, voices: Voices) -> torch.Tensor:
        """Pulses at the pitch that should sound, `(B, T × samples a frame of units)`."""
        if voices.levels is None:
            raise ValueError("the model has raw pitch: the voices need their levels")
        f0 = hertz(checked_pitch(frames, bins=False), voices.levels)
        phase = phases(f0, self.hop) if frames.phase is None else frames.phase
        return pulses(f0, phase, self.hop)


class Features(nn.Module):
    """Sum of vectors of the unit, its place in the run, the pitch, the speaker, the style, and the part of a frame."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int) -> None:
        super().__init__()
        self.unit = nn.Embedding(k, config.width)
        self.place = nn.Linear(N_FEATURES, config.width)
        self.pitch = PitchInput(config, config.width) if config.pitch != "none" else None
        self.speaker = SpeakerInput(config, n_speakers, config.width) if config.speaker != "none" else None
        self.style = StyleInput(config, config.width) if config.n_styles else None
        self.part = nn.Parameter(torch.zeros(config.upsample, config.width))

    def forward(self, frames: Frames, voices: Voices) -> torch.Tensor:
        """`(B, T)` frames → `(B, T × upsample, width)`."""
        x = self.unit(frames.units) + self.place(frames.features)
        if self.pitch is not None:
            x = x + self.pitch(frames)
        for table in (self.speaker, self.style):
            if table is not None:
                x = x + table(voices)[:, None]
        return (x[:, :, None] + self.part).flatten(1, 2)  # (B, T, upsample, D) -> (B, T × upsample, D)


class ISTFTHead(nn.Module):
    """Magnitude and phase of every frame → waveform.

    With `voiced`, the head also gives every frame a gain for every bin of the pulses at the pitch that should sound;
    what it says of its own is then mostly what is not voiced. (A filter with phases as well was no better.)

    Frame i stands for the samples [i·hop, (i+1)·hop) and its window, 4·hop long, is centred on them, so the T windows
    cover (T + 3)·hop samples, of which the middle T·hop are kept. Dividing by the sum of squared windows that are
    there makes the head the exact inverse of the transform, at the ends too.
    """

    window: torch.Tensor

    def __init__(self, width: int, hop: int, *, voiced: bool = False) -> None:
        super().__init__()
        self.hop = hop
        self.voiced = voiced
        self.project = nn.Linear(width, (3 if voiced else 2) * (2 * hop + 1))
        self.register_buffer("window", torch.hann_window(4 * hop), persistent=False)

    def forward(self, x: torch.Tensor, valid: torch.Tensor, source: torch.Tensor | None = None) -> torch.Tensor:
        """`(B, T, width)`, the mask `(B, T)` and, with `voiced`, the pulses `(B, T·hop)` → `(B, T·hop)`."""
        log_magnitude, phase, *gains = self.project(x).float().split(2 * self.hop + 1, dim=2)
        magnitude = log_magnitude.clamp(max=7.0).exp()  # exp(7): a full-scale sine gives hop
        spectrum = torch.polar(magnitude, phase)  # (B, T, 2·hop + 1)
        if self.voiced:
            assert source is not None
            spectrum = spectrum + gains[0].clamp(max=5.0).exp() * self.analyse(source, valid)
        return self.invert(spectrum, valid)

    def analyse(self, waveform: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Waveform `(B, T·hop)` → what `invert` makes it of, `(B, T, 2·hop + 1)`."""
        inside = waveform * valid.repeat_interleave(self.hop, dim=1)
        beyond = self.hop + self.hop // 2
        frames = F.pad(inside, (beyond, beyond)).unfold(1, 4 * self.hop, self.hop)  # (B, T, 4·hop)
        return torch.fft.rfft(frames * self.window, dim=2)

    def invert(self, spectrum: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Complex frames `(B, T, 2·hop + 1)` → waveform `(B, T·hop)`, zero where `valid` `(B, T)` is false."""
        frames = torch.fft.irfft(spectrum, dim=2) * self.window * valid[:, :, None]
        envelope = self._overlap_add(self.window.square() * valid[:, :, None])
        waveform = self._overlap_add(frames) / envelope.clamp(min=1e-3)
        return waveform * valid.repeat_interleave(self.hop, dim=1)

    def _overlap_add(self, frames: torch.Tensor) -> torch.Tensor:
        """`(B, T, 4·hop)` → `(B, T·hop)`: four quarters of every window, each one hop later than the last."""
        quarters = frames.unflatten(2, (4, self.hop)).unbind(2)  # 4 × (B, T, hop)
        summed = sum(F.pad(quarter, (0, 0, i, 3 - i)) for i, quarter in enumerate(quarters))
        assert isinstance(summed, torch.Tensor)
        cut = self.hop + self.hop // 2
        return summed.flatten(1)[:, cut:-cut]  # (B, T + 3, hop) -> (B, T·hop)
