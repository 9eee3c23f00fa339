"""Speech to units: encoder, quantizer, deduplication."""

from collections.abc import Sequence
from pathlib import Path

import torch

from textless import distributed
from textless.audio.manifest import Manifest, Skipped, write_skipped
from textless.encoders.encoder import LayerEncoder, load_encoder
from textless.errors import UserError
from textless.features.extract import encode_utterances
from textless.files import refuse_overwrite, shard_path
from textless.progress import track
from units.files import Units, write_units
from units.quantizer import Quantizer
from units.runs import deduplicate


class SpeechToUnits:
    """An encoder and a quantizer that belong together.

    Raises:
        UserError: the encoder is not the one whose frames the codebook was fitted to.
    """

    def __init__(self, quantizer: Quantizer, device: torch.device | None = None) -> None:
        self.quantizer = quantizer
        self.encoder: LayerEncoder = load_encoder(quantizer.encoder, device)
        if self.encoder.sha256 != quantizer.encoder_sha256:
            raise UserError(
                f"the quantizer was fitted to another version of the encoder {quantizer.encoder} "
                f"({quantizer.encoder_sha256[:12]}, here {self.encoder.sha256[:12]}); fit it again"
            )

    def encode(self, waveforms: Sequence[torch.Tensor], ids: Sequence[str]) -> list[Units]:
        """Waveforms `(S_i,)` at 16 kHz → deduplicated units with durations."""
        return [self.quantize(i, frames) for i, frames in zip(ids, self.encoder.encode(waveforms), strict=True)]

    def quantize(self, utterance_id: str, features: torch.Tensor) -> Units:
        """Features `(T, D)` of one utterance → its units."""
        units, durations = deduplicate(self.quantizer.encode(features))
        return Units(utterance_id, units, durations)


def encode_corpus(
    manifest: Manifest, speech_to_units: SpeechToUnits, out: Path, *, n_shards: int | None = None, force: bool = False
) -> tuple[int, list[Skipped]]:
    """Encode this process's shards of a corpus; one file a shard, finished shards are kept unless `force`.

    Returns:
        How many utterances this process encoded, and the recordings it skipped (listed in `skipped.tsv` beside `out`).
    """
    count = n_shards or distributed.file_world().size
    if count == 1:
        refuse_overwrite(out, force=force)
    done, skipped = 0, []
    for index in distributed.my_shards(count):
        path = shard_path(out, index, count)
        if path.exists() and not force:
            continue
        share = distributed.shard_slice(manifest.utterances, index, count)
        passed_over: list[Skipped] = []
        stream = encode_utterances(manifest, share, speech_to_units.encoder, passed_over)
        units = {
            u.id: speech_to_units.quantize(u.id, features) for u, features in track(stream, "encoding", len(share))
        }
        write_skipped(shard_path(out.with_name("skipped.tsv"), index, count), passed_over, add=True)
        write_units(path, speech_to_units.quantizer.identity, (units[u.id] for u in share if u.id in units))
        done += len(units)
        skipped += passed_over
    return done, skipped
