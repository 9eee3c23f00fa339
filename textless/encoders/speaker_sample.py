"""How much of a speaker an encoder that adapts to speakers listens to."""

from collections.abc import Iterator

import torch

from textless.audio.io import SAMPLE_RATE

SAMPLES_PER_SPEAKER = 60 * SAMPLE_RATE  # tell a speaker's state


def take_minute(waveforms: Iterator[torch.Tensor]) -> list[torch.Tensor]:
    """Take recordings `(S_i,)` of one speaker from the front until a minute is full, and leave the others."""
    heard: list[torch.Tensor] = []
    while sum(map(len, heard)) < SAMPLES_PER_SPEAKER and (waveform := next(waveforms, None)) is not None:
        heard.append(waveform)
    return heard
