"""The network that training starts from: random, or with the weights of a unit LM or of a text LM.

A text LM's layers are a better beginning for speech units than random ones (TWIST, Hassid et al. 2023, "Textually
pretrained speech language models"); its embedding and output layer, which know text, are left behind.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from textless.errors import UserError
from textless.files import read_json
from textless.progress import say
from textless.training.checkpoint import CONFIG_NAME
from ulm.config import ModelConfig, TrainConfig
from ulm.language_model import FORMAT, TransformerLanguageModel, load_language_model
from ulm.model import UnitTransformer
from ulm.tokens import Tokenizer

OF_TOKENS = ("embedding.", "earlier.", "ngrams.", "head.")  # parameters with a row for every token
OF_TRAINING = {"dropout", "attention_dropout", "noise", "checkpoint_activations"}  # not part of a network's shape


def initial_network(config: TrainConfig, tokenizer: Tokenizer) -> tuple[UnitTransformer, Tokenizer]:
    """The network of a configuration, and the tokenizer with the inert symbols of an imported model.

    Raises:
        UserError: `init.model` is no causal Transformer, or not of the shape that `model` asks for.
    """
    source = config.init.model
    if source is None:
        return UnitTransformer(config.model, tokenizer.vocabulary.size), tokenizer
    if not (source / CONFIG_NAME).is_file():
        raise UserError(f"init.model = {source} is not a model directory: {CONFIG_NAME} is missing")
    header = read_json(source / CONFIG_NAME)
    if isinstance(header, dict) and header.get("format") == FORMAT:
        shape, weights, inert = _own(source, tokenizer)
    else:
        from ulm.checkpoints_huggingface import load_trunk

        (shape, weights), inert = load_trunk(source), 0
    tokenizer = replace(tokenizer, inert=inert)
    if shape.positions == "learned" and config.context > shape.max_positions:
        raise UserError(f"context {config.context} is longer than the {shape.max_positions} positions {source} learned")
    network = UnitTransformer(_agreed(shape, config.model, source), tokenizer.vocabulary.size, inert)
    missing, unexpected = network.load_state_dict(weights, strict=False)
    lost = [name for name in missing if not name.startswith(OF_TOKENS)] + unexpected
    if lost:
        raise UserError(f"{source} is a model of another architecture: {', '.join(lost[:3])} ... do not fit")
    say(f"starting from {source}" + (", with new embeddings of the units" if missing else ""))
    return network, tokenizer


def _own(source: Path, tokenizer: Tokenizer) -> tuple[ModelConfig, dict[str, torch.Tensor], int]:
    """All of a unit LM of the same units, the trunk of one of other units."""
    model = load_language_model(source)
    if not isinstance(model, TransformerLanguageModel):
        raise UserError(f"init.model = {source} is an n-gram model; training starts from a Transformer")
    weights = model.network.state_dict()
    same = model.tokenizer.identity, model.tokenizer.quantizer
    if same == (tokenizer.identity, tokenizer.quantizer):
        return model.network.config, weights, model.tokenizer.inert
    return model.network.config, {n: w for n, w in weights.items() if not n.startswith(OF_TOKENS)}, 0


def _agreed(shape: ModelConfig, asked: ModelConfig, source: Path) -> ModelConfig:
    """The shape of the weights, with what the configuration says of training.

    Raises:
        UserError: the configuration asks for another shape.
    """
    said: dict[str, Any] = {name: getattr(asked, name) for name in asked.model_fields_set}
    differing = [name for name in said if name not in OF_TRAINING and said[name] != getattr(shape, name)]
    if differing:
        name = differing[0]
        raise UserError(
            f"{source} is a model of another architecture: its {name} is {getattr(shape, name)!r}, model.{name} is "
            f"{said[name]!r}; leave out of [model] what init.model decides"
        )
    return shape.model_copy(update={name: value for name, value in said.items() if name in OF_TRAINING})
