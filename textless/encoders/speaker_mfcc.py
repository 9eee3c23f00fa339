"""MFCC in the terms of whoever speaks: normalised in vocal tract length, mean and variance over the speaker.

The state of a speaker is (warp, mean of each dimension, standard deviation of each dimension), float32.
"""

from collections.abc import Sequence

import torch
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.encoders.mixture import Mixture
from textless.encoders.spectral import CEPSTRA, WINDOW, povey_window, power_spectra
from textless.encoders.vtln import COMPONENTS, DIM, estimate_warp, moments, warped_mfcc
from textless.errors import AudioError, UserError


class SpeakerMfcc(nn.Module):
    """MFCC, Δ and ΔΔ, 39 dimensions, speaker by speaker; without `vtln` the warp is always 1.

    Frame i is centred at (i + ½) / frame rate; S samples give ⌊S / hop⌋ frames.
    """

    dim = 3 * CEPSTRA

    def __init__(self, frame_rate: int, *, vtln: bool) -> None:
        super().__init__()
        if SAMPLE_RATE % frame_rate or SAMPLE_RATE // frame_rate > WINDOW:
            raise UserError(f"a frame rate of {frame_rate} Hz: it must divide 16000 and be at least 40 Hz")
        self.hop = SAMPLE_RATE // frame_rate
        self.warp_model = Mixture(COMPONENTS, DIM, "diagonal") if vtln else None
        self.window: torch.Tensor
        self.register_buffer("window", povey_window(), persistent=False)

    def power(self, waveforms: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Power spectra `(T_i, 257)` of waveforms `(S_i,)`, of those that have a frame.

        Raises:
            AudioError: none has.
        """
        usable = [waveform for waveform in waveforms if len(waveform) >= self.hop]
        if not usable:
            raise AudioError(f"no recording of the speaker has a frame ({self.hop} samples)")
        return [power_spectra(waveform[None], self.hop, self.window)[0] for waveform in usable]

    def state(self, power: Sequence[torch.Tensor]) -> torch.Tensor:
        """State `(79,)` of the speaker whose recordings have power spectra `(T_i, 257)`."""
        warp = estimate_warp(self.warp_model, power) if self.warp_model is not None else 1.0
        frames = [warped_mfcc(p[None], torch.tensor([len(p)], device=p.device), [warp])[0] for p in power]
        mean, scale = moments(torch.cat(frames))
        return torch.cat([mean.new_tensor([warp]), mean, scale])

    def forward(
        self, waveforms: torch.Tensor, lengths: torch.Tensor, speakers: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)`, states `(B, 79)` → features `(B, T, 39)`, frame counts `(B,)`.

        Without states, each utterance is taken for all that is known of its speaker.
        """
        frames = lengths // self.hop
        waveforms = waveforms * mask(lengths, waveforms.shape[1])
        power = power_spectra(waveforms, self.hop, self.window)[:, : int(frames.max())]
        if speakers is None:
            speakers = torch.stack([self.state([row[:n]]) for row, n in zip(power, frames.tolist(), strict=True)])
        warps, mean, scale = speakers.split([1, self.dim, self.dim], dim=1)
        features = (warped_mfcc(power, frames, warps[:, 0].tolist()) - mean[:, None]) / scale[:, None]
        return features * mask(frames, features.shape[1])[..., None], frames
