"""What encoders there are and what one is, in words and numbers."""

from pathlib import Path
from typing import Any

from textless.encoders import directory, published, spectral
from textless.encoders.checkpoints import load_foreign
from textless.encoders.directory import WeightedEncoder
from textless.encoders.foreign import Foreign
from textless.encoders.speech_transformer import SpeechTransformer
from textless.errors import UserError
from textless.files import read_json
from textless.training.checkpoint import CONFIG_NAME


def list_encoders() -> list[dict[str, Any]]:
    """One row for every name that can stand in a specification; nothing is loaded."""
    rows: list[dict[str, Any]] = []
    for name in spectral.NAMES:
        encoder = spectral.SpectralEncoder(name, spectral.DEFAULT_FRAME_RATE)
        row = {
            "name": name,
            "frame_rate": encoder.frame_rate,
            "layers": 0,
            "dim": encoder.layer_dim(0),
            "normalises": False,
        }
        rows.append(row | {"source": "computed", "cached": True})
    for name, model in published.MODELS.items():
        row = {"name": name, "frame_rate": model.frame_rate, "layers": model.layers, "dim": model.dim}
        row |= {"normalises": model.normalises, "source": model.source, "cached": published.is_cached(name)}
        rows.append(row)
    return rows


def load_any(name: str) -> Foreign:
    """The encoder of a foreign checkpoint or of a published name.

    Raises:
        UserError: there is neither, or it is an encoder directory of ours already.
    """
    path = Path(name)
    if directory.is_encoder(path):
        raise UserError(f"{path} is an encoder directory of textless already: use it as it is, {path}:LAYER")
    if path.exists():
        return load_foreign(path)
    if name in published.MODELS:
        return published.load(name)
    raise UserError(f"{name!r} is no file, directory or published encoder; `textless encoder list` shows those")


def describe_encoder(name: str) -> dict[str, Any]:
    """Describe what a directory, file or name holds; a published model that was never downloaded by its row alone."""
    path = Path(name)
    if directory.is_encoder(path):
        return _describe(directory.load_encoder_directory(path), _origin(path))
    if not path.exists():
        for row in list_encoders():
            if row["name"] == name and (name in spectral.NAMES or not row["cached"]):
                return row
    return describe_foreign(load_any(name))


def describe_foreign(foreign: Foreign) -> dict[str, Any]:
    """Describe somebody else's checkpoint."""
    return _describe(foreign.encoder, {"layout": foreign.source}) | {"ignored": list(foreign.ignored)}


def _origin(path: Path) -> dict[str, Any]:
    """What the header of an encoder directory says of how it came about."""
    known = ("format", "version", "kind", "config", "software", "weights_sha256")
    return {key: value for key, value in read_json(path / CONFIG_NAME).items() if key not in known}


def _describe(encoder: WeightedEncoder, origin: dict[str, Any]) -> dict[str, Any]:
    normalises = isinstance(encoder, SpeechTransformer) and encoder.config.normalise_waveform
    return origin | {
        "frame_rate": encoder.frame_rate,
        "layers": encoder.num_layers,
        "dim": encoder.layer_dim(encoder.num_layers),
        "normalises": normalises,
        "min_samples": encoder.min_samples,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "sha256": encoder.sha256(),
        "config": encoder.config.model_dump(mode="json"),
    }
