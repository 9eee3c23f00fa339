"""Log-mel and MFCC features as Kaldi defines them, batched.

A frame is 25 ms: DC offset removed, pre-emphasis 0.97, Povey window, 512-point power spectrum, triangular mel filters
from 20 Hz to 8 kHz, logarithm; for MFCC, 13 cepstra of 23 filters, liftered with 22, and their first and second
regression differences (39 in all, as HuBERT's first iteration is taught). `-cmvn` names normalise every dimension to
zero mean and unit variance over the utterance.

The waveform is zero-padded so that frame i is centred at (i + ½) / frame_rate and S samples give ⌊S / hop⌋ frames;
apart from that the features equal those of `torchaudio.compliance.kaldi` to float32 rounding.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.errors import UserError
from textless.files import sha256

NAMES = ("mfcc", "mfcc-cmvn", "logmel", "logmel-cmvn")
DEFAULT_FRAME_RATE = 100
WINDOW = 400  # samples: 25 ms
FFT_SIZE = 512
PRE_EMPHASIS = 0.97
LOWEST_FREQUENCY = 20.0
LOGMEL_BINS, MFCC_BINS, CEPSTRA, LIFTER = 80, 23, 13, 22.0
WARP_LOWEST, WARP_HIGHEST = 100.0, SAMPLE_RATE / 2 - 500  # Hz: bends of the warping of frequencies
DELTA_REACH = 2  # frames on either side of a regression difference
EPSILON = torch.finfo(torch.float32).eps  # Kaldi's floor under the logarithm


class SpectralEncoder(nn.Module):
    """`logmel` (80 dimensions) or `mfcc` (39) at a whole number of samples a frame."""

    sample_rate = SAMPLE_RATE
    num_layers = 0

    def __init__(self, name: str, frame_rate: int) -> None:
        super().__init__()
        if name not in NAMES:
            raise ValueError(f"unknown spectral encoder {name!r}")
        if SAMPLE_RATE % frame_rate or SAMPLE_RATE // frame_rate > WINDOW:
            raise UserError(f"{name}@{frame_rate}: the frame rate must divide 16000 and be at least 40 Hz")
        self.name = name
        self.is_mfcc = name.startswith("mfcc")
        self.normalises = name.endswith("-cmvn")
        self.frame_rate = float(frame_rate)
        self.hop = self.min_samples = SAMPLE_RATE // frame_rate
        self.window: torch.Tensor
        self.filters: torch.Tensor
        self.cepstrum: torch.Tensor
        self.register_buffer("window", povey_window())
        self.register_buffer("filters", mel_filters(MFCC_BINS if self.is_mfcc else LOGMEL_BINS))
        self.register_buffer("cepstrum", liftered_cosines())

    def layer_dim(self, layer: int = 0) -> int:  # noqa: ARG002 - there is one layer
        """Size of a frame."""
        return 3 * CEPSTRA if self.is_mfcc else LOGMEL_BINS

    def sha256(self) -> str:
        """Identity: the settings alone, there are no weights."""
        return sha256(f"spectral 1 {self.name} {self.hop}".encode())

    def forward(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        layer: int = 0,  # noqa: ARG002 - there is one layer
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, D)`, frame counts `(B,)`."""
        frames = lengths // self.hop
        waveforms = waveforms * mask(lengths, waveforms.shape[1])
        power = power_spectra(waveforms, self.hop, self.window)[:, : int(frames.max())]
        features = log_energies(power, self.filters)
        if self.is_mfcc:
            static = features @ self.cepstrum  # (B, T, 23) -> (B, T, 13)
            features = with_differences(static, frames, 2)
        if self.normalises:
            features = normalise(features, frames)
        return features * mask(frames, features.shape[1])[..., None], frames


def power_spectra(waveforms: torch.Tensor, hop: int, window: torch.Tensor) -> torch.Tensor:
    """Waveforms `(B, S)` → power spectra of their frames `(B, ⌊S / hop⌋, 257)`."""
    before = (WINDOW - hop) // 2
    padded = F.pad(waveforms.float(), (before, WINDOW))
    n_frames = waveforms.shape[1] // hop
    # Pre-emphasis of a window without its mean m: (x_n - m) - a (x_{n-1} - m) = (x_n - a x_{n-1}) - (1 - a) m, so
    # the first term is taken once for the whole waveform; the first sample of a window is its own predecessor.
    emphasised = F.pad(padded[:, 1:] - PRE_EMPHASIS * padded[:, :-1], (1, 0))
    raw = padded.unfold(-1, WINDOW, hop)[:, :n_frames]  # (B, T, 400), a view
    mean = raw.mean(dim=-1, keepdim=True)
    windows = emphasised.unfold(-1, WINDOW, hop)[:, :n_frames] - (1 - PRE_EMPHASIS) * mean
    windows[..., :1] = (1 - PRE_EMPHASIS) * (raw[..., :1] - mean)
    spectrum = torch.fft.rfft(windows.mul_(window), FFT_SIZE)  # (B, T, 257)
    return spectrum.real.square() + spectrum.imag.square()


