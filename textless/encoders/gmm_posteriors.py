"""The classical zero-resource encoder: posteriors of a Gaussian mixture over speaker-normalised MFCC.

What won ZeroSpeech 2015 and 2017 (Chen et al. 2015, Heck et al. 2017), without any training by gradient: MFCC with
unsupervised vocal tract length normalisation and per-speaker mean and variance, an unsupervised mixture of Gaussians
(of a given number, or as many as a Dirichlet process finds), and as features the posteriors of its components.

Posteriors are flattened by a power, p^temperature renormalised, and their square roots taken: the cosine between two
frames is then the Bhattacharyya coefficient of their posteriors.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.encoders.identity import identity
from textless.encoders.mixture import Covariance, Mixture
from textless.encoders.speaker_mfcc import SpeakerMfcc


class GmmPosteriorsConfig(Config):
    """What features a fitted mixture gives."""

    components: int = Field(ge=1)  # in use
    covariance: Covariance = "diagonal"
    vtln: bool = True
    temperature: float = Field(0.3, gt=0)  # power of the posteriors; below 1 is flatter
    frame_rate: int = Field(100, ge=1)


class GmmPosteriors(nn.Module):
    """Layer 0: normalised MFCC, 39 dimensions. Layer 1: square roots of flattened posteriors, frames of unit length.

    The features of an utterance depend on its speaker's state, see `speaker_state`.
    """

    sample_rate = SAMPLE_RATE
    num_layers = 1

    def __init__(self, config: GmmPosteriorsConfig) -> None:
        super().__init__()
        self.config = config
        self.frame_rate = float(config.frame_rate)
        self.mfcc = SpeakerMfcc(config.frame_rate, vtln=config.vtln)
        self.min_samples = self.mfcc.hop
        self.mixture = Mixture(config.components, self.mfcc.dim, config.covariance)

    def layer_dim(self, layer: int) -> int:
        """Size of a frame: the components, or, in layer 0, that of the MFCC."""
        return self.config.components if layer else self.mfcc.dim

    def sha256(self) -> str:
        """Identity: the configuration and all weights."""
        return identity(self.config, self.state_dict())

    def speaker_state(self, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
        """State `(79,)` of one speaker, from recordings `(S_i,)` of theirs; a minute is enough.

        Raises:
            AudioError: no recording has a frame.
        """
        return self.mfcc.state(self.mfcc.power(waveforms))

    def forward(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        layer: int = 1,
        speakers: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)`, states `(B, 79)` → features `(B, T, K)`, frame counts `(B,)`.

        Layer 0 is the normalised MFCC `(B, T, 39)` that the mixture was fitted to, layer 1 its posteriors. Without
        states, each utterance is taken for all that is known of its speaker.
        """
        features, frames = self.mfcc(waveforms, lengths, speakers)
        if layer == 0:
            return features, frames
        roots = self.mixture.posteriors(features, self.config.temperature).sqrt()
        return roots * mask(frames, roots.shape[1])[..., None], frames
