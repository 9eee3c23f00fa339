"""The quantizer: frames to units by the nearest code. This module owns the quantizer directory.

    config.json        header: identity (encoder, K, frame rate, hash), duration penalty, how it was fitted
    model.safetensors  `codebook` (K, D) float32

The identity is a hash of the codebook, the duration penalty and the encoder; it travels with every unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textless.files import atomic_directory, sha256
from textless.training.checkpoint import load_model, save_model
from units.identity import QuantizerIdentity
from units.segment import segment

FORMAT, VERSION = "textless-quantizer", 1
FRAMES_PER_BLOCK = 1 << 16


@dataclass(frozen=True)
class Quantizer:
    """A codebook `(K, D)`, float32, and the encoder it belongs to.

    `duration_penalty` is the price of a change of unit, in squared distance (0: every frame for itself): see
    `units.segment`.
    """

    codebook: torch.Tensor
    encoder: str
    encoder_sha256: str
    frame_rate: float
    duration_penalty: float = 0.0

    @property
    def identity(self) -> QuantizerIdentity:
        """What makes its units comparable to others."""
        content = self.codebook.detach().cpu().contiguous().numpy().tobytes()
        penalty = f" duration penalty {self.duration_penalty!r}" if self.duration_penalty else ""
        return QuantizerIdentity(
            encoder=self.encoder,
            k=len(self.codebook),
            frame_rate=self.frame_rate,
            sha256=sha256((self.encoder_sha256 + penalty).encode(), content),
        )

    @torch.inference_mode()
    def encode(self, features: torch.Tensor | np.ndarray) -> np.ndarray:
        """Features `(T, D)` of one utterance → units `(T,)`.

        Without a duration penalty the argmin over codes c of |c|² − 2 x·c, in float32; ties go to the lower code.

        Raises:
            ValueError: D is not the codebook's.
        """
        frames = torch.as_tensor(np.asarray(features), dtype=torch.float32).to(self.codebook.device)
        if frames.ndim != 2 or frames.shape[1] != self.codebook.shape[1]:
            raise ValueError(f"expected features (T, {self.codebook.shape[1]}), got {tuple(frames.shape)}")
        norms = self.codebook.square().sum(dim=1)
        if self.duration_penalty:
            return segment((norms - 2 * frames @ self.codebook.T).cpu().numpy(), self.duration_penalty)
        blocks = [(norms - 2 * block @ self.codebook.T).argmin(dim=1) for block in frames.split(FRAMES_PER_BLOCK)]
        return torch.cat(blocks).cpu().numpy()


def save_quantizer(directory: Path, quantizer: Quantizer, fitted: Mapping[str, Any]) -> None:
    """Write a quantizer directory; `fitted` says how it was made and how well it fits."""
    with atomic_directory(directory) as temporary:
        save_model(
            temporary,
            FORMAT,
            VERSION,
            {"codebook": quantizer.codebook},
            identity=quantizer.identity.model_dump(),
            encoder_sha256=quantizer.encoder_sha256,
            duration_penalty=quantizer.duration_penalty,
            fitted=dict(fitted),
        )


def load_quantizer(directory: Path, device: torch.device | None = None) -> Quantizer:
    """Read a quantizer directory.

    Raises:
        UserError: it is not one, or its content is not what its header describes.
    """
    header, weights = load_model(directory, FORMAT, VERSION)
    identity = QuantizerIdentity.parse(header["identity"], str(directory))
    codebook = weights["codebook"].to(device or torch.device("cpu"))
    return Quantizer(
        codebook, identity.encoder, header["encoder_sha256"], identity.frame_rate, header["duration_penalty"]
    )
