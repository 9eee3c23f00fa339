"""Make train, dev and test splits of somebody's own recordings, with alignments where there are any.

Below the given folder, every `manifest.tsv` with a header names recordings, their speakers and ids, and an
`alignments.tsv` beside it their phones. Without any manifest the whole folder is scanned; the folder that holds a file
then names its speaker. Utterances are dealt to the splits by a hash of their id, so that adding recordings moves none.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.audio.scan import scan
from textless.corpora.alignment import SILENCE, Alignment, Segment, read_alignment, write_alignment
from textless.corpora.items import items_from_alignment, write_items
from textless.errors import UserError
from textless.files import atomic_directory, sha256

SHARES = {"test": 0.10, "dev": 0.05}  # the rest is for training
FEWEST = 12  # utterances that can be split at all
SILENCES = frozenset({"", "sil", "sp", "spn", "<eps>", "SIL", "silence"})


@dataclass(frozen=True)
class Collected:
    """Recordings found, and the phones of those that have an alignment."""

    manifest: Manifest
    alignment: Alignment


def collect(directory: Path) -> Collected:
    """Find recordings and alignments below a folder.

    Raises:
        UserError: it is no folder, or holds no usable recording.
    """
    if not directory.is_dir():
        raise UserError(f"not a directory: {directory}")
    utterances: list[Utterance] = []
    alignment: Alignment = {}
    for path in sorted(directory.rglob("manifest.tsv")):
        prefix = "" if path.parent == directory else f"{path.parent.relative_to(directory).as_posix()}/"
        part = read_manifest(path)
        for u in part:
            location = Path(os.path.relpath(part.audio_path(u), directory)).as_posix()
            utterances.append(
                replace(u, id=prefix + u.id, path=location, speaker=u.speaker or prefix.rstrip("/") or None)
            )
        if (path.parent / "alignments.tsv").exists():
            spoken = read_alignment(path.parent / "alignments.tsv")
            alignment |= {prefix + i: [_silence(s) for s in segments] for i, segments in spoken.items()}
    if utterances:
        return Collected(Manifest(directory, tuple(utterances)), alignment)
    manifest, _ = scan(directory, "parent")
    return Collected(manifest, {})


def _silence(segment: Segment) -> Segment:
    return replace(segment, label=SILENCE) if segment.label in SILENCES else segment


def split_recordings(directory: Path, out: Path) -> None:
    """Write `out/{train,dev,test}/manifest.tsv`, with alignments and ABX items where phones are known."""
    collected = collect(directory)
    manifest = collected.manifest
    if len(manifest) < FEWEST:
        raise UserError(f"{directory} holds {len(manifest)} usable recordings; at least {FEWEST} are needed to split")
    ranked = sorted(manifest, key=lambda u: sha256(u.id.encode()))
    n_test, n_dev = (max(2, round(share * len(ranked))) for share in SHARES.values())
    parts = {"test": ranked[:n_test], "dev": ranked[n_test : n_test + n_dev], "train": ranked[n_test + n_dev :]}
    with atomic_directory(out) as temporary:
        for name, part in parts.items():
            chosen = sorted(part, key=lambda u: u.id)
            _write_split(temporary / name, Manifest(manifest.root.resolve(), tuple(chosen)), collected.alignment)


def _write_split(directory: Path, manifest: Manifest, alignment: Alignment) -> None:
    write_manifest(directory / "manifest.tsv", manifest)
    spoken = {u.id: alignment[u.id] for u in manifest if u.id in alignment}
    if not spoken:
        return
    write_alignment(directory / "alignments.tsv", spoken, "phone")
    speakers = {u.id: u.speaker or "unknown" for u in manifest}
    write_items(directory / "phoneme.item", list(items_from_alignment(spoken, speakers, "phoneme")))
