"""Which frames and channels are hidden from a recogniser in training (SpecAugment, Park et al. 2019)."""

import torch

from textless.pretraining.masking import span_mask
from unsup_asr.ctc.config import MaskConfig


def draw_masks(
    frames: torch.Tensor, dim: int, config: MaskConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames `(B, T)` and channels `(B, dim)` that are hidden, for utterances of so many frames `(B,)`.

    Args:
        frames: valid frames of each.
        dim: channels.
        config: shares and spans.
        generator: on the CPU.
    """
    channels = torch.full_like(frames, dim)
    return (
        span_mask(frames, config.time, config.time_span, generator, at_least=0),
        span_mask(channels, config.channel, config.channel_span, generator, at_least=0),
    )
