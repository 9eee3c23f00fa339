"""Encoders with weights, on disk. This module owns the encoder directory.

config.json        header: kind of encoder, its configuration, where it came from or how it was trained
model.safetensors  its weights
"""

from pathlib import Path
from typing import Any

from torch import nn

from textless.encoders.cpc import Cpc, CpcConfig
from textless.encoders.gmm_posteriors import GmmPosteriors, GmmPosteriorsConfig
from textless.encoders.joined import JoinedConfig, JoinedEncoder, join
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.errors import UserError
from textless.files import read_json
from textless.training.checkpoint import CONFIG_NAME, load_model, save_model

FORMAT, VERSION = "textless-encoder", 1
WeightedEncoder = SpeechTransformer | Cpc | GmmPosteriors | JoinedEncoder
KINDS: dict[str, tuple[type[Any], type[Any]]] = {
    "speech-transformer": (SpeechTransformer, SpeechTransformerConfig),
    "cpc": (Cpc, CpcConfig),
    "gmm-posteriors": (GmmPosteriors, GmmPosteriorsConfig),
    "joined": (JoinedEncoder, JoinedConfig),
}


def is_encoder(directory: Path) -> bool:
    """Whether `directory` is one of ours (Hugging Face's have a config.json too)."""
    path = directory / CONFIG_NAME
    return path.is_file() and read_json(path).get("format") == FORMAT


def save_encoder(directory: Path, encoder: WeightedEncoder, **origin: object) -> None:
    """Write an encoder directory; `origin` says where it came from or how it was trained."""
    kind, config = kind_of(encoder), encoder.config.model_dump(mode="json")
    save_model(directory, FORMAT, VERSION, encoder.state_dict(), kind=kind, config=config, **origin)


def load_encoder_directory(directory: Path) -> WeightedEncoder:
    """Read an encoder directory, in evaluation mode on the CPU.

    Raises:
        UserError: it is not one, or its weights are not those of its configuration.
    """
    header, weights = load_model(directory, FORMAT, VERSION)
    encoder = _build(header.get("kind"), header["config"], directory)
    try:
        encoder.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{directory}: weights and configuration disagree: {' '.join(str(error).split())}") from error
    return encoder.eval().requires_grad_(False)  # type: ignore[return-value]


def kind_of(encoder: WeightedEncoder) -> str:
    """The name of what an encoder is, in its directory."""
    return next(name for name, (cls, _) in KINDS.items() if isinstance(encoder, cls))


def _build(kind: str | None, values: dict[str, Any], directory: Path) -> nn.Module:
    """An encoder of a configuration, without its weights."""
    if kind not in KINDS:
        raise UserError(f"{directory} holds an encoder of unknown kind {kind!r}; upgrade textless")
    cls, parser = KINDS[kind]
    config = parser.parse(values, str(directory / CONFIG_NAME))
    if cls is not JoinedEncoder:
        built: nn.Module = cls(config)
        return built
    members = [_build(member.kind, member.config, directory) for member in config.members]
    for member, part in zip(members, config.members, strict=True):
        if isinstance(member, SpeechTransformer):
            member.passes, member.attention_window = part.passes, part.attention_window
    return join(config, members)
