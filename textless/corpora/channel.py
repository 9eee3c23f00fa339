"""The way from the mouth to the file: a little coloring, background noise and level, different for every recording.

Equalization is a smooth random curve of a few decibels over the logarithm of frequency; the noise lies between white
and pink, 25 to 40 dB below the speech. Drawn anew for every utterance and unrelated to speaker, text or split, it gives
nothing away about them.
"""

import numpy as np

from textless.audio.io import SAMPLE_RATE

LEVEL_DB = (-28.0, -20.0)  # of the speech, relative to full scale
SNR_DB = (25.0, 40.0)
EQUALIZER_DB = 1.5  # standard deviation at the control points
EQUALIZER_HZ = np.geomspace(100, 8000, 6)
BLOCK = 4096  # a multiple of it has a fast Fourier transform
PEAK = 0.95


def apply_channel(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the waveform `(S,)`, float32 at 16 kHz, as it was recorded.

    Both equalizer and noise are applied to the spectrum, so that one pair of transforms suffices.
    """
    n = -(-len(waveform) // BLOCK) * BLOCK
    frequencies = np.fft.rfftfreq(n, 1 / SAMPLE_RATE).astype(np.float32)
    logarithm = np.log(np.maximum(frequencies, 50))
    spectrum = np.fft.rfft(waveform.astype(np.float32), n)
    gains = np.clip(rng.normal(0, EQUALIZER_DB, len(EQUALIZER_HZ)), -2 * EQUALIZER_DB, 2 * EQUALIZER_DB)
    spectrum *= np.exp(np.interp(logarithm, np.log(EQUALIZER_HZ), gains * np.log(10) / 20)).astype(np.float32)
    noise = rng.standard_normal(2 * len(frequencies), dtype=np.float32).view(np.complex64)
    slope = rng.uniform(0, 0.5)  # amplitude ~ f^-slope: 0 is white, 0.5 is pink
    noise *= np.exp(np.float32(-slope) * logarithm)
    snr = 10 ** (rng.uniform(*SNR_DB) / 10)
    spectrum += noise * np.float32(_norm(spectrum) / (_norm(noise) * np.sqrt(snr)))
    recorded = np.fft.irfft(spectrum, n)[: len(waveform)]
    level = 10 ** (rng.uniform(*LEVEL_DB) / 20)
    gain = min(
        level / max(_norm(recorded) / np.sqrt(len(recorded)), 1e-9), PEAK / max(float(np.abs(recorded).max()), 1e-9)
    )
    return recorded * np.float32(gain)


def _norm(values: np.ndarray) -> float:
    return float(np.linalg.norm(values))
