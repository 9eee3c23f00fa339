"""State dicts of other libraries under our names: what the readers of published checkpoints share.

A layout is a way of naming the same weights. It is recognised by a key that every model of the layout has, behind
whatever prefix a wrapper put before it (`hubert.`, `module.`); what lies outside the prefix is a head. Then keys are
renamed, weight norm is multiplied out, and the projections of queries, keys and values are joined.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from textless.config import Config
from textless.encoders.directory import WeightedEncoder
from textless.errors import UserError

State = Mapping[str, Any]  # weights by name; fairseq puts other things among them
Model = TypeVar("Model", bound=nn.Module)
BLOCK = r"transformer.blocks.\1."  # ours, of a pattern whose first group is the number of the block
WEIGHT_NORMS = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))


@dataclass(frozen=True)
class Layout:
    """How one library names the weights."""

    name: str
    signature: str  # a key that every model of the layout has, after the prefix
    renames: tuple[tuple[str, str], ...]  # patterns that keys begin with, and what replaces them; the first one counts
    heads: str = r"(?!)"  # pattern of keys inside the prefix that no feature depends on

    def prefix(self, state: State) -> str | None:
        """What stands before the keys of the encoder, or None if it is not of this layout."""
        found = [key.removesuffix(self.signature) for key in state if key.endswith(self.signature)]
        return min((prefix for prefix in found if not prefix or prefix.endswith(".")), key=len, default=None)

    def translate(self, state: State) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
        """Weights under our names, in float32, and the keys that were ignored."""
        prefix = self.prefix(state) or ""
        weights: dict[str, torch.Tensor] = {}
        ignored = []
        for key, value in state.items():
            name = key.removeprefix(prefix)
            if not key.startswith(prefix) or re.match(self.heads, name) or not isinstance(value, torch.Tensor):
                ignored.append(key)
            else:
                weights[self._rename(name)] = value.float() if value.is_floating_point() else value
        _multiply_weight_norm(weights)
        _join_projections(weights)
        return weights, tuple(ignored)

    def _rename(self, name: str) -> str:
        for pattern, replacement in self.renames:
            if match := re.match(pattern, name):
                return match.expand(replacement) + name[match.end() :]
        return name


@dataclass(frozen=True)
class Foreign:
    """An encoder that was read from somebody else's checkpoint."""

    encoder: WeightedEncoder
    source: str  # the layout, and the kind of model where the checkpoint tells
    ignored: tuple[str, ...]  # keys that no feature depends on: heads, quantizers, mask embeddings


def build(model: type[Model], config: Config, weights: Mapping[str, torch.Tensor], source: str) -> Model:
    """A model of a configuration with these weights, all of them and no others, in evaluation mode.

    Raises:
        UserError: keys or shapes differ from what the configuration asks for.
    """
    with torch.device("meta"):  # nothing is allocated or drawn at random only to be replaced
        built = model(config)
    require_fit(built.state_dict(), weights, source)
    built.load_state_dict(weights, assign=True)
    return built.eval().requires_grad_(False)


def require_fit(expected: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Raise `UserError` naming the keys and shapes of `weights` that are not the `expected` ones of a model."""
    mistakes = {
        "unexpected": sorted(weights.keys() - expected.keys()),
        "missing": sorted(expected.keys() - weights.keys()),
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
    }
    if any(mistakes.values()):
        found = "; ".join(f"{kind}: {shorten(names)}" for kind, names in mistakes.items() if names)
        raise UserError(f"{source}: the weights are not those of the model that is described there; {found}")


def shorten(names: list[str], limit: int = 6) -> str:
    """Names for a message of one line."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest


def _multiply_weight_norm(weights: dict[str, torch.Tensor]) -> None:
    """Replace magnitude g and direction v by the weight g · v / ‖v‖; the norm is over the dimensions that g lacks."""
    for magnitude_name, direction_name in WEIGHT_NORMS:
        for key in [key for key in weights if key.endswith("." + magnitude_name)]:
            module = key.removesuffix(magnitude_name)
            if module + direction_name in weights:
                magnitude, direction = weights.pop(key), weights.pop(module + direction_name)
                over = [dim for dim, size in enumerate(magnitude.shape) if size == 1]
                norm = torch.linalg.vector_norm(direction, dim=over, keepdim=True)
                weights[module + "weight"] = direction * (magnitude / norm)


def _join_projections(weights: dict[str, torch.Tensor]) -> None:
    """Queries, keys and values are one product in our blocks; the constants of WavLM's gate are `(H,)`."""
    for key in list(weights):
        if match := re.fullmatch(r"(transformer\.blocks\.\d+\.)q(\.\w+)", key):
            block, name = match.groups()
            parts = [f"{block}{which}{name}" for which in "qkv"]
            if all(part in weights for part in parts):
                weights[f"{block}qkv{name}"] = torch.cat([weights.pop(part) for part in parts])
        elif key.endswith(".gate.constant"):
            weights[key] = weights[key].flatten()
