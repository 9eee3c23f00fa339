"""Audio files: any format libsndfile reads (wav, flac, ogg, mp3 ...) in, mono float32 at 16 kHz inside.

Reading checks what a corpus gets wrong in practice: missing, empty and truncated files, text named .wav, NaN samples.
"""

import functools
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torchaudio.functional

from textless.errors import AudioError
from textless.files import atomic_write

SAMPLE_RATE = 16_000
EXTENSIONS = frozenset(
    {".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".w64", ".caf", ".sph"}
)
LOWEST_RATE, HIGHEST_RATE = 8_000, 192_000


@dataclass(frozen=True)
class AudioInfo:
    """What a file's header says; `n_samples` counts frames at the file's own `sample_rate`."""

    n_samples: int
    sample_rate: int
    channels: int


def info(path: Path) -> AudioInfo:
    """Read the header of an audio file.

    Raises:
        AudioError: the file is missing, empty, truncated or not audio, or its sample rate is out of range.
    """
    if not path.is_file():
        raise AudioError(f"audio file not found: {path}")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes)")
    try:
        header = soundfile.info(str(path))
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path} is not an audio file that libsndfile can read ({_reason(error)})") from error
    if header.frames <= 0:
        raise AudioError(f"{path} holds no samples")
    if not LOWEST_RATE <= header.samplerate <= HIGHEST_RATE:
        raise AudioError(f"{path} has a sample rate of {header.samplerate} Hz; supported are 8000 to 192000 Hz")
    return AudioInfo(header.frames, header.samplerate, header.channels)


def load(path: Path, *, expected_samples: int | None = None) -> torch.Tensor:
    """Read a file as a mono waveform at 16 kHz.

    Args:
        path: any format libsndfile reads; channels are averaged, other sample rates resampled.
        expected_samples: length at the file's own rate, as a manifest states it.

    Returns:
        Waveform `(S,)`, float32, on the CPU.

    Raises:
        AudioError: the file cannot be used (see `info`), holds NaN or infinite samples, or ends early.
        LengthMismatchError: it is not as long as expected.
    """
    header = info(path)
    _check_riff_is_whole(path)
    if expected_samples is not None and expected_samples != header.n_samples:
        raise LengthMismatchError(
            f"{path} has {header.n_samples} samples but its manifest says {expected_samples}; "
            "the file changed since: scan the folder again"
        )
    try:
        samples, _ = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{path} is damaged or truncated ({_reason(error)})") from error
    if len(samples) < header.n_samples:
        raise AudioError(f"{path} is truncated: {len(samples)} of {header.n_samples} samples can be read")
    waveform = torch.from_numpy(samples).mean(dim=1)  # (S, channels) -> (S,)
    if not bool(torch.isfinite(waveform).all()):
        raise AudioError(f"{path} holds NaN or infinite samples")
    return resample(waveform, header.sample_rate)


class LengthMismatchError(AudioError):
    """A manifest that does not describe the file it names: the whole manifest is stale, so no verb skips this."""


def resample(waveform: torch.Tensor, source_rate: int, target_rate: int = SAMPLE_RATE) -> torch.Tensor:
    """Band-limited resampling of `(..., S)` (windowed sinc, Hann, 6 zero crossings: torchaudio's default)."""
    if source_rate == target_rate:
        return waveform
    return torchaudio.functional.resample(waveform, source_rate, target_rate)


def save(path: Path, waveform: torch.Tensor | np.ndarray, sample_rate: int = SAMPLE_RATE) -> None:
    """Write a mono waveform `(S,)` atomically as 16-bit PCM; the extension names the format (.wav, .flac, .ogg).

    Samples beyond ±1 are clipped.
    """
    samples = np.clip(np.asarray(waveform, dtype=np.float32), -1.0, 1.0)
    if samples.ndim != 1:
        raise ValueError(f"expected a waveform of shape (S,), got {samples.shape}")
    container = _writable_formats().get(path.suffix.lower())
    if container is None:
        raise AudioError(f"cannot write {path}: use one of {', '.join(sorted(_writable_formats()))}")
    with atomic_write(path, "wb") as file:
        soundfile.write(file, samples, sample_rate, format=container)


@functools.cache
def _writable_formats() -> dict[str, str]:
    wanted = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG", ".mp3": "MP3"}
    return {suffix: name for suffix, name in wanted.items() if name in soundfile.available_formats()}


def _check_riff_is_whole(path: Path) -> None:
    """Compare a WAV's size field with its size: libsndfile says nothing (0 and 2³²-1 mean it was written to a pipe)."""
    with path.open("rb") as file:
        head = file.read(8)
    if head[:4] != b"RIFF":
        return
    (size,) = struct.unpack("<I", head[4:8])
    present = path.stat().st_size - 8
    if size not in (0, 0xFFFFFFFF) and present < size - 1:  # one pad byte may be missing
        raise AudioError(f"{path} is truncated: {present + 8} of {size + 8} bytes are there")


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
