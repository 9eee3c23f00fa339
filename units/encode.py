"""Speech, or stored features of it, to units: encoder, quantizer, deduplication."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from textless import distributed
from textless.audio.manifest import Manifest, Skipped, Utterance, write_skipped
from textless.encoders.encoder import LayerEncoder, load_encoder
from textless.errors import UserError
from textless.features.extract import encode_utterances
from textless.features.store import FeatureStore
from textless.files import refuse_overwrite, shard_path
from textless.progress import track
from textless.training.precision import Precision
from units.files import Units, write_units
from units.frames import stream
from units.normalisation import Moments, known_speakers, speaker_moments
from units.quantizer import Quantizer
from units.runs import deduplicate

T = TypeVar("T")


class SpeechToUnits:
    """An encoder and a quantizer that belong together.

    Args:
        quantizer: names its encoder.
        device: where the encoder runs.
        encoder: specification of the same encoder, where it lies elsewhere now.
        precision: of the encoder's matrix products, see `load_encoder`.

    Raises:
        UserError: the encoder is not there, or not the one whose frames the codebook was fitted to.
    """

    def __init__(
        self,
        quantizer: Quantizer,
        device: torch.device | None = None,
        *,
        encoder: str | None = None,
        precision: Precision = "fp32",
    ) -> None:
        self.quantizer = quantizer
        try:
            self.encoder: LayerEncoder = load_encoder(encoder or quantizer.encoder, device, precision)
        except UserError as error:
            elsewhere = "" if encoder else "; where the quantizer's encoder lies elsewhere now, --encoder says so"
            raise UserError(f"{error}{elsewhere}") from error
        if self.encoder.sha256 != quantizer.encoder_sha256:
            raise UserError(
                f"the quantizer was fitted to another version of the encoder {quantizer.encoder} "
                f"({quantizer.encoder_sha256[:12]}, here {self.encoder.sha256[:12]}); fit it again"
            )

    def encode(self, waveforms: Sequence[torch.Tensor], ids: Sequence[str]) -> list[Units]:
        """Waveforms `(S_i,)` at 16 kHz → deduplicated units with durations; each is its own speaker."""
        return [self.quantize(i, frames) for i, frames in zip(ids, self.encoder.encode(waveforms), strict=True)]

    def quantize(self, utterance_id: str, features: torch.Tensor | np.ndarray, speaker: Moments | None = None) -> Units:
        """Features `(T, D)` of one utterance, and perhaps the moments of its speaker → its units."""
        return quantize(self.quantizer, utterance_id, features, speaker)


def quantize(
    quantizer: Quantizer, utterance_id: str, features: torch.Tensor | np.ndarray, speaker: Moments | None = None
) -> Units:
    """Features `(T, D)` of one utterance → deduplicated units with durations.

    Raises:
        UserError: the features hold NaN or infinite values.
    """
    array = np.asarray(features)
    if not np.isfinite(array.sum(dtype=np.float64)):
        raise UserError(f"the features of {utterance_id!r} hold NaN or infinite values, which have no nearest code")
    units, durations = deduplicate(quantizer.encode(array, speaker))
    return Units(utterance_id, units, durations)


def encode_corpus(
    manifest: Manifest, speech_to_units: SpeechToUnits, out: Path, *, n_shards: int | None = None, force: bool = False
) -> tuple[int, list[Skipped]]:
    """Encode this process's shards of a corpus; one file a shard, finished shards are kept unless `force`.

    A speaker-normalised quantizer hears every speaker of a shard twice: all recordings in the manifest for the moments,
    so that they do not depend on the shards, and those of the shard for the units.

    Returns:
        How many utterances this process encoded, and the recordings it skipped (listed in `skipped.tsv` beside `out`).
    """
    quantizer, encoder = speech_to_units.quantizer, speech_to_units.encoder
    speakers = _SpeakersOfManifest(manifest, encoder) if quantizer.speaker_normalised else None
    skipped: list[Skipped] = []

    def encode_share(share: Sequence[Utterance], index: int, count: int) -> list[Units]:
        passed_over: list[Skipped] = []
        heard = encode_utterances(manifest, share, encoder, passed_over)
        units = {}
        for u, features in track(heard, "encoding", len(share)):
            units[u.id] = speech_to_units.quantize(u.id, features, speakers.moments(u) if speakers else None)
        write_skipped(shard_path(out.with_name("skipped.tsv"), index, count), passed_over, add=True)
        skipped.extend(passed_over)
        return [units[u.id] for u in share if u.id in units]

    return _write_shards(out, quantizer, manifest.utterances, encode_share, n_shards, force=force), skipped


def encode_store(
    features: FeatureStore,
    quantizer: Quantizer,
    out: Path,
    *,
    manifest: Manifest | None = None,
    n_shards: int | None = None,
    force: bool = False,
) -> int:
    """Like `encode_corpus`, from features that are stored already; `manifest` names the speakers.

    Returns:
        How many utterances this process encoded.

    Raises:
        UserError: the features are another encoder's, or another layer's, than the quantizer's.
    """
    header = features.header
    if (header.encoder, header.encoder_sha256) != (quantizer.encoder, quantizer.encoder_sha256):
        raise UserError(
            f"{features.directory} holds features of {header.encoder} ({header.encoder_sha256[:12]}), but the "
            f"quantizer reads {quantizer.encoder} ({quantizer.encoder_sha256[:12]}): use the store that it was fitted "
            "to, or encode the recordings"
        )
    speakers = known_speakers(manifest, features) if quantizer.speaker_normalised else {}
    moments = speaker_moments(stream(features), speakers) if speakers else {}

    def encode_share(share: Sequence[str], _index: int, _count: int) -> list[Units]:
        return [
            quantize(quantizer, i, features[i], moments[speakers[i]] if i in speakers else None)
            for i in track(share, "encoding", len(share))
        ]

    return _write_shards(out, quantizer, list(features), encode_share, n_shards, force=force)


def _write_shards(
    out: Path,
    quantizer: Quantizer,
    items: Sequence[T],
    encode_share: Callable[[Sequence[T], int, int], Sequence[Units]],
    n_shards: int | None,
    *,
    force: bool,
) -> int:
    """Write this process's shards of the units of all items; returns of how many utterances."""
    count = n_shards or distributed.file_world().size
    if count == 1:
        refuse_overwrite(out, force=force)
    done = 0
    for index in distributed.my_shards(count):
        path = shard_path(out, index, count)
        if path.exists() and not force:
            continue
        units = encode_share(distributed.shard_slice(items, index, count), index, count)
        write_units(path, quantizer.identity, units)
        done += len(units)
    return done


class _SpeakersOfManifest:
    """Moments of every speaker over all of their recordings, computed when they are first asked for."""

    def __init__(self, manifest: Manifest, encoder: LayerEncoder) -> None:
        self._manifest = manifest
        self._encoder = encoder
        self._speakers = known_speakers(manifest, [u.id for u in manifest])
        self._moments: dict[str, Moments] = {}

    def moments(self, utterance: Utterance) -> Moments | None:
        """Of the speaker of an utterance; None where the speaker is not known."""
        speaker = utterance.speaker
        if not speaker:
            return None
        if speaker not in self._moments:
            recordings = [u for u in self._manifest if u.speaker == speaker]
            heard = encode_utterances(self._manifest, recordings, self._encoder, [])
            features = ((u.id, frames.numpy()) for u, frames in heard)
            self._moments |= speaker_moments(features, self._speakers)
        return self._moments[speaker]
