"""Where the features of a test come from: files, a units file, or recordings that are encoded on the spot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from textless.errors import UserError
from textless.features.store import FeatureStore, open_features
from textless.files import read_json
from textless.progress import say, track
from zerospeech_eval.feature_arrays import ArrayKeeper, find_ids
from zerospeech_eval.frame_slices import parse_frequency

if TYPE_CHECKING:
    import torch

    from units.quantizer import Quantizer

UnitsAs = Literal["units", "one-hot", "codebook"]
DEFAULT_FREQUENCY = "50"


@dataclass(frozen=True)
class Source:
    """Features by id, `(T, D)`; their frame rate as text, None where the first column holds times.

    With a codebook `(K, D)` the features are units `(T, 1)` that stand for its rows.
    """

    features: Mapping[str, np.ndarray]
    frequency: str | None
    codebook: np.ndarray | None = None


def open_source(
    path: Path,
    files: Sequence[str],
    *,
    encoder: str | None = None,
    quantizer: Path | None = None,
    units_as: UnitsAs | None = None,
    frequency: str | None = None,
    time_column: bool = False,
    device: "torch.device | None" = None,
    memory: int | None = None,
) -> Source:
    """Open whatever `path` is.

    Args:
        path: a feature store or folder; a units file (`.jsonl`); a manifest, whose recordings are encoded.
        files: the ids that are needed, or their last parts: no other recording is encoded.
        encoder: specification of the encoder, for a manifest.
        quantizer: turns features into units; for a manifest it also names the encoder.
        units_as: what units become: themselves, one-hot vectors, or the vectors of the quantizer's codebook (the
            default where there is one).
        frequency: frames a second; the default is what the files say, else 50.
        time_column: the first column of the features holds times.
        device: for the encoder and the quantizer.
        memory: bytes of encoded recordings to hold at most; the others go to a temporary file.

    Raises:
        UserError: the options do not fit what `path` is.
    """
    is_units = path.is_file() and path.suffix == ".jsonl"
    is_manifest = path.is_file() and not is_units
    if units_as is not None and quantizer is None and not is_units:
        raise UserError("--as says what units become; add --quantizer, or give a units file")
    if encoder is not None and not is_manifest:
        raise UserError(f"--encoder encodes the recordings of a manifest, which {path} is not")
    if time_column:
        if path.is_file() or frequency is not None or quantizer is not None:
            raise UserError("--time-column is for folders of features with times, without --frequency or --quantizer")
        return Source(open_features(path), None)
    if is_units:
        return _from_units(path, quantizer, units_as, frequency)
    if is_manifest:
        return _from_recordings(path, files, encoder, quantizer, units_as, frequency, device, memory)
    return _from_features(path, quantizer, units_as, frequency, device)


def _from_features(
    path: Path,
    quantizer: Path | None,
    units_as: UnitsAs | None,
    frequency: str | None,
    device: "torch.device | None",
) -> Source:
    features = open_features(path)
    stated = _stated_rate(path, features)
    if quantizer is None:
        return Source(features, _agreed(path, stated, frequency))
    loaded = _load(quantizer, device)
    if isinstance(features, FeatureStore) and features.header.encoder_sha256 != loaded.encoder_sha256:
        raise UserError(f"{path} holds features of {features.header.encoder}, {quantizer} quantizes {loaded.encoder}")
    rate = _agreed(path, stated or str(loaded.frame_rate), frequency)
    return Source(Quantized(features, loaded), rate, _vectors(units_as, loaded.codebook.cpu().numpy()))


class Quantized(Mapping[str, np.ndarray]):
    """Units `(T, 1)` of features `(T, D)`, made when asked for."""

    def __init__(self, features: Mapping[str, np.ndarray], quantizer: "Quantizer") -> None:
        self.features = features
        self.quantizer = quantizer

    def __getitem__(self, utterance_id: str) -> np.ndarray:
        features = self.features[utterance_id]
        if features.shape[1] != self.quantizer.codebook.shape[1]:
            raise UserError(
                f"features of {utterance_id!r} are {features.shape[1]} wide, the codebook "
                f"{self.quantizer.codebook.shape[1]}: they are of different encoders"
            )
        return self.quantizer.encode(np.array(features))[:, None]  # a copy: torch wants no read-only arrays

    def __iter__(self) -> Iterator[str]:
        return iter(self.features)

    def __len__(self) -> int:
        return len(self.features)


def _from_units(path: Path, quantizer: Path | None, units_as: UnitsAs | None, frequency: str | None) -> Source:
    from units.files import read_units
    from units.identity import require_same
    from units.runs import expand

    units = read_units(path)
    if units_as == "codebook" and quantizer is None:
        raise UserError("--as codebook needs --quantizer, which holds the codebook")
    codebook = None
    if quantizer is not None:
        loaded = _load(quantizer, None)
        require_same(loaded.identity, units.quantizer, f"the quantizer {quantizer}", str(path))
        codebook = loaded.codebook.numpy()
    features = {}
    for item in units.utterances:
        if item.durations is None:
            raise UserError(f"{item.id!r} of {path} has units without durations, which cannot be placed in time")
        features[item.id] = np.asarray(expand(item.units, item.durations))[:, None]
    rate = _agreed(path, str(units.quantizer.frame_rate), frequency)
    if codebook is None:
        return Source(features, rate, _vectors(units_as or "one-hot", np.empty((units.quantizer.k, 0))))
    return Source(features, rate, _vectors(units_as, codebook))


def _from_recordings(
    path: Path,
    files: Sequence[str],
    encoder: str | None,
    quantizer: Path | None,
    units_as: UnitsAs | None,
    frequency: str | None,
    device: "torch.device | None",
    memory: int | None,
) -> Source:
    from textless.audio.manifest import Manifest, Skipped, read_manifest
    from textless.encoders.encoder import load_encoder
    from textless.features.extract import encode_utterances
    from units.encode import SpeechToUnits

    if (encoder is None) == (quantizer is None):
        raise UserError(f"{path} is read as a manifest: give either --encoder SPEC or --quantizer DIR")
    manifest = read_manifest(path)
    speech_to_units = None if quantizer is None else SpeechToUnits(_load(quantizer, device), device)
    loaded = load_encoder(encoder, device) if encoder is not None else speech_to_units.encoder  # type: ignore[union-attr]
    utterances = {u.id: u for u in manifest}
    needed = find_ids(utterances, files).values()
    part = Manifest(manifest.root, tuple(utterances[utterance_id] for utterance_id in needed))
    skipped: list[Skipped] = []
    ids, keeper = [], ArrayKeeper(memory)
    for utterance, frames in track(encode_utterances(part, part.utterances, loaded, skipped), "encoding", len(part)):
        keeper.keep(frames.numpy() if speech_to_units is None else speech_to_units.quantizer.encode(frames)[:, None])
        ids.append(utterance.id)
    features = dict(zip(ids, keeper.arrays(), strict=True))
    for recording in skipped:
        say(f"{recording.path} cannot be encoded: {recording.reason}")
    rate = _agreed(path, str(loaded.frame_rate), frequency)
    if speech_to_units is None:
        return Source(features, rate)
    return Source(features, rate, _vectors(units_as, speech_to_units.quantizer.codebook.cpu().numpy()))


def _load(directory: Path, device: "torch.device | None") -> "Quantizer":
    from units.quantizer import load_quantizer

    return load_quantizer(directory, device)


def _vectors(units_as: UnitsAs | None, codebook: np.ndarray) -> np.ndarray | None:
    match units_as or "codebook":
        case "units":
            return None
        case "one-hot":
            return np.eye(len(codebook), dtype=np.float32)
        case _:
            return codebook


def _stated_rate(path: Path, features: Mapping[str, np.ndarray]) -> str | None:
    """Frame rate that a store, or a folder that `textless encoder features --format npy` wrote, states of itself."""
    if isinstance(features, FeatureStore):
        return str(features.header.frame_rate)
    label = path / "encoder.json"
    return str(read_json(label)["frame_rate"]) if label.exists() else None


def _agreed(path: Path, stated: str | None, frequency: str | None) -> str:
    """Frame rate that the files state, or the command line where they do not."""
    if stated is None:
        return frequency or DEFAULT_FREQUENCY
    if frequency is not None and parse_frequency(frequency) != parse_frequency(stated):
        raise UserError(f"{path} holds {stated} frames a second, but --frequency says {frequency}; leave it out")
    return stated
