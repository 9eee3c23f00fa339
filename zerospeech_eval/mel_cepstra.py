"""Mel-cepstral distortion: how far two recordings are apart in timbre, in decibels.

Frames of 64 ms (Hann) every 10 ms, frame i centred at (i + ½) / 100 s, their power spectra, and 40 triangular filters
from 0 to 8 kHz, equally wide on the mel scale 2595 log₁₀(1 + f / 700), give band powers p_k; those more than 80 dB
below the loudest of the recording count as that. With the log amplitude a_k = ½ ln p_k,

    c_m = 2/40 Σ_k a_k cos(π m (k + ½) / 40)        so that        a_k = c_0/2 + Σ_{m=1..39} c_m cos(π m (k + ½) / 40)

and the distortion of two frames, over M cepstra without c_0 (their level), is

    10 / ln 10 · √(2 Σ_{m=1..M} (c_m − c'_m)²)

the root of the mean squared difference of the log spectra in dB, once these are smoothed to M cepstra and of equal
level. These are the units of SPTK's mel-cepstrum and of the voice conversion literature, where an all-pass filter warps
the spectrum instead; figures compare within one definition only. Recordings are compared frame by frame, or after
dynamic time warping.
"""

import math

import numpy as np
import torch
from numba import njit
from torch.nn import functional as F

from textless.audio.io import SAMPLE_RATE

FRAME_RATE = 100
HOP, WINDOW, BANDS = SAMPLE_RATE // FRAME_RATE, 1024, 40
RANGE_DB = 80.0
DIAGONAL, UP, LEFT = 0, 1, 2


def mel_cepstra(waveform: torch.Tensor, order: int) -> np.ndarray:
    """Cepstra 1 … `order` of every frame of a waveform `(S,)` at 16 kHz that is not silent: `(T, order)` float64."""
    padded = F.pad(waveform.double(), ((WINDOW - HOP) // 2, WINDOW))
    n_frames = len(waveform) // HOP
    frames = padded.unfold(0, WINDOW, HOP)[:n_frames]  # (T, 1024)
    window = torch.hann_window(WINDOW, dtype=torch.float64)
    power = torch.fft.rfft(frames * window).abs().square()  # (T, 513)
    bands = power @ _mel_filters()  # (T, 40)
    floor = bands.max() * 10 ** (-RANGE_DB / 10)
    amplitudes = 0.5 * bands.clamp_min(floor).log()
    return (amplitudes @ _cosines(order)).numpy()


def _mel_filters() -> torch.Tensor:
    """Triangles of height 1, `(513, 40)`."""
    highest = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, highest, BANDS + 2, dtype=torch.float64) / 2595) - 1)  # Hz
    bins = torch.arange(WINDOW // 2 + 1, dtype=torch.float64)[:, None] * SAMPLE_RATE / WINDOW
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    return torch.minimum((bins - left) / (middle - left), (right - bins) / (right - middle)).clamp_min(0)


def _cosines(order: int) -> torch.Tensor:
    """Of orders 1 … `order`, `(40, order)`."""
    orders = torch.arange(1, order + 1, dtype=torch.float64)
    bands = torch.arange(BANDS, dtype=torch.float64) + 0.5
    return 2 / BANDS * torch.cos(math.pi / BANDS * bands[:, None] * orders)


def distortions(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distortion of frames `(T, M)` and `(T, M)`, in dB: `(T,)`."""
    return 10 / math.log(10) * np.sqrt(2 * np.square(one - other).sum(axis=1))


def warp(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Path `(L, 2)` of frames of `(T, M)` beside frames of `(T', M)` whose distortions have the smallest sum.

    Steps are (1, 1), (1, 0) and (0, 1), without weights; where several are as good, in this order.
    """
    return _trace(_directions(np.ascontiguousarray(one), np.ascontiguousarray(other)))


@njit(cache=True, nogil=True)
def _directions(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Where the cheapest path into every cell comes from, `(T, T')`."""
    n, m, size = len(one), len(other), one.shape[1]
    came = np.empty((n, m), dtype=np.uint8)
    above = np.empty(m)
    for i in range(n):
        diagonal = left = 0.0
        for j in range(m):
            square = 0.0
            for k in range(size):
                square += (one[i, k] - other[j, k]) ** 2
            up = above[j]
            if i == 0:
                came[i, j] = LEFT
                best = left
            elif j == 0:
                came[i, j] = UP
                best = up
            elif diagonal <= up and diagonal <= left:
                came[i, j] = DIAGONAL
                best = diagonal
            elif up <= left:
                came[i, j] = UP
                best = up
            else:
                came[i, j] = LEFT
                best = left
            left = best + np.sqrt(square)
            diagonal = up
            above[j] = left
    return came


@njit(cache=True, nogil=True)
def _trace(came: np.ndarray) -> np.ndarray:
    """The path from the first cell to the last."""
    i, j = came.shape[0] - 1, came.shape[1] - 1
    path = np.empty((i + j + 1, 2), dtype=np.int64)
    length = 0
    while True:
        path[length, 0], path[length, 1] = i, j
        length += 1
        if i == 0 and j == 0:
            break
        direction = came[i, j]
        i -= direction != LEFT
        j -= direction != UP
    return path[:length][::-1]
