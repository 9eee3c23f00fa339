"""The quantizer: frames to units by the nearest code. This module owns the quantizer directory.

    config.json          header: encoder specification and hash, K, dimension, frame rate, identity
    codebook.safetensors `codebook` (K, D) float32

The identity is a hash of the codebook and of the encoder that made its frames; it travels with every unit.
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

FORMAT, VERSION = "textless-quantizer", 1
FRAMES_PER_BLOCK = 1 << 16


@dataclass(frozen=True)
class Quantizer:
    """A codebook `(K, D)`, float32, and the encoder it belongs to."""

    codebook: torch.Tensor
    encoder: str
    encoder_sha256: str
    frame_rate: float

    @property
    def identity(self) -> QuantizerIdentity:
        """What makes its units comparable to others."""
        content = self.codebook.detach().cpu().contiguous().numpy().tobytes()
        return QuantizerIdentity(
            encoder=self.encoder,
            k=len(self.codebook),
            frame_rate=self.frame_rate,
            sha256=sha256(self.encoder_sha256.encode(), content),
        )

    @torch.inference_mode()
    def encode(self, features: torch.Tensor | np.ndarray) -> np.ndarray:
        """Features `(T, D)` → units `(T,)`: argmin over codes c of |c|² − 2 x·c, in float32; ties go to the lower code.

        Raises:
            ValueError: D is not the codebook's.
        """
        frames = torch.as_tensor(np.asarray(features), dtype=torch.float32).to(self.codebook.device)
        if frames.ndim != 2 or frames.shape[1] != self.codebook.shape[1]:
            raise ValueError(f"expected features (T, {self.codebook.shape[1]}), got {tuple(frames.shape)}")
        half_norms = 0.5 * self.codebook.square().sum(dim=1)
        blocks = [(half_norms - block @ self.codebook.T).argmin(dim=1) for block in frames.split(FRAMES_PER_BLOCK)]
        return torch.cat(blocks).cpu().numpy() if blocks else np.empty(0, dtype=np.int64)


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
    return Quantizer(codebook, identity.encoder, header["encoder_sha256"], identity.frame_rate)