def log_energies(power: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Power spectra `(..., T, 257)` and filters `(257, bins)`, or one a row → log energies `(..., T, bins)`."""
    with torch.autocast(power.device.type, enabled=False):
        return (power @ filters).clamp_min(EPSILON).log()


def povey_window() -> torch.Tensor:
    """Kaldi's window `(400,)`: a Hann window to the power of 0.85."""
    return torch.hann_window(WINDOW, periodic=False).pow(0.85)


def mel_filters(bins: int, warp: float = 1.0) -> torch.Tensor:
    """Triangular filters `(257, bins)`, equally wide on the mel scale 1127 ln(1 + f / 700), as in Kaldi.

    `warp` is the factor of vocal tract length normalisation: the filters are moved along the frequency axis by Kaldi's
    piecewise linear function, down where it is above 1.
    """

    def mel(frequency: torch.Tensor) -> torch.Tensor:
        return 1127.0 * torch.log1p(frequency / 700.0)

    lowest, highest = mel(torch.tensor([LOWEST_FREQUENCY, SAMPLE_RATE / 2], dtype=torch.float64))
    edges = lowest + (highest - lowest) / (bins + 1) * torch.arange(bins + 2)
    if warp != 1:
        edges = mel(_warped(700 * torch.expm1(edges / 1127), warp))
    centres = mel(torch.arange(FFT_SIZE // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT_SIZE)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    triangles = torch.minimum((centres - left) / (middle - left), (right - centres) / (right - middle)).clamp_min(0)
    triangles[-1] = 0  # Kaldi leaves the Nyquist bin out
    return triangles.float()


def _warped(frequencies: torch.Tensor, warp: float) -> torch.Tensor:
    """Frequencies / warp between two bends; straight lines from there to the ends of the band, which stay."""
    low, high = LOWEST_FREQUENCY, SAMPLE_RATE / 2
    first, second = WARP_LOWEST * max(1.0, warp), WARP_HIGHEST * min(1.0, warp)
    rising = low + (first / warp - low) / (first - low) * (frequencies - low)
    falling = high + (high - second / warp) / (high - second) * (frequencies - high)
    middle = frequencies / warp
    return torch.where(frequencies < first, rising, torch.where(frequencies < second, middle, falling))


def liftered_cosines() -> torch.Tensor:
    """Orthonormal DCT-II, first 13 rows, with Kaldi's sinusoidal lifter: `(23, 13)`."""
    bins = torch.arange(MFCC_BINS, dtype=torch.float64) + 0.5
    orders = torch.arange(CEPSTRA, dtype=torch.float64)
    cosines = math.sqrt(2 / MFCC_BINS) * torch.cos(math.pi / MFCC_BINS * bins[:, None] * orders)
    cosines[:, 0] = math.sqrt(1 / MFCC_BINS)
    return (cosines * (1 + LIFTER / 2 * torch.sin(math.pi * orders / LIFTER))).float()


def regression_difference(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Slope of a line through five frames: Σ n (c[t+n] − c[t−n]) / (2 Σ n²), n = 1, 2; edges repeat the end frames."""
    steps = torch.arange(features.shape[1], device=features.device)
    last = (lengths - 1).clamp_min(0)[:, None]
    total = torch.zeros_like(features)
    for n in range(1, DELTA_REACH + 1):
        after = torch.minimum(steps + n, last)[..., None].expand_as(features)  # (B, T, D)
        before = torch.minimum((steps - n).clamp_min(0), last)[..., None].expand_as(features)
        total += n * (features.gather(1, after) - features.gather(1, before))
    return total / (2 * sum(n * n for n in range(1, DELTA_REACH + 1)))


def with_differences(features: torch.Tensor, lengths: torch.Tensor, order: int) -> torch.Tensor:
    """Features `(B, T, D)` with their differences, the differences of those, and so on: `(B, T, (1 + order) D)`."""
    parts = [features]
    for _ in range(order):
        parts.append(regression_difference(parts[-1], lengths))
    return torch.cat(parts, dim=-1)


def normalise(features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance of every dimension over the frames of each utterance, `(B, T, D)`."""
    valid = mask(lengths, features.shape[1])[..., None]
    count = lengths.clamp_min(1)[:, None, None]
    mean = (features * valid).sum(dim=1, keepdim=True) / count
    variance = ((features - mean).square() * valid).sum(dim=1, keepdim=True) / count
    return (features - mean) / (variance + 1e-5).sqrt()
