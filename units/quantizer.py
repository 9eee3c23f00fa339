"""The quantizer: frames to units by the nearest code. This module owns the quantizer directory.

    config.json        header: identity (encoder, K, frame rate, hash), duration penalty, how frames are prepared and
                       how it was fitted
    model.safetensors  `codebook` (K, D) float32

The identity is a hash of the encoder, the codebook and everything else that decides a unit; it travels with every unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from textless.files import atomic_directory, sha256
from textless.training.checkpoint import load_model, save_model
from units.assign import NearestCode, block_size
from units.identity import QuantizerIdentity
from units.normalisation import Moments
from units.segment import segment

FORMAT, VERSION = "textless-quantizer", 2
PLAIN_VERSION = 1  # readers of version 1 know nothing of speaker normalisation and spheres


@dataclass(frozen=True)
class Quantizer:
    """A codebook `(K, D)`, float32, and the encoder it belongs to.

    `duration_penalty` is the price of a change of unit, in squared distance (0: every frame for itself): see
    `units.segment`. `speaker_normalised`: frames are normalised by speaker before they are compared (see
    `units.normalisation`); `spherical`: they are scaled to unit length.
    """

    codebook: torch.Tensor
    encoder: str
    encoder_sha256: str
    frame_rate: float
    duration_penalty: float = 0.0
    speaker_normalised: bool = False
    spherical: bool = False

    @cached_property
    def identity(self) -> QuantizerIdentity:
        """What makes its units comparable to others."""
        content = self.codebook.detach().cpu().contiguous().numpy().tobytes()
        traits = [
            f" duration penalty {self.duration_penalty!r}" if self.duration_penalty else "",
            " speaker normalised" if self.speaker_normalised else "",
            " spherical" if self.spherical else "",
        ]
        return QuantizerIdentity(
            encoder=self.encoder,
            k=len(self.codebook),
            frame_rate=self.frame_rate,
            sha256=sha256((self.encoder_sha256 + "".join(traits)).encode(), content),
        )

    @cached_property
    def nearest(self) -> NearestCode:
        """Finds the nearest code."""
        return NearestCode(self.codebook)

    @torch.inference_mode()
    def encode(self, features: torch.Tensor | np.ndarray, speaker: Moments | None = None) -> np.ndarray:
        """Features `(T, D)` of one utterance → units `(T,)`.

        Without a duration penalty every unit is the nearest code, in exact arithmetic; ties go to the lower code.

        Args:
            features: of the encoder, as it gives them.
            speaker: moments of the speaker's features, for a speaker-normalised quantizer; None: the utterance's own.

        Raises:
            ValueError: D is not the codebook's.
        """
        array = np.asarray(features)
        if array.ndim != 2 or array.shape[1] != self.codebook.shape[1]:
            raise ValueError(f"expected features (T, {self.codebook.shape[1]}), got {array.shape}")
        if self.speaker_normalised:
            array = (speaker or Moments.of(array)).normalise(array)
        frames = torch.from_numpy(np.array(array, dtype=np.float32)).to(self.codebook.device)
        if self.spherical:
            frames = F.normalize(frames, dim=1)
        if not self.duration_penalty:
            return self.nearest.labels(frames).cpu().numpy()
        blocks = [self.nearest.scores(block).cpu() for block in frames.split(block_size(frames.device))]
        return segment(torch.cat(blocks).numpy(), self.duration_penalty)


def save_quantizer(directory: Path, quantizer: Quantizer, fitted: Mapping[str, Any]) -> None:
    """Write a quantizer directory; `fitted` says how it was made and how well it fits."""
    traits = {name: True for name in ("speaker_normalised", "spherical") if getattr(quantizer, name)}
    with atomic_directory(directory) as temporary:
        save_model(
            temporary,
            FORMAT,
            VERSION if traits else PLAIN_VERSION,
            {"codebook": quantizer.codebook},
            identity=quantizer.identity.model_dump(),
            encoder_sha256=quantizer.encoder_sha256,
            duration_penalty=quantizer.duration_penalty,
            **traits,
            fitted=dict(fitted),
        )


def load_quantizer(directory: Path, device: torch.device | None = None) -> Quantizer:
    """Read a quantizer directory.

    Raises:
        UserError: it is not one, or its content is not what its header describes.
    """
    header, weights = load_model(directory, FORMAT, VERSION)
    identity = QuantizerIdentity.parse(header["identity"], str(directory))
    return Quantizer(
        weights["codebook"].to(device or torch.device("cpu")),
        identity.encoder,
        header["encoder_sha256"],
        identity.frame_rate,
        header["duration_penalty"],
        speaker_normalised=header.get("speaker_normalised", False),
        spherical=header.get("spherical", False),
    )
