"""The weights of a published checkpoint, by name.

Every weight is asked for with the shape that the configuration gives it, so that a configuration of another model, or a
stream that is not known, is noticed and named.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from textless.errors import UserError
from textless.files import require
from textless.pickles import read_torch

# Scale and direction of a weight-normed convolution: PyTorch's names before 2.0, and since
WEIGHT_NORMS = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
State = Mapping[str, torch.Tensor]


def read_weights(path: Path) -> State:
    """Weights of a generator by name, in float32.

    Raises:
        UserError: the file is damaged, wants to run something, or is no unit HiFi-GAN.
    """
    content: Any
    if path.suffix == ".safetensors":
        try:
            content = safetensors.torch.load_file(require(path, "checkpoint"))
        except safetensors.SafetensorError as error:
            raise UserError(f"{path} is damaged or not a checkpoint: {error}") from error
    else:
        content = read_torch(path)
    for key in ("generator", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path} holds no weights by name; give the generator's checkpoint (g_00400000, generator.pt)")
    state = {name.removeprefix("module."): value.float() for name, value in content.items()}
    if "f0_dict.weight" in state:  # the same table by its other name (speech-resynthesis)
        state["f0_quant_embed.weight"] = state.pop("f0_dict.weight")
    if "dict.weight" not in state:
        raise UserError(
            f"{path} is no unit HiFi-GAN: it lacks dict.weight, the units' embedding, and has {listed(state)}"
        )
    return state


class ForeignWeights:
    """Foreign weights, of which every one is asked for once, with the shape that the configuration gives it."""

    def __init__(self, state: State, path: Path, config: Path) -> None:
        self.state = state
        self.path, self.config = path, config
        self.unused = set(state)

    def take(self, name: str, shape: Sequence[int]) -> torch.Tensor:
        """A weight.

        Raises:
            UserError: there is none, or it has another shape.
        """
        if name not in self.state:
            raise UserError(f"{self.path} has no {name}, which {self.config} asks for with shape {tuple(shape)}")
        found = self.state[name]
        if found.shape != torch.Size(shape):
            raise UserError(
                f"{self.config} does not belong to {self.path}: it makes {name} {tuple(shape)}, the weights have "
                f"{tuple(found.shape)}"
            )
        self.unused.discard(name)
        return found

    def convolution(self, name: str, shape: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales `(O, 1, 1)` and directions `(O, I, k)` of a convolution, with or without weight norm."""
        for scale, direction in WEIGHT_NORMS:
            if f"{name}.{scale}" in self.state:
                scales = self.take(f"{name}.{scale}", (shape[0], 1, 1))
                return scales, self.take(f"{name}.{direction}", shape)
        weight = self.take(f"{name}.weight", shape)
        return weight.flatten(1).norm(dim=1)[:, None, None], weight

    def drop(self, prefix: str) -> None:
        """Leave out the weights whose names begin like this."""
        self.unused = {name for name in self.unused if not name.startswith(prefix)}

    def all_used(self) -> None:
        """Raise `UserError` if there are weights that nobody asked for."""
        if self.unused:
            raise UserError(
                f"{self.path} holds {listed(self.unused)}, for which {self.config} has no place: a stream that is not "
                "known, or the configuration of another model"
            )


def listed(names: Collection[str]) -> str:
    """The first few of them, in alphabetical order."""
    shown = sorted(names)[:5]
    return ", ".join(shown) + (f" and {len(names) - 5} others" if len(names) > 5 else "")
