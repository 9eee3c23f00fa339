"""Which pitch units have, for sequences that come without: those of a unit LM, say.

As the pitch of FastSpeech 2 (Ren et al. 2021, https://arxiv.org/abs/2006.04558) is predicted from phones, but frame by
frame: where in its run a frame lies and what is around it tell where voicing begins and which way pitch moves. What is
predicted is intonation, less the speaker's level, and is flatter than what people do: a mean over all they might have
done.
"""

import torch
from torch import nn
from torch.nn import functional as F

from textless.audio.batches import mask
from vocoder.conditioning import SpeakerInput
from vocoder.config import ModelConfig
from vocoder.frames import N_FEATURES, Frames
from vocoder.residual import Block
from vocoder.voices import Voices

SPREAD = 0.2  # of log F0 in read speech: the unit of its error


class PitchPredictor(nn.Module):
    """Residual blocks over frames; the output is log F0 and the logit of voicing, or logits of the bins."""

    def __init__(self, config: ModelConfig, k: int, n_speakers: int) -> None:
        super().__init__()
        width = config.pitch_width
        self.raw = config.pitch == "raw"
        self.reach = sum(config.pitch_dilations)
        self.unit = nn.Embedding(k, width)
        self.place = nn.Linear(N_FEATURES, width)
        self.speaker = SpeakerInput(config, n_speakers, width) if config.speaker != "none" else None
        self.blocks = nn.ModuleList(
            Block(width, 2 * width, dilation, config.residual_scale) for dilation in config.pitch_dilations
        )
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 2 if self.raw else config.n_pitch_bins)

    @property
    def context(self) -> int:
        """Frames to either side that a prediction depends on."""
        return self.reach

    def forward(self, frames: Frames, voices: Voices, lengths: torch.Tensor) -> torch.Tensor:
        """Padded frames `(B, T)`, voices, lengths `(B,)` → `(B, T, 2)`, or logits `(B, T, n_pitch_bins)`."""
        valid = mask(lengths, frames.units.shape[1])
        x = self.unit(frames.units) + self.place(frames.features)
        if self.speaker is not None:
            x = x + self.speaker(voices)[:, None]
        for block in self.blocks:
            x = block(x, valid)
        return self.project(self.norm(x)).float()

    def predict(self, frames: Frames, voices: Voices, lengths: torch.Tensor) -> torch.Tensor:
        """The likeliest pitch as generators read it: raw `(B, T, 2)`, or bins `(B, T)`."""
        found = self(frames, voices, lengths)
        if not self.raw:
            return found.argmax(dim=2)
        voiced = (found[:, :, 1] > 0).float()
        return torch.stack([found[:, :, 0] * SPREAD * voiced, voiced], dim=2)


def pitch_error(predicted: torch.Tensor, pitch: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sum over all frames of their error.

    Args:
        predicted: what `PitchPredictor` gives.
        pitch: what was said, raw `(B, T, 2)` or bins `(B, T)`.
        lengths: frames of each utterance, `(B,)`.

    Returns:
        A scalar. Of raw pitch: the squared error of log F0 in units of its usual spread where it is voiced, and the
        cross-entropy of voicing; of bins: their cross-entropy.
    """
    valid = mask(lengths, pitch.shape[1])
    if pitch.ndim == 2:
        errors = F.cross_entropy(predicted.transpose(1, 2), pitch, reduction="none")  # (B, T, n) -> (B, n, T)
    else:
        voiced = pitch[:, :, 1]
        errors = (predicted[:, :, 0] - pitch[:, :, 0] / SPREAD).square() * voiced
        errors = errors + F.binary_cross_entropy_with_logits(predicted[:, :, 1], voiced, reduction="none")
    return (errors * valid).sum()
