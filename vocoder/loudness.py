"""Loudness of speech in LUFS, and the gain that makes it another."""

import math

import torch
import torchaudio.functional

from textless.audio.io import SAMPLE_RATE

SHORTEST = 0.4  # seconds: one block of the measure
GATE = -70.0  # LUFS, below which there is silence
PEAK = 0.25  # at which loudness is measured: torchaudio's filters amplify by 4 dB and clip at 1


def gain_to(waveform: torch.Tensor, target: float) -> float | None:
    """Factor that brings a waveform `(S,)` to `target` LUFS (ITU-R BS.1770-4, gated).

    Returns:
        None where loudness is not defined: below 0.4 s, or in silence.
    """
    peak = float(waveform.abs().max()) if len(waveform) else 0.0
    if len(waveform) < SHORTEST * SAMPLE_RATE or peak == 0:
        return None
    scale = PEAK / peak
    loudness = float(torchaudio.functional.loudness(waveform[None] * scale, SAMPLE_RATE)) - 20 * math.log10(scale)
    if not loudness > GATE:  # NaN too: no block above the gate
        return None
    return 10 ** ((target - loudness) / 20)
