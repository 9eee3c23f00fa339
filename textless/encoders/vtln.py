"""Vocal tract length normalisation without labels: a warp of the frequency axis for every speaker (Lee & Rose 1996).

The warp of a speaker is the one, of a grid, under which a small Gaussian mixture of all speakers finds their MFCC most
likely; the mixture in turn is trained on speech warped so far, in a few rounds. Nobody needs a transcript, nor to know
who is a man and who is a woman: that comes out.

Warping changes the volume of feature space, which a likelihood would have to be compensated for by a Jacobian; here
every dimension has zero mean and unit variance over the speaker *at every warp*, so that no warp gains by shrinking.

Power spectra are computed once; all warps of them are one product with the filters of all warps side by side.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from textless.encoders.mixture import Mixture, fit_mixture, refine
from textless.encoders.spectral import (
    CEPSTRA,
    MFCC_BINS,
    liftered_cosines,
    log_energies,
    mel_filters,
    with_differences,
)

WARPS = tuple(
    round(0.84 + 0.02 * step, 2) for step in range(19)
)  # 0.84 ... 1.20, as Kaldi counts: above 1 for longer tracts
UNWARPED = WARPS.index(1.0)
DIM = 2 * CEPSTRA  # cepstra and their first differences
COMPONENTS = 64
ROUNDS, FIRST_ITERATIONS, NEXT_ITERATIONS = 4, 15, 3
FRAMES_PER_SPEAKER = 1000  # scored, evenly spaced
VARIANCE_FLOOR = 1e-5  # as in `spectral.normalise`


@dataclass(frozen=True)
class WarpFit:
    """A mixture of all speakers, and the warps (of the grid) of those it was made from."""

    mixture: Mixture
    warps: list[float]


def estimate_warp(mixture: Mixture, power: Sequence[torch.Tensor]) -> float:
    """Warp, of the grid, of the speaker whose recordings have power spectra `(T_i, 257)`."""
    return WARPS[_most_likely(mixture, candidates(power))]


def fit_warp_model(speakers: Sequence[torch.Tensor], seed: int, device: torch.device | None = None) -> WarpFit:
    """Fit the mixture and all warps in turns, from the `candidates` `(W, n_i, 26)` of every speaker.

    After each turn all warps are moved by the same number of steps, within the grid, so that their mean is 1 (to half a
    step): otherwise the mixture could drift to an end. With few speakers and little speech, a mixture that knows each
    by heart finds them likely as they are, and warps stay too near to 1.

    Frames of any float type will do; they are scored in float32.

    Raises:
        UserError: there are fewer frames than components.
    """
    chosen = [UNWARPED] * len(speakers)
    start = fit_mixture(_warped(speakers, chosen), COMPONENTS, iterations=FIRST_ITERATIONS, seed=seed, device=device)
    gaussians = start.gaussians
    for _ in range(ROUNDS):
        mixture = gaussians.mixture().to(device)
        chosen = _centred([_most_likely(mixture, speaker) for speaker in speakers])
        gaussians = refine(gaussians, _warped(speakers, chosen), NEXT_ITERATIONS, device).gaussians
    return WarpFit(gaussians.mixture().to(device), [WARPS[warp] for warp in chosen])


def _warped(speakers: Sequence[torch.Tensor], chosen: Sequence[int]) -> torch.Tensor:
    return torch.cat([speaker[warp].float() for speaker, warp in zip(speakers, chosen, strict=True)])


def _centred(chosen: list[int]) -> list[int]:
    shift = round(sum(chosen) / len(chosen)) - UNWARPED
    return [min(max(warp - shift, 0), len(WARPS) - 1) for warp in chosen]


def _most_likely(mixture: Mixture, frames: torch.Tensor) -> int:
    device = mixture.constants.device
    scores = torch.stack([mixture.log_likelihood(warped.to(device).float()).mean() for warped in frames])
    return int(scores.argmax())


def candidates(power: Sequence[torch.Tensor]) -> torch.Tensor:
    """Power spectra `(T_i, 257)` of one speaker's recordings → what each warp would make of them, `(W, n, 26)`.

    Cepstra and their differences, each of zero mean and unit variance over all frames; of these, at most 1000 evenly
    spaced ones are returned.
    """
    filters = _side_by_side().to(power[0].device)
    parts = []
    for recording in power:
        energies = log_energies(recording, filters).unflatten(1, (len(WARPS), MFCC_BINS))  # (T, W 23) -> (T, W, 23)
        static = energies @ liftered_cosines().to(energies.device)  # (T, W, 13)
        length = torch.tensor([len(recording)], device=recording.device)
        both = with_differences(static.flatten(1)[None], length, 1)[0]
        parts.append(both.unflatten(1, (2, len(WARPS), CEPSTRA)).transpose(1, 2).flatten(2))  # (T, W, 26)
    frames = torch.cat(parts)
    mean, scale = moments(frames)
    stride = -(-len(frames) // FRAMES_PER_SPEAKER)
    return ((frames[::stride] - mean) / scale).transpose(0, 1).contiguous()


def moments(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of `(T, ...)` over frames."""
    variance, mean = torch.var_mean(frames, dim=0, correction=0)
    return mean, (variance + VARIANCE_FLOOR).sqrt()


def warped_mfcc(power: torch.Tensor, frames: torch.Tensor, warps: Sequence[float]) -> torch.Tensor:
    """Power spectra `(B, T, 257)`, frame counts `(B,)` and a warp a row → MFCC, Δ and ΔΔ `(B, T, 39)`.

    With a warp of 1 these are the features of `mfcc`.
    """
    filters = torch.stack([_filters(warp) for warp in warps]).to(power.device)
    static = log_energies(power, filters) @ liftered_cosines().to(power.device)
    return with_differences(static, frames, 2)


@functools.lru_cache(maxsize=256)
def _filters(warp: float) -> torch.Tensor:
    return mel_filters(MFCC_BINS, warp)


@functools.cache
def _side_by_side() -> torch.Tensor:
    """Filters of all warps: `(257, W · 23)`."""
    return torch.cat([_filters(warp) for warp in WARPS], dim=1)
