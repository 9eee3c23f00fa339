"""Fundamental frequency by Boersma's autocorrelation method, the one of Praat.

Boersma 1993, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled
sound". A frame is three periods of the lowest pitch, Hann-windowed; its autocorrelation is divided by the window's. The
maxima of that, one candidate more for "unvoiced", and the cheapest path through all frames' candidates give the pitch.

The tracker is an encoder of one dimension (hertz; 0 where unvoiced), so that pitch is stored, sharded and read as
features are. Frame i is centred at (i + ½) / frame_rate.
"""

import math
from collections.abc import Iterator

import numba
import numpy as np
import torch
import torch.nn.functional as F

from textless.audio.io import SAMPLE_RATE
from textless.errors import UserError
from textless.files import sha256

FLOOR, CEILING = 65.0, 500.0  # Hz
CANDIDATES = 8  # voiced ones, a frame
SILENCE_THRESHOLD, VOICING_THRESHOLD = 0.03, 0.45
OCTAVE_COST = 0.01  # a octave: among equals, prefer the higher pitch
OCTAVE_JUMP_COST, VOICING_COST = 0.35, 0.14  # between frames 10 ms apart
BLOCK = 4096  # frames


class PitchTracker:
    """Pitch at a frame rate that divides 16 kHz."""

    sample_rate = SAMPLE_RATE
    num_layers = 0

    def __init__(self, frame_rate: int, floor: float = FLOOR, ceiling: float = CEILING) -> None:
        if SAMPLE_RATE % frame_rate or not 0 < floor < ceiling <= SAMPLE_RATE / 4:
            raise UserError(
                f"pitch at {frame_rate} Hz between {floor:g} and {ceiling:g} Hz: the frame rate must divide 16000, and "
                "the floor lie below the ceiling"
            )
        self.frame_rate = float(frame_rate)
        self.hop = SAMPLE_RATE // frame_rate
        self.floor, self.ceiling = floor, ceiling
        self.window = torch.hann_window(round(3 * SAMPLE_RATE / floor), periodic=False)
        self.fft_size = 1 << math.ceil(math.log2(1.5 * len(self.window)))
        self.window_correlation = self._autocorrelation(self.window)
        self.window_correlation /= self.window_correlation[0].clone()

    @property
    def spec(self) -> str:
        """Its name among encoders."""
        return f"pitch@{self.frame_rate:g}"

    def layer_dim(self, layer: int = 0) -> int:  # noqa: ARG002 - there is one layer
        """Size of a frame."""
        return 1

    @property
    def min_samples(self) -> int:
        """Samples below which there is no frame."""
        return self.hop

    def sha256(self) -> str:
        """Identity: the settings alone."""
        return sha256(f"pitch 1 {self.hop} {self.floor!r} {self.ceiling!r}".encode())

    def forward(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        layer: int = 0,  # noqa: ARG002 - there is one
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → hertz `(B, T, 1)`, 0 where unvoiced, and frame counts `(B,)`."""
        rows = [self.track(row[:n].cpu().float()) for row, n in zip(waveforms, lengths.tolist(), strict=True)]
        padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True)
        return padded[..., None].to(waveforms.device), lengths // self.hop

    def track(self, waveform: torch.Tensor) -> np.ndarray:
        """Waveform `(S,)` → pitch `(T,)` in hertz, float32, 0 where unvoiced."""
        n_frames = len(waveform) // self.hop
        blocks = list(self._candidates(waveform, n_frames))
        if not blocks:
            return np.zeros(0, dtype=np.float32)
        frequencies = torch.cat([f for f, _ in blocks]).numpy()
        strengths = torch.cat([s for _, s in blocks]).numpy()
        return _cheapest_path(frequencies, strengths, 100 / self.frame_rate).astype(np.float32)

    def _candidates(self, waveform: torch.Tensor, n_frames: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Frequencies and strengths `(n, CANDIDATES + 1)` of blocks of frames; the first candidate is "unvoiced"."""
        size = len(self.window)
        before = (size - self.hop) // 2
        padded = F.pad(waveform, (max(before, 0), size + self.hop))[max(-before, 0) :]
        loudest = float((waveform - waveform.mean()).abs().max()) if len(waveform) else 0.0
        for start in range(0, n_frames, BLOCK):
            count = min(BLOCK, n_frames - start)
            frames = padded[start * self.hop :].unfold(0, size, self.hop)[:count]  # (n, size)
            frames = frames - frames.mean(dim=1, keepdim=True)
            correlation = self._autocorrelation(frames * self.window)
            correlation = correlation / correlation[:, :1].clamp_min(1e-12) / self.window_correlation
            unvoiced = torch.full((count,), VOICING_THRESHOLD)
            if loudest > 0:
                loudness = frames.abs().amax(dim=1) / loudest
                unvoiced += (2 - loudness * (1 + VOICING_THRESHOLD) / SILENCE_THRESHOLD).clamp_min(0)
            frequencies, strengths = self._maxima(correlation)
            yield (
                torch.cat([torch.zeros(count, 1), frequencies], dim=1),
                torch.cat([unvoiced[:, None], strengths], dim=1),
            )

    def _autocorrelation(self, frames: torch.Tensor) -> torch.Tensor:
        """Of frames `(..., size)`, at lags 0..SAMPLE_RATE / floor + 1."""
        power = torch.fft.rfft(frames, self.fft_size).abs().square()
        return torch.fft.irfft(power, self.fft_size)[..., : math.ceil(SAMPLE_RATE / self.floor) + 2]

    def _maxima(self, correlation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Frequency and strength of the best maxima of every frame `(n, CANDIDATES)`.

        Where there are fewer, the strength is −∞. A maximum is refined by the parabola through three points.
        """
        left, middle, right = correlation[:, :-2], correlation[:, 1:-1], correlation[:, 2:]
        curvature = left - 2 * middle + right
        shift = (0.5 * (left - right) / curvature.clamp_max(-1e-12)).clamp(-0.5, 0.5)
        frequency = SAMPLE_RATE / (torch.arange(1, middle.shape[1] + 1) + shift)
        height = middle - 0.25 * (left - right) * shift
        height = torch.where(height > 1, 1 / height, height)  # sharper than a window allows: noise
        strength = height - OCTAVE_COST * torch.log2(self.floor / frequency)
        peak = (middle > left) & (middle >= right) & (frequency >= self.floor) & (frequency <= self.ceiling)
        strength = torch.where(peak, strength, -torch.inf)
        best, where = strength.topk(CANDIDATES, dim=1)
        return frequency.gather(1, where), best


@numba.njit(nogil=True, cache=True)
def _cheapest_path(frequencies: np.ndarray, strengths: np.ndarray, step: float) -> np.ndarray:
    """Frequencies `(T,)` of the path of most strength and least cost through candidates `(T, C)`; 0 is unvoiced.

    `step` is the time between frames in units of 10 ms, for which the costs are given.
    """
    n_frames, count = frequencies.shape
    origin = np.zeros((n_frames, count), dtype=np.int64)
    total = strengths[0].astype(np.float64)
    for t in range(1, n_frames):
        now = np.empty(count)
        for c in range(count):
            best, best_value = 0, -np.inf
            for b in range(count):
                before, after = frequencies[t - 1, b], frequencies[t, c]
                if total[b] == -np.inf:
                    continue
                if before == 0 and after == 0:
                    cost = 0.0
                elif before == 0 or after == 0:
                    cost = VOICING_COST
                else:
                    cost = OCTAVE_JUMP_COST * abs(np.log2(before / after))
                value = total[b] - cost / step
                if value > best_value:
                    best, best_value = b, value
            origin[t, c] = best
            now[c] = best_value + strengths[t, c]
        total = now
    path = np.empty(n_frames)
    last = int(np.argmax(total))
    for t in range(n_frames - 1, -1, -1):
        path[t] = frequencies[t, last]
        last = origin[t, last]
    return path
