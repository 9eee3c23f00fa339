"""Timbre and pitch of one recording against its resynthesis.

Frames lie beside each other as they are where the two are of equal length (a difference of up to 50 ms is cut off:
encoders drop part of a frame); else along the path of dynamic time warping of their mel-cepstra, pitch as well.
"""

from dataclasses import dataclass

import torch

from textless.audio.io import SAMPLE_RATE
from units.pitch import PitchTracker
from zerospeech_eval.f0_errors import F0Errors, f0_errors
from zerospeech_eval.mel_cepstra import FRAME_RATE, distortions, mel_cepstra, warp

EQUAL_LENGTH = 5  # frames of 10 ms that two recordings of equal length may differ by


@dataclass(frozen=True)
class Acoustics:
    """How far a resynthesis is from the original: mel-cepstral distortions in dB, and errors of pitch."""

    seconds: float  # of the original
    mcd: float  # mean along the path
    mcd_in_place: float | None  # mean frame by frame; None where the lengths differ
    f0: F0Errors


def compare(original: torch.Tensor, resynthesis: torch.Tensor, order: int, tracker: PitchTracker) -> Acoustics:
    """Compare waveforms `(S,)` and `(S',)` at 16 kHz, by cepstra 1 … `order`."""
    cepstra = mel_cepstra(original, order), mel_cepstra(resynthesis, order)
    pitches = tracker.track(original), tracker.track(resynthesis)
    path = warp(*cepstra)
    warped = distortions(cepstra[0][path[:, 0]], cepstra[1][path[:, 1]]).mean()
    counts = [len(frames) for frames in cepstra]
    in_place = None
    if abs(counts[0] - counts[1]) <= EQUAL_LENGTH:
        both = min(counts)
        in_place = float(distortions(cepstra[0][:both], cepstra[1][:both]).mean())
        errors = f0_errors(pitches[0][:both], pitches[1][:both])
    else:
        errors = f0_errors(pitches[0][path[:, 0]], pitches[1][path[:, 1]])
    return Acoustics(len(original) / SAMPLE_RATE, float(warped), in_place, errors)


def new_tracker() -> PitchTracker:
    """Pitch at the rate of the cepstra."""
    return PitchTracker(FRAME_RATE)
