"""The F0 quantizer: a contour of pitch → a few codes a second, and back.

A VQ-VAE (van den Oord et al. 2017) in the shape that Polyak et al. 2021 gave it ("Speech resynthesis from discrete
disentangled self-supervised representations", section 3.1.2; layers of Jukebox, Dhariwal et al. 2020): strided
convolutions halve the rate, dilated residual layers follow each, a codebook of 20 entries, and the mirror image back.
Read and written is `frames.raw_pitch`: log F0 without the speaker's level, and voicing.

This module owns the F0 quantizer's directory (`model.safetensors`, `config.json`).
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.nn import functional as F

from textless.files import sha256
from textless.training.checkpoint import load_model, save_model
from units.files import Stream
from vocoder.codebook import Codebook
from vocoder.f0_config import F0Config, F0ModelConfig

FORMAT, VERSION = "textless-f0-quantizer", 1
CHANNELS = 2  # log F0 and voicing
SCALE = 4.0  # log F0 less the speaker's mean has a deviation of about a quarter


class F0Quantizer(nn.Module):
    """Pitch `(T, 2)` ↔ codes `(T / 16,)`, with the default configuration.

    Attributes:
        frame_rate: of pitch, in hertz.
        pitch_sha256: identity of the tracker that the pitch came from.
        shrink: frames of pitch a code.
    """

    def __init__(self, config: F0ModelConfig, frame_rate: float, pitch_sha256: str, decay: float = 0.99) -> None:
        super().__init__()
        self.config = config
        self.frame_rate = frame_rate
        self.pitch_sha256 = pitch_sha256
        self.shrink = 2**config.halvings
        width = config.width
        halvings = [
            nn.Sequential(nn.Conv1d(width if i else CHANNELS, width, 4, stride=2, padding=1), Residual(config))
            for i in range(config.halvings)
        ]
        self.encoder = nn.Sequential(*halvings, nn.Conv1d(width, config.dimension, 3, padding=1))
        self.codebook = Codebook(config.codes, config.dimension, decay)
        outputs = [width] * (config.halvings - 1) + [config.dimension]
        doublings = [
            nn.Sequential(Residual(config), nn.ConvTranspose1d(width, size, 4, stride=2, padding=1)) for size in outputs
        ]
        self.decoder = nn.Sequential(
            nn.Conv1d(config.dimension, width, 3, padding=1),
            *doublings,
            nn.Conv1d(config.dimension, CHANNELS, 3, padding=1),
        )

    @property
    def stream(self) -> Stream:
        """Declaration of the codes: how many, and a hash of what makes them."""
        weights = (self.state_dict()[name].cpu().contiguous().numpy().tobytes() for name in sorted(self.state_dict()))
        return Stream(size=self.config.codes, sha256=sha256(self.pitch_sha256.encode(), *weights))

    def forward(self, pitch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pitch `(B, T, 2)`, T a multiple of `shrink` → what comes back, scaled, and the commitment loss."""
        x = self.encoder(_scaled(pitch).transpose(1, 2))  # (B, T, 2) -> (B, D, T / shrink)
        codes, commitment = self.codebook(x.transpose(1, 2).flatten(0, 1))
        return self._decoded(codes.unflatten(0, (len(pitch), -1))), commitment

    @torch.no_grad()
    def encode(self, pitch: torch.Tensor) -> torch.Tensor:
        """Pitch of one utterance `(T, 2)` → codes `(ceil(T / shrink),)`; what the last code lacks is unvoiced."""
        if len(pitch) == 0:
            return torch.zeros(0, dtype=torch.long)
        padded = F.pad(pitch, (0, 0, 0, -len(pitch) % self.shrink))[None]
        return self.codebook.nearest(self.encoder(_scaled(padded).transpose(1, 2))[0].T)

    @torch.no_grad()
    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes `(N,)` → pitch `(N × shrink, 2)`, voicing either 0 or 1."""
        found = self._decoded(self.codebook.codes[codes][None])[0]
        voiced = (found[:, 1] > 0.5).float()
        return torch.stack([found[:, 0] / SCALE * voiced, voiced], dim=1)

    def _decoded(self, vectors: torch.Tensor) -> torch.Tensor:
        return self.decoder(vectors.transpose(1, 2)).transpose(1, 2)  # (B, N, D) -> (B, N × shrink, 2)

    def save(self, directory: Path, fitting: F0Config) -> None:
        """Write its directory."""
        training = fitting.model_dump(mode="json", exclude={"model"})
        save_model(directory, FORMAT, VERSION, self.state_dict(), **self.header(), training=training)

    def header(self) -> dict[str, Any]:
        """What `of_header` needs to build it again."""
        return {
            "model": self.config.model_dump(mode="json"),
            "frame_rate": self.frame_rate,
            "pitch_sha256": self.pitch_sha256,
        }

    @classmethod
    def of_header(cls, header: dict[str, Any], source: str) -> Self:
        """One without its weights."""
        model = F0ModelConfig.parse(header["model"], source)
        return cls(model, float(header["frame_rate"]), str(header["pitch_sha256"]))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read its directory, in evaluation mode.

        Raises:
            UserError: it is something else, damaged, or of a newer version.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        quantizer = cls.of_header(header, str(directory))
        quantizer.load_state_dict(weights)
        return quantizer.eval().requires_grad_(False)


class Residual(nn.Module):
    """`depth` layers `x + conv1(relu(conv3(relu(x))))`, dilated by 1, 3, 9, 27."""

    def __init__(self, config: F0ModelConfig) -> None:
        super().__init__()
        width = config.width
        dilations = [config.dilation_growth**layer for layer in range(config.depth)]
        self.wide = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=d, padding=d) for d in dilations)
        self.narrow = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in dilations)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(B, width, T)` → the same shape."""
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            x = x + narrow(F.relu(wide(F.relu(x))))
        return x


def f0_loss(found: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
    """Mean squared error of scaled log F0 over voiced frames, plus that of voicing over all; `(B, T, 2)` each."""
    wanted = _scaled(pitch)
    voiced = pitch[:, :, 1]
    error = (found - wanted).square()
    return (error[:, :, 0] * voiced).sum() / voiced.sum().clamp(min=1) + error[:, :, 1].mean()


def _scaled(pitch: torch.Tensor) -> torch.Tensor:
    return pitch * pitch.new_tensor([SCALE, 1.0])
