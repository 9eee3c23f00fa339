"""Decoder-only Transformers of other libraries under our names: what the readers of their checkpoints share.

A reader renames keys, and this module joins what is one matrix here: the projections of queries, keys and values, and
the gate of SwiGLU with what it gates. Rows of the vocabulary stay in the foreign order until it is known which symbols
are units (`with_vocabulary`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from textless.encoders.foreign import require_fit, shorten
from textless.errors import UserError
from ulm.config import ModelConfig
from ulm.model import UnitTransformer

Renames = tuple[tuple[str, str], ...]  # patterns that keys begin with, and what replaces them; the first one counts
EMBEDDING, HEAD = "embedding.weight", "head.weight"
JOINED = (
    (("attention.q.", "attention.k.", "attention.v."), "attention.queries_keys_values."),
    (("ffn.gate.", "ffn.up."), "ffn.widen."),
)


@dataclass(frozen=True)
class Symbols:
    """Which of a foreign model's symbols mean what, by their numbers.

    Attributes:
        units: of unit 0..K-1.
        begin: read before the first unit.
        end: predicted after the last.
    """

    units: Sequence[int]
    begin: int
    end: int


@dataclass(frozen=True)
class ForeignModel:
    """A language model of another library.

    Attributes:
        config: our description of it.
        weights: under our names, `(V, ...)` rows in the foreign order, in the type they were stored in.
        context: the longest it was made for, in tokens.
        kind: the library, and the kind of model.
    """

    config: ModelConfig
    weights: Mapping[str, torch.Tensor]
    context: int
    kind: str

    @property
    def size(self) -> int:
        """V, all its symbols."""
        return len(self.weights[EMBEDDING])

    def with_vocabulary(self, symbols: Symbols) -> "ForeignModel":
        """The same model over our tokens: the units, the boundary, and the others as inert symbols.

        Where a beginning is read as another symbol than an end is predicted as, the boundary takes its embedding from
        the first and its row of the output layer from the second: every probability stays what it was.

        Raises:
            UserError: two tokens of ours would be one symbol.
        """
        reading, predicting = (
            _order(self.size, [*symbols.units, boundary]) for boundary in (symbols.begin, symbols.end)
        )
        weights = dict(self.weights)
        if self.config.tied and symbols.begin == symbols.end:
            weights[EMBEDDING] = weights[EMBEDDING][reading]
            return replace(self, weights=weights)
        head = weights[EMBEDDING if self.config.tied else HEAD]
        weights |= {EMBEDDING: weights[EMBEDDING][reading], HEAD: head[predicting]}
        return replace(self, weights=weights, config=self.config.model_copy(update={"tied": False}))

    def network(self, inert: int, source: str) -> UnitTransformer:
        """The Transformer with these weights, all of them and no others.

        Raises:
            UserError: the weights are not those that the configuration describes.
        """
        with torch.device("meta"):  # nothing is allocated or drawn at random only to be replaced
            network = UnitTransformer(self.config, self.size, inert)
        weights = dict(self.weights)
        if self.config.tied:
            weights[HEAD] = weights[EMBEDDING]
        require_fit(network.state_dict(), weights, source)
        network.load_state_dict(weights, assign=True)
        if self.config.tied:
            network.head.weight = network.embedding.weight
        return network.eval()


def _order(size: int, tokens: Sequence[int]) -> torch.Tensor:
    """`tokens`, then all other symbols of `size`."""
    outside = [token for token in tokens if not 0 <= token < size]
    if outside:
        raise UserError(f"symbol {outside[0]} is outside the vocabulary of {size} symbols")
    if len(set(tokens)) != len(tokens):
        raise UserError(f"symbol {tokens[-1]} is both the boundary and unit {list(tokens).index(tokens[-1])}")
    used = set(tokens)
    return torch.tensor([*tokens, *(symbol for symbol in range(size) if symbol not in used)])


def rename(
    state: Mapping[str, Any], signature: str, renames: Renames, ignored: str, source: str
) -> dict[str, torch.Tensor]:
    """Weights of a checkpoint under our names.

    Args:
        state: weights by name, possibly behind a prefix (`lm.`, `module.`).
        signature: pattern of a key that every model of the layout has, after the prefix.
        renames: patterns of what keys begin with after the prefix; keys that none fits stay as they are.
        ignored: pattern of keys that no probability depends on.
        source: what messages call the checkpoint.

    Raises:
        UserError: it is not of the layout.
    """
    found = [match for key in state if (match := re.search(rf"(?:^|\.)({signature})$", key))]
    if not found:
        keys = shorten(sorted(map(str, state)))
        raise UserError(f"{source} is no decoder-only language model of a layout that is known; unexpected: {keys}")
    prefix = min((match.string[: match.start(1)] for match in found), key=len)
    weights: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        name = key.removeprefix(prefix)
        if not isinstance(value, torch.Tensor) or re.search(ignored, name):
            continue
        for pattern, replacement in renames:
            if match := re.match(pattern, name):
                name = match.expand(replacement) + name[match.end() :]
                break
        weights[name] = value
    for parts, whole in JOINED:
        for key in [key for key in weights if parts[0] in key]:
            names = [key.replace(parts[0], part) for part in parts]
            if all(name in weights for name in names):
                weights[key.replace(parts[0], whole)] = torch.cat([weights.pop(name) for name in names])
    return weights


def keep_vocabulary(weights: dict[str, torch.Tensor], source: str, *, tied: bool) -> None:
    """Drop the output layer where it is the embedding; raise `UserError` where one of them is missing."""
    if tied:
        weights.pop(HEAD, None)
    missing = [name for name in (EMBEDDING, *(() if tied else (HEAD,))) if name not in weights]
    if missing:
        raise UserError(f"{source} is no language model: it has no {' and no '.join(missing)}")


def refuse_settings(values: Mapping[str, Any], required: Mapping[str, Iterable[Any]], source: str) -> None:
    """Raise `UserError` for a setting that a model of ours cannot have; settings that are not given are fine."""
    for name, allowed in required.items():
        if name in values and values[name] not in allowed:
            expected = " or ".join(map(repr, allowed))
            raise UserError(f"{source}: {name} = {values[name]!r} is not supported, only {expected}")
