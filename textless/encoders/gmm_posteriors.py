"""The classical zero-resource encoder: posteriors of a Gaussian mixture over speaker-normalised MFCC.

What won ZeroSpeech 2015 and 2017 (Chen et al. 2015, Heck et al. 2017), without any training by gradient: MFCC with
unsupervised vocal tract length normalisation and per-speaker mean and variance, an unsupervised mixture of Gaussians
(of a given number, or as many as a Dirichlet process finds), and as features the posteriors of its components.

Posteriors are flattened by a power, p^temperature renormalised, and their square roots taken: the cosine between two
frames is then the Bhattacharyya coefficient of their posteriors.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import nn

from textless.audio.batches import mask
from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.encoders.mixture import Covariance, Mixture
from textless.encoders.speaker_mfcc import SpeakerMfcc
from textless.errors import UserError
from textless.files import atomic_directory, sha256
from textless.training.checkpoint import CONFIG_NAME, load_model, save_model

KIND = "gmm-posteriors"
FORMAT, VERSION = "textless-encoder", 1


class GmmPosteriorsConfig(Config):
    """What features a fitted mixture gives."""

    components: int = Field(ge=1)  # in use
    covariance: Covariance = "diagonal"
    vtln: bool = True
    temperature: float = Field(0.2, gt=0)  # power of the posteriors; below 1 is flatter
    frame_rate: int = 100


class GmmPosteriors(nn.Module):
    """Square roots of flattened posteriors: `(B, T, components)`, every frame of unit length.

    The features of an utterance depend on its speaker's state, see `speaker_state`.
    """

    sample_rate = SAMPLE_RATE
    num_layers = 0

    def __init__(self, config: GmmPosteriorsConfig) -> None:
        super().__init__()
        self.config = config
        self.frame_rate = float(config.frame_rate)
        self.dim = config.components
        self.mfcc = SpeakerMfcc(config.frame_rate, vtln=config.vtln)
        self.min_samples = self.mfcc.hop
        self.mixture = Mixture(config.components, self.mfcc.dim, config.covariance)

    def sha256(self) -> str:
        """Identity: the configuration and all weights."""
        weights = [tensor.cpu().contiguous().numpy().tobytes() for tensor in self.state_dict().values()]
        return sha256(f"{KIND} 1 {self.config.model_dump_json()}".encode(), *weights)

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
        layer: int = 0,  # noqa: ARG002 - there is one layer
        speakers: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)`, states `(B, 79)` → features `(B, T, K)`, frame counts `(B,)`.

        Without states, each utterance is taken for all that is known of its speaker.
        """
        features, frames = self.mfcc(waveforms, lengths, speakers)
        roots = self.mixture.posteriors(features, self.config.temperature).sqrt()
        return roots * mask(frames, roots.shape[1])[..., None], frames


def save(directory: Path, encoder: GmmPosteriors, **origin: object) -> None:
    """Write an encoder directory; `origin` says how the mixture was fitted."""
    with atomic_directory(directory) as temporary:
        config = encoder.config.model_dump(mode="json")
        save_model(temporary, FORMAT, VERSION, encoder.state_dict(), kind=KIND, config=config, **origin)


def load(directory: Path) -> GmmPosteriors:
    """Read an encoder directory, on the CPU.

    Raises:
        UserError: it is not one of this kind, or its weights are not those of its configuration.
    """
    header, weights = load_model(directory, FORMAT, VERSION)
    if header.get("kind") != KIND:
        raise UserError(f"{directory} holds an encoder of kind {header.get('kind')!r}, expected {KIND!r}")
    encoder = GmmPosteriors(GmmPosteriorsConfig.parse(header.get("config", {}), str(directory / CONFIG_NAME)))
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{directory}: weights and configuration disagree: {' '.join(str(error).split())}") from error
    return encoder.eval()
