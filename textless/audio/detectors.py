"""Detectors of speech by name: the project's own, which goes by loudness, and two behind optional packages."""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch

from textless.audio.io import SAMPLE_RATE
from textless.audio.vad import HOP, VadOptions, speech_intervals
from textless.errors import UserError

DEFAULTS = VadOptions()
VadName = Literal["energy", "rvad", "silero"]
Detector = Callable[[torch.Tensor], list[tuple[int, int]]]  # waveform (S,) at 16 kHz -> samples [start, stop) of speech


def load_detector(name: str, options: VadOptions = DEFAULTS) -> Detector:
    """A detector of speech.

    Args:
        name: `energy`: `textless.audio.vad`. `rvad`: rVADfast with its defaults, which wav2vec-U used (Tan et al. 2020,
            https://arxiv.org/abs/1906.03588). `silero`: the network of the package silero-vad.
        options: of `energy`; the others have settings of their own.

    Raises:
        UserError: there is none of that name, or its package is not installed.
    """
    match name:
        case "energy":
            return lambda waveform: speech_intervals(waveform, options)
        case "rvad":
            return _rvad()
        case "silero":
            return _silero()
        case _:
            raise UserError(f"no detector of speech is named {name!r}: use {', '.join(get_args(VadName))}")


def _rvad() -> Detector:
    try:
        from rVADfast import rVADfast
    except ImportError as error:
        raise UserError("rvad needs the package rVADfast (pip install rVADfast); or use energy") from error
    label = rVADfast()

    def detect(waveform: torch.Tensor) -> list[tuple[int, int]]:
        if len(waveform) < SAMPLE_RATE // 10:
            return [(0, len(waveform))] if len(waveform) else []
        labels, _ = label(waveform.double().numpy(), SAMPLE_RATE)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(labels, dtype=int), [0]])))
        ends = [len(waveform) if stop == len(labels) else int(stop) * HOP for stop in edges[1::2]]
        return [(int(start) * HOP, stop) for start, stop in zip(edges[::2], ends, strict=True)]

    return detect


def _silero() -> Detector:
    try:
        from silero_vad import get_speech_timestamps, load_silero_vad
    except ImportError as error:
        raise UserError("silero needs the package silero-vad (pip install silero-vad); or use energy") from error
    model = load_silero_vad()

    def detect(waveform: torch.Tensor) -> list[tuple[int, int]]:
        found = get_speech_timestamps(waveform, model, sampling_rate=SAMPLE_RATE)
        return [(int(stretch["start"]), int(stretch["end"])) for stretch in found]

    return detect
