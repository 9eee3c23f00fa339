"""Who speaks the utterances of a batch, and how: what a generator reads beside the frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class Voices:
    """One voice an utterance.

    Attributes:
        speakers: `(B,)` int64, indices of the model's table (`ModelConfig.speaker = "table"`); or `(B, E)` float32,
            embeddings such as d-vectors (`"embedding"`, E = `speaker_size`).
        styles: `(B,)` int64, for models with `n_styles`; else None.
        levels: `(B,)` float32, each voice's mean log F0 (natural, of hertz), which added to the raw pitch of the frames
            gives the log F0 that should sound. None where the model has no raw pitch.
    """

    speakers: torch.Tensor
    styles: torch.Tensor | None = None
    levels: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.speakers)

    def rows(self, indices: torch.Tensor) -> "Voices":
        """Some of the voices, `indices` `(B',)`, in that order."""
        return replace(self, **{name: value[indices] for name, value in vars(self).items() if value is not None})

    def to(self, device: torch.device) -> "Voices":
        """The same voices on a device."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if value is not None})


def join_voices(items: Sequence[Voices]) -> Voices:
    """Batch of voices of one model."""
    streams = {name: [value for item in items if (value := getattr(item, name)) is not None] for name in vars(items[0])}
    assert all(len(values) in (0, len(items)) for values in streams.values())
    return Voices(**{name: torch.cat(values) for name, values in streams.items() if values})
