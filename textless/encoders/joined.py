"""Several encoders as one: the frames of their layers, each scaled to its weight, side by side.

What a network has learned and what a mixture of Gaussians sees are mistaken in different places; the angle between
joined frames averages the angles between their parts.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import nn

from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.encoders.identity import identity


class MemberConfig(Config):
    """One of the encoders that are joined."""

    kind: str  # of `directory.KINDS`
    config: dict[str, Any]
    layer: int = Field(ge=0)
    weight: float = Field(default=1.0, gt=0)  # length of its part of a frame
    passes: int = 1  # of a Transformer that gives multiples of its frame rate
    attention_window: int | None = None


class JoinedConfig(Config):
    """The members, in the order of their parts."""

    members: tuple[MemberConfig, ...]


class JoinedEncoder(nn.Module):
    """One layer, 0: the members' frames, one after another. All have the same frame rate.

    Where members disagree about the last frame of an utterance, the frames that all have are kept.
    """

    sample_rate = SAMPLE_RATE
    num_layers = 0

    def __init__(self, config: JoinedConfig, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.config, self.members = config, nn.ModuleList(members)
        self.frame_rate: float = self.members[0].frame_rate  # type: ignore[assignment]
        self.min_samples: int = max(member.min_samples for member in self.members)  # type: ignore[type-var, assignment]

    def layer_dim(self, layer: int) -> int:  # noqa: ARG002 - there is one
        """Size of a frame: of all parts together."""
        return sum(
            member.layer_dim(part.layer)  # type: ignore[operator]
            for member, part in zip(self.members, self.config.members, strict=True)
        )

    def sha256(self) -> str:
        """Identity: the configuration and all weights."""
        return identity(self.config, self.state_dict())

    def forward(
        self,
        waveforms: torch.Tensor,
        lengths: torch.Tensor,
        layer: int = 0,  # noqa: ARG002 - there is one
        speakers: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Waveforms `(B, S)`, lengths `(B,)` → features `(B, T, D)`, frame counts `(B,)`.

        States of speakers `(B, P)` go to the member that adapts to speakers.
        """
        parts, counts = [], []
        for member, part in zip(self.members, self.config.members, strict=True):
            known = {"speakers": speakers} if hasattr(member, "speaker_state") and speakers is not None else {}
            features, frames = member(waveforms, lengths, part.layer, **known)
            parts.append(part.weight * F.normalize(features.float(), dim=-1))
            counts.append(frames)
        common = min(part.shape[1] for part in parts)
        frames = torch.stack(counts).amin(0)
        joined = torch.cat([part[:, :common] for part in parts], dim=-1)
        return joined * (torch.arange(common, device=joined.device) < frames[:, None])[..., None], frames


class SpeakerAdaptiveJoin(JoinedEncoder):
    """Joined encoders of which one adapts to speakers."""

    def speaker_state(self, waveforms: Sequence[torch.Tensor]) -> torch.Tensor:
        """State `(P,)` of one speaker, from recordings `(S_i,)` of theirs."""
        (adaptive,) = (member for member in self.members if hasattr(member, "speaker_state"))
        state: torch.Tensor = adaptive.speaker_state(waveforms)  # type: ignore[operator]
        return state


def join(config: JoinedConfig, members: Sequence[nn.Module]) -> JoinedEncoder:
    """Join members that were built already.

    Raises:
        ValueError: their frame rates differ, or several adapt to speakers.
    """
    rates = [float(member.frame_rate) for member in members]  # type: ignore[arg-type]
    if len(set(rates)) > 1:
        raise ValueError(f"frames at {' and '.join(f'{rate:g}' for rate in rates)} Hz cannot be joined")
    adaptive = sum(hasattr(member, "speaker_state") for member in members)
    if adaptive > 1:
        raise ValueError(f"{adaptive} encoders adapt to speakers; one can be joined with others")
    return (SpeakerAdaptiveJoin if adaptive else JoinedEncoder)(config, members)
