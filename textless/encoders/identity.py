"""What makes two encoders the same: their configuration and their weights."""

from collections.abc import Mapping

import torch

from textless.config import Config
from textless.files import sha256


def identity(config: Config, state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a configuration and weights."""
    weights = (
        f"{name} {tuple(tensor.shape)}".encode() + tensor.detach().float().cpu().contiguous().numpy().tobytes()
        for name, tensor in sorted(state.items())
    )
    return sha256(config.model_dump_json().encode(), *weights)
