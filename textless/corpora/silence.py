"""A corpus without its silences: for unsupervised recognition, whose text has few, and for training data at large.

    OUT/manifest.tsv    the shortened recordings, under their old ids
    OUT/audio/<id>.flac
    OUT/kept.tsv        id, start, stop: the stretches of the original that were kept, in seconds, in order
    OUT/skipped.tsv     what could not be used or held no speech

With several shards each process writes `manifest-00001-of-00004.tsv` and so on, and whichever ends last joins the
manifests. A recording that is there is not made
again, so a stopped command goes on where it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from textless.audio import io
from textless.audio.detectors import DEFAULTS, load_detector
from textless.audio.manifest import (
    Manifest,
    Skipped,
    Utterance,
    join_manifests,
    load_or_skip,
    write_manifest,
    write_skipped,
)
from textless.audio.vad import VadOptions
from textless.distributed import file_world, my_shards, shard_slice
from textless.errors import UserError
from textless.files import atomic_write, refuse_overwrite, shard_path
from textless.progress import say, track


@dataclass(frozen=True)
class SilenceReport:
    """Of this process's share: recordings written and skipped, seconds before and after."""

    utterances: int
    skipped: int
    seconds: float
    kept_seconds: float

    def __str__(self) -> str:
        share = self.kept_seconds / self.seconds if self.seconds else 0.0
        return (
            f"{self.utterances} recordings, {self.kept_seconds / 3600:.3f} of {self.seconds / 3600:.3f} h kept "
            f"({100 * share:.1f} %), {self.skipped} skipped"
        )


def remove_silence(
    manifest: Manifest,
    out: Path,
    options: VadOptions = DEFAULTS,
    *,
    vad: str = "energy",
    n_shards: int | None = None,
    keep: bool = False,
    force: bool = False,
) -> SilenceReport:
    """Write the recordings of a manifest without their silences.

    Args:
        manifest: the recordings.
        out: folder to write.
        options: of the detector that goes by loudness.
        vad: which detector (`textless.audio.detectors`).
        n_shards: default: one a process.
        keep: shards that are finished are kept and not counted again, instead of being refused.
        force: replace what is there.

    Raises:
        UserError: an id cannot be a file name, there is no such detector, or the output exists.
    """
    detect = load_detector(vad, options)
    count = n_shards or file_world().size
    seconds = kept_seconds = 0.0
    written = skipped_in_all = 0
    for index in my_shards(count):
        target = shard_path(out / "manifest.tsv", index, count)
        if keep and target.exists():
            continue
        refuse_overwrite(target, force=force)
        utterances: list[Utterance] = []
        kept: list[str] = []
        skipped: list[Skipped] = []
        for utterance in track(shard_slice(manifest.utterances, index, count), "removing silence"):
            waveform = load_or_skip(manifest, utterance)
            if isinstance(waveform, Skipped):
                skipped.append(waveform)
                continue
            seconds += len(waveform) / io.SAMPLE_RATE
            intervals = detect(waveform)
            if not intervals:
                skipped.append(Skipped(utterance.path, "no speech was found in it"))
                continue
            shortened = torch.cat([waveform[start:stop] for start, stop in intervals])
            path = _audio_path(utterance.id)
            if force or not (out / path).exists():
                io.save(out / path, shortened)
            utterances.append(replace(utterance, path=path, n_samples=len(shortened)))
            kept += _rows(utterance.id, intervals)
            kept_seconds += len(shortened) / io.SAMPLE_RATE
        with atomic_write(shard_path(out / "kept.tsv", index, count)) as file:
            file.write("\n".join(["id\tstart\tstop", *kept]) + "\n")
        write_skipped(shard_path(out / "skipped.tsv", index, count), skipped)
        write_manifest(target, Manifest(out, tuple(utterances)))  # last: it marks the shard as finished
        written, skipped_in_all = written + len(utterances), skipped_in_all + len(skipped)
        if skipped:
            say(f"{len(skipped)} recordings were skipped: see {shard_path(out / 'skipped.tsv', index, count)}")
    join_manifests(out / "manifest.tsv", count)
    return SilenceReport(written, skipped_in_all, seconds, kept_seconds)


def read_kept(path: Path) -> dict[str, list[tuple[float, float]]]:
    """The stretches of every original recording that were kept, in seconds: what times in the shortened one stand for.

    Raises:
        UserError: a line is not an id and two numbers.
    """
    kept: dict[str, list[tuple[float, float]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], 2):
        try:
            utterance_id, start, stop = line.split("\t")
            kept.setdefault(utterance_id, []).append((float(start), float(stop)))
        except ValueError as error:
            raise UserError(f"{path}:{number} should be an id and two times in seconds") from error
    return kept


def _audio_path(utterance_id: str) -> str:
    if utterance_id.startswith("/") or ".." in utterance_id.split("/"):
        raise UserError(f"the utterance id {utterance_id!r} cannot be a file name")
    return f"audio/{utterance_id}.flac"


def _rows(utterance_id: str, intervals: Sequence[tuple[int, int]]) -> list[str]:
    rate = io.SAMPLE_RATE
    return [f"{utterance_id}\t{start / rate:.4f}\t{stop / rate:.4f}" for start, stop in intervals]
