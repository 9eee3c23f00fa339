"""A waveform as an element of a web page, its sound within, so that a page is one file."""

import base64
import io as bytes_io

import soundfile
import torch

from textless.audio.io import SAMPLE_RATE


def player(waveform: torch.Tensor) -> str:
    """`<audio>` of a waveform `(S,)` in ±1."""
    buffer = bytes_io.BytesIO()
    soundfile.write(buffer, waveform.cpu().numpy(), SAMPLE_RATE, format="MP3")
    sound = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f'<audio controls preload="none" src="data:audio/mpeg;base64,{sound}"></audio>'
