"""Where somebody speaks: a detector that listens to loudness alone.

A frame is speech when its level lies well above the recording's own noise floor; short gaps are closed, short bursts
dropped, and the rest is widened a little, since consonants are quiet. Good enough for recordings of one voice without
loud noise; it has no model, and works in any language.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional as F

from textless.audio.io import SAMPLE_RATE

WINDOW, HOP = 400, 160  # samples: 25 and 10 ms
PRE_EMPHASIS = 0.97
FLOOR_SHARE, PEAK_SHARE = 0.05, 0.95  # quantiles of the level that stand for noise and speech
SILENT = -60.0  # dB of full scale, after pre-emphasis: below it nothing is speech


@dataclass(frozen=True)
class VadOptions:
    """Seconds and shares.

    Attributes:
        threshold: where between the noise floor (0) and loud speech (1), in decibels, speech begins.
        contrast: decibels between the two below which a recording is taken to be speech throughout.
        shortest_gap: silences shorter than this are speech.
        shortest_speech: speech shorter than this is silence.
        margin: added on both sides.
    """

    threshold: float = 0.35
    contrast: float = 12.0
    shortest_gap: float = 0.2
    shortest_speech: float = 0.06
    margin: float = 0.05


def speech_intervals(waveform: torch.Tensor, options: VadOptions = VadOptions()) -> list[tuple[int, int]]:
    """Samples `[start, stop)` of every stretch of speech in a waveform `(S,)` at 16 kHz; none in a silent recording."""
    if not len(waveform):
        return []
    levels = frame_levels(waveform)
    floor, peak = np.quantile(levels, [FLOOR_SHARE, PEAK_SHARE])
    if peak < SILENT:
        return []
    if peak - floor < options.contrast:
        return [(0, len(waveform))]
    loud = levels > max(SILENT, floor + options.threshold * (peak - floor))
    loud = _without_runs(loud, value=False, shortest=options.shortest_gap)
    loud = _without_runs(loud, value=True, shortest=options.shortest_speech)
    margin = round(options.margin * SAMPLE_RATE)
    found: list[tuple[int, int]] = []
    for start, stop, is_speech in _runs(loud):
        if is_speech:
            begin, end = max(0, start * HOP - margin), min(len(waveform), stop * HOP + margin)
            if found and begin <= found[-1][1]:
                found[-1] = (found[-1][0], end)
            else:
                found.append((begin, end))
    return found


def frame_levels(waveform: torch.Tensor) -> np.ndarray:
    """Level of every 10 ms `(T,)` in decibels of full scale, over 25 ms around it, after pre-emphasis."""
    emphasized = waveform - PRE_EMPHASIS * F.pad(waveform, (1, 0))[:-1]
    frames = -(-len(waveform) // HOP)
    before = (WINDOW - HOP) // 2
    padded = F.pad(emphasized.square(), (before, max(0, frames * HOP + WINDOW - HOP - before - len(waveform))))
    power = padded.unfold(0, WINDOW, HOP)[:frames].mean(dim=1)  # (S,) -> (T, WINDOW) -> (T,)
    return 10 * np.log10(np.maximum(power.numpy(), 1e-12))


def _without_runs(loud: np.ndarray, *, value: bool, shortest: float) -> np.ndarray:
    """Flip runs of `value` that are shorter than so many seconds; silences at the ends are no gaps."""
    result = loud.copy()
    for start, stop, is_speech in _runs(loud):
        at_end = start == 0 or stop == len(loud)
        if is_speech == value and (stop - start) * HOP < shortest * SAMPLE_RATE and (value or not at_end):
            result[start:stop] = not value
    return result


def _runs(values: np.ndarray) -> list[tuple[int, int, bool]]:
    """First and one past the last index of every run, and its value."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(start, stop, bool(values[start])) for start, stop in pairwise(edges)]
