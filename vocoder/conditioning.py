"""What a generator is told beside units, as vectors: pitch of a frame, speaker and style of an utterance."""

import torch
from torch import nn

from vocoder.config import ModelConfig
from vocoder.frames import Frames
from vocoder.voices import Voices


class SpeakerInput(nn.Module):
    """Speakers as vectors of a layer's width: rows of a table, or a projection of embeddings."""

    def __init__(self, config: ModelConfig, n_speakers: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_speakers, width) if config.speaker == "table" else None
        self.project = nn.Linear(config.speaker_size, width) if config.speaker == "embedding" else None

    def forward(self, voices: Voices) -> torch.Tensor:
        """Indices `(B,)` or embeddings `(B, E)` → `(B, width)`.

        Raises:
            ValueError: embeddings for a table, or indices for a projection.
        """
        if self.table is not None and voices.speakers.ndim == 1:
            return self.table(voices.speakers)
        if self.project is not None and voices.speakers.ndim == 2:
            return self.project(voices.speakers)
        expected = "indices (B,)" if self.project is None else "embeddings (B, E)"
        raise ValueError(f"the model takes speakers as {expected}, not {tuple(voices.speakers.shape)}")


class StyleInput(nn.Module):
    """Styles as vectors; made only for models that have some."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(config.n_styles, width)

    def forward(self, voices: Voices) -> torch.Tensor:
        """`(B,)` → `(B, width)`; raises `ValueError` if the voices state no style."""
        if voices.styles is None:
            raise ValueError("the model has styles: give one an utterance")
        return self.table(voices.styles)


class PitchInput(nn.Module):
    """The pitch of frames as vectors: bins by a table, raw pitch by a projection."""

    def __init__(self, config: ModelConfig, width: int) -> None:
        super().__init__()
        self.bins = nn.Embedding(config.n_pitch_bins, width) if config.pitch == "bins" else None
        self.raw = nn.Linear(2, width) if config.pitch == "raw" else None

    def forward(self, frames: Frames) -> torch.Tensor:
        """`(B, T)` bins or `(B, T, 2)` raw pitch → `(B, T, width)`."""
        pitch = checked_pitch(frames, bins=self.bins is not None)
        if self.bins is not None:
            return self.bins(pitch)
        assert self.raw is not None
        return self.raw(pitch)


def checked_pitch(frames: Frames, *, bins: bool) -> torch.Tensor:
    """Pitch of frames whose model needs it; raises `ValueError` if there is none, or the other form of it."""
    if frames.pitch is None or (frames.pitch.ndim == frames.units.ndim) != bins:
        wanted = "bins (B, T)" if bins else "raw pitch (B, T, 2)"
        found = "none" if frames.pitch is None else f"of shape {tuple(frames.pitch.shape)}"
        raise ValueError(f"the model needs pitch as {wanted}; the frames have {found}")
    return frames.pitch
