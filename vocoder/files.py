"""A folder of synthesised speech. This module owns `synthesis.json`.

    OUTDIR/synthesis.json   what the folder was made from: a second run of the same command continues it
    OUTDIR/<id>.wav         16-bit, 16 kHz; an id with slashes makes folders
    OUTDIR/skipped.tsv      utterances that gave no sound, with the reason, if there are any
    OUTDIR/manifest.tsv     lists the WAVs with their speakers; written last, it marks the folder as finished

With several shards each writes `manifest-00001-of-00004.tsv` (and `skipped-...`), and whichever ends last joins the
manifests into `manifest.tsv`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import soundfile
import torch

from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Utterance, join_manifests, write_manifest
from textless.errors import UserError
from textless.files import atomic_write, read_json, remove, shard_path, write_json
from textless.provenance import check_header, make_header

FORMAT, VERSION = "textless-synthesis", 1
HEADER_NAME, MANIFEST_NAME, SKIPPED_NAME = "synthesis.json", "manifest.tsv", "skipped.tsv"


class SynthesisFolder:
    """Where the WAVs of one synthesis lie, and which are finished."""

    def __init__(self, directory: Path, n_shards: int) -> None:
        self.directory = directory
        self.n_shards = n_shards
        self.manifest = directory / MANIFEST_NAME

    def claim(self, recipe: dict[str, Any], *, force: bool) -> None:
        """Take the folder for the synthesis that `recipe` describes.

        Raises:
            UserError: it holds something else, or the result of another recipe, and `force` was not given.
        """
        header = self.directory / HEADER_NAME
        # Listed before the header is looked for: another process may be claiming the folder for the same synthesis.
        occupied = self.directory.is_dir() and any(not p.name.startswith(".") for p in self.directory.iterdir())
        if not force and header.is_file():
            before = check_header(read_json(header), FORMAT, VERSION, header).get("recipe", {})
            changed = sorted(key for key in before.keys() | recipe.keys() if before.get(key) != recipe.get(key))
            if changed:
                raise UserError(
                    f"{self.directory} holds another synthesis ({', '.join(changed)} differ); give another output or "
                    "--force to replace it"
                )
        elif not force and (occupied or self.directory.is_file()):
            raise UserError(f"{self.directory} exists and is not a synthesis; give another output or --force")
        write_json(header, make_header(FORMAT, VERSION, recipe=recipe))

    def wav(self, utterance_id: str) -> Path:
        """Path of an utterance's WAV; raises `UserError` for an id that would lie outside the folder."""
        parts = PurePosixPath(utterance_id).parts
        if not parts or utterance_id.startswith("/") or ".." in parts or "\\" in utterance_id or "\0" in utterance_id:
            raise UserError(f"the utterance id {utterance_id!r} cannot be a file name below {self.directory}")
        return self.directory / f"{utterance_id}.wav"

    def shard_manifest(self, index: int) -> Path:
        """Manifest of one shard; its presence marks the shard as finished."""
        return shard_path(self.manifest, index, self.n_shards)

    def shard_skipped(self, index: int) -> Path:
        """List of what one shard skipped."""
        return shard_path(self.directory / SKIPPED_NAME, index, self.n_shards)

    def forget(self, index: int, utterance_ids: Sequence[str]) -> None:
        """Remove what an earlier synthesis left of a shard, so that nothing of it is taken for finished."""
        remove(self.manifest)
        remove(self.shard_manifest(index))
        for utterance_id in utterance_ids:
            remove(self.wav(utterance_id))

    def finish(self, index: int, utterances: Sequence[Utterance]) -> None:
        """Write a shard's manifest, and the whole one if all shards have theirs."""
        write_manifest(self.shard_manifest(index), Manifest(self.directory, tuple(utterances)))
        self.join()

    def join(self) -> None:
        """Join the shards' manifests if all are there."""
        join_manifests(self.manifest, self.n_shards)


def write_pieces(path: Path, pieces: Iterable[torch.Tensor]) -> tuple[int, int]:
    """Write a WAV atomically, piece by piece `(S,)`, as 16-bit PCM: a recording of any length in constant memory.

    Returns:
        Samples written, and how many of them were beyond ±1 and were clipped.
    """
    samples = clipped = 0
    with (
        atomic_write(path, "wb") as file,
        soundfile.SoundFile(file, "w", SAMPLE_RATE, channels=1, format="WAV", subtype="PCM_16") as wav,
    ):
        for piece in pieces:
            wav.write(piece.clamp(-1, 1).numpy())
            samples += len(piece)
            clipped += int((piece.abs() > 1).sum())
    return samples, clipped
