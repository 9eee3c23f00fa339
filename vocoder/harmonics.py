"""The sound of a voice before it is shaped: pulses at the pitch of the frames.

A network that has to invent the phase of every harmonic learns pitch slowly and does not follow one it has not heard.
Here it is given the harmonics (as in neural source-filter models, Wang et al. 2019, https://arxiv.org/abs/1904.12088)
and has only to say how loud each part of them is, and what is added to them.

Between the centres of two frames F0 is a straight line, so the phase is a parabola, with r = 0..1 from one to the next:

    φ(r) = φ_t + hop / rate · (f_t · r + (f_{t+1} − f_t) · r² / 2)   cycles,

and cosines of all n harmonics of it have the closed sum Σ cos(kx) = (sin((n + ½) x) / sin(x / 2) − 1) / 2.
"""

import math

import torch
from torch.nn import functional as F

from textless.audio.io import SAMPLE_RATE

HIGHEST = 7600.0  # Hz, of a harmonic
AMPLITUDE = 0.1  # root mean square


def hertz(pitch: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Raw pitch `(B, T, 2)` and the speakers' levels `(B,)` → F0 `(B, T)`, 0 where unvoiced."""
    return (pitch[:, :, 0] + levels[:, None]).exp() * (pitch[:, :, 1] > 0.5)


def phases(f0: torch.Tensor, hop: int) -> torch.Tensor:
    """F0 `(B, T)` in hertz, 0 where unvoiced → phase at the centre of every frame in cycles, 0..1, float64."""
    before, after = _held(f0[:, :-1].double(), f0[:, 1:].double())
    steps = (before + after) * (hop / SAMPLE_RATE / 2)
    return F.pad(steps.cumsum(dim=1), (1, 0)) % 1


def pulses(f0: torch.Tensor, phase: torch.Tensor, hop: int) -> torch.Tensor:
    """Pulses at F0 `(B, T)`, with `phase` `(B, T)` at the centres of frames → waveform `(B, T × hop)`.

    It falls to nothing within the frame before an unvoiced one, and at both ends.
    """
    wide = F.pad(f0, (1, 1))
    before, after = (x.float() for x in _held(wide[:, :-1], wide[:, 1:]))  # (B, T + 1): from centre to centre
    begin = F.pad(phase, (1, 0))
    begin[:, 0] = phase[:, 0] - before[:, 0] * (hop / SAMPLE_RATE)
    voiced = (wide > 0).float()[:, :, None]
    r = (torch.arange(hop, device=f0.device) + 0.5) / hop
    before, after = before[:, :, None], after[:, :, None]
    frequency = before + (after - before) * r
    cycles = begin.float()[:, :, None] + (hop / SAMPLE_RATE) * (before * r + (after - before) * r.square() / 2)
    loudness = voiced[:, :-1] * (1 - r) + voiced[:, 1:] * r  # (B, T + 1, hop)
    n = torch.floor(HIGHEST / frequency.clamp(min=20.0))
    half = math.pi * (cycles % 1)
    sine = torch.sin(half)
    at_pulse = sine.abs() < 1e-4
    summed = (torch.sin((2 * n + 1) * half) / torch.where(at_pulse, 1.0, sine) - 1) / 2
    sound = torch.where(at_pulse, n, summed) * loudness * (2 / n).sqrt() * AMPLITUDE
    return sound.flatten(1)[:, hop // 2 : -(hop - hop // 2)]  # (B, (T + 1) × hop) -> (B, T × hop)


def _held(before: torch.Tensor, after: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """F0 at both ends of a step; next to an unvoiced frame it stays as it is."""
    return torch.where(before > 0, before, after), torch.where(after > 0, after, before)
