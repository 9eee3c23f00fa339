"""The unit HiFi-GAN: the generator of Kong et al. 2020 (https://arxiv.org/abs/2010.05646), reading units.

It is the one of Polyak et al. 2021, "Speech resynthesis from discrete disentangled self-supervised representations"
(https://arxiv.org/abs/2104.00355).

Units, pitch, speaker and style are embedded, brought to the rate of the units and concatenated in this order. After a
first convolution every stage upsamples by a transposed convolution and takes the mean of residual blocks of several
kernels and dilations, until there is one frame a sample.

All convolutions carry weight norm while training; `fold` puts it into the weights.

Sequences are pictures of height 1, `(B, C, 1, T)`, channels last in memory: a CPU convolves these at nearly the rate of
its matrix products, in bfloat16 as well, while PyTorch's one-dimensional convolutions copy them to another layout.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from textless.audio.batches import mask
from textless.errors import UserError
from vocoder.conditioning import SpeakerInput, StyleInput, checked_pitch
from vocoder.config import HifiganConfig, ModelConfig, hop_length
from vocoder.frames import Frames
from vocoder.voices import Voices

SLOPE = 0.1  # of the leaky rectifiers inside
LAST_SLOPE = 0.01  # before the last convolution: PyTorch's default, which the reference took over
EDGE_KERNEL = 7  # of the first and the last convolution


class UnitHifigan(nn.Module):
    """Units and a voice → a waveform of exactly `hop` samples a frame."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int, frame_rate: float) -> None:
        super().__init__()
        self.config = config
        shape = config.hifigan
        self.hop = check_rates(config, frame_rate)
        self.streams = Streams(config, k, n_speakers)
        self.first = _convolution(self.streams.size, shape.channels, EDGE_KERNEL)
        self.stages = nn.ModuleList(
            Stage(shape, shape.channels >> index, rate, kernel)
            for index, (rate, kernel) in enumerate(zip(shape.rates, shape.kernels, strict=True))
        )
        self.last = _convolution(shape.channels >> len(shape.rates), 1, EDGE_KERNEL)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def context(self) -> int:
        """Frames of units to either side that the samples of a frame may depend on."""
        shape = self.config.hifigan
        reach = EDGE_KERNEL // 2  # in frames of the layer, from the last one up
        blocks = zip(shape.block_kernels, shape.block_dilations, strict=True)
        inside = max(sum(kernel // 2 * (dilation + 1) for dilation in dilations) for kernel, dilations in blocks)
        for rate, kernel in zip(reversed(shape.rates), reversed(shape.kernels), strict=True):
            reach += inside
            cut = (
                kernel - rate
            ) // 2  # output n is made of the inputs (n + cut - kernel + 1) / rate .. (n + cut) / rate
            reach = max((rate - 1 + reach + cut) // rate, (reach + kernel - 1 - cut) // rate)
        return -(-(reach + EDGE_KERNEL // 2) // self.config.upsample)

    def forward(self, frames: Frames, voices: Voices, lengths: torch.Tensor) -> torch.Tensor:
        """Synthesize a padded batch.

        Args:
            frames: `(B, T)` units and, where the model has it, their pitch.
            voices: who speaks each utterance.
            lengths: frames of each utterance, `(B,)`.

        Returns:
            Waveforms `(B, T × hop)` within ±1, zero beyond the length.
        """
        valid = None
        if bool((lengths < frames.units.shape[1]).any()):
            valid = mask(lengths, frames.units.shape[1])[:, None, None]  # (B, 1, 1, T)
            valid = valid.repeat_interleave(self.config.upsample, dim=3)
        x = _within(self.first(_within(self.streams(frames, voices), valid)), valid)
        for stage in self.stages:
            x, valid = stage(x, valid)
        # The last convolution costs next to nothing, and in bfloat16 it would round the waveform.
        return _within(torch.tanh(self.last(F.leaky_relu(x, LAST_SLOPE)).float()), valid)[:, 0, 0]

    def fold(self) -> "UnitHifigan":
        """Put the weight norm into the weights, in place; the network computes the same."""
        for module in self.modules():
            if is_parametrized(module, "weight"):
                remove_parametrizations(module, "weight")
        return self

    def lower_precision(self) -> "UnitHifigan":
        """Take all weights but those of the last convolution to bfloat16, in place, for synthesis."""
        for module in (self.streams, self.first, self.stages):
            module.to(torch.bfloat16)
        return self


class Streams(nn.Module):
    """What the network reads, embedded, at one rate, in the order unit, pitch, speaker, style."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int) -> None:
        super().__init__()
        size = config.hifigan.embedding
        self.upsample = config.upsample
        self.pitch_channels = config.hifigan.pitch_channels
        self.unit = nn.Embedding(k, size)
        self.bins = nn.Embedding(config.n_pitch_bins, size) if config.pitch == "bins" else None
        self.raw_pitch = config.pitch == "raw"
        self.speaker = SpeakerInput(config, n_speakers, size) if config.speaker != "none" else None
        self.style = StyleInput(config, size) if config.n_styles else None
        self.size = stream_channels(config)

    def forward(self, frames: Frames, voices: Voices) -> torch.Tensor:
        """`(B, T)` frames → `(B, D, 1, T × upsample)`."""
        streams = [self.unit(frames.units)]
        if self.bins is not None:
            streams.append(self.bins(checked_pitch(frames, bins=True)))
        if self.raw_pitch:
            streams.append(checked_pitch(frames, bins=False)[:, :, : self.pitch_channels].to(streams[0].dtype))
        tables = [table for table in (self.speaker, self.style) if table is not None]
        streams += [table(voices)[:, None].expand_as(streams[0]) for table in tables]
        x = torch.cat(streams, dim=2).repeat_interleave(self.upsample, dim=1)
        return x.transpose(1, 2)[:, :, None]  # (B, T, D) -> (B, D, 1, T)


def stream_channels(config: ModelConfig) -> int:
    """Channels of the concatenated streams."""
    embedded = 1 + (config.pitch == "bins") + (config.speaker != "none") + (config.n_styles > 0)
    return config.hifigan.embedding * embedded + config.hifigan.pitch_channels * (config.pitch == "raw")


class Stage(nn.Module):
    """`(B, C, 1, T)` → `(B, C / 2, 1, T × rate)`: a transposed convolution and the mean of residual blocks."""

    def __init__(self, shape: HifiganConfig, channels: int, rate: int, kernel: int) -> None:
        super().__init__()
        self.rate = rate
        padding = (0, (kernel - rate) // 2)
        up = nn.ConvTranspose2d(channels, channels // 2, (1, kernel), (1, rate), padding)
        nn.init.normal_(up.weight, std=0.01)
        self.up = weight_norm(up)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels // 2, size, dilations)
            for size, dilations in zip(shape.block_kernels, shape.block_dilations, strict=True)
        )

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`valid` `(B, 1, 1, T)` is true within the utterances (None: everywhere) and comes out at the new rate."""
        if valid is not None:
            valid = valid.repeat_interleave(self.rate, dim=3)
        x = _within(self.up(_rectified(x, self.up)).float(), valid)
        total = self.blocks[0](x, valid)
        for block in self.blocks[1:]:
            total = total + block(x, valid)
        return total / len(self.blocks), valid


class ResidualBlock(nn.Module):
    """Pairs of convolutions, the first of each dilated, with a residual connection around every pair."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(_convolution(channels, channels, kernel, dilation) for dilation in dilations)
        self.plain = nn.ModuleList(_convolution(channels, channels, kernel) for _ in dilations)

    def forward(self, x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
        """`(B, C, 1, T)` → the same shape."""
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            y = _within(dilated(_rectified(x, dilated)), valid)
            x = _within(x + plain(_rectified(y, plain)), valid)
        return x


def check_rates(config: ModelConfig, frame_rate: float) -> int:
    """Samples a frame of units; raises `UserError` unless the upsampling makes so many of it."""
    hop = hop_length(frame_rate)
    made = config.upsample * math.prod(config.hifigan.rates)
    if made != hop:
        raise UserError(
            f"units at {frame_rate:g} Hz last {hop} samples a frame, but model.upsample × model.hifigan.rates is "
            f"{config.upsample} × {' × '.join(map(str, config.hifigan.rates))} = {made}: for 320 samples take rates "
            "[5, 4, 4, 2, 2], for 160 [5, 4, 2, 2, 2], for 640 [5, 4, 4, 4, 2]"
        )
    return hop


def _convolution(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
    """A convolution that keeps the length, with weight norm."""
    padding = (0, kernel // 2 * dilation)
    convolution = nn.Conv2d(inputs, outputs, (1, kernel), dilation=(1, dilation), padding=padding)
    nn.init.normal_(convolution.weight, std=0.01)
    return weight_norm(convolution)


def _rectified(x: torch.Tensor, convolution: nn.Module) -> torch.Tensor:
    """What a convolution reads, in its precision; sums stay in float32, which is worth 4 dB."""
    assert isinstance(convolution.bias, torch.Tensor)
    return F.leaky_relu(x.to(convolution.bias.dtype), SLOPE)


def _within(x: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    return x if valid is None else x * valid
