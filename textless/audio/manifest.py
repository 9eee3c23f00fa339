r"""Manifests: which recordings make a corpus. This module owns `manifest.tsv`.

Two forms are read and written:

- *fairseq's*: the root directory on line 1, then `relative/path<TAB>n_samples` a line.
- *with named columns*: a header line of tab-separated column names, among them `path` and `n_samples`; `id`,
  `speaker` and `text` are known, any other column is kept as it is. Before it, a line `#root<TAB>DIR` may name the
  root; without one, paths are relative to the manifest's own directory.

An utterance's id is its relative path without the extension, unless an `id` column says otherwise. `n_samples` counts
samples at the file's own rate, as in fairseq.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import torch

from textless.audio import io
from textless.errors import AudioError, UserError
from textless.files import atomic_write, require, shard_path

KNOWN_COLUMNS = ("id", "path", "n_samples", "speaker", "text")


@dataclass(frozen=True)
class Utterance:
    """One recording. `path` is relative to the manifest's root; `n_samples` is at the file's own rate."""

    id: str
    path: str
    n_samples: int
    speaker: str | None = None
    text: str | None = None
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def voice(self) -> tuple[str, str]:
        """Who speaks: utterances with equal voices are one speaker's; one without a named speaker has its own."""
        return (self.speaker, "") if self.speaker else ("", self.id)


@dataclass(frozen=True)
class Manifest:
    """A root directory and utterances with distinct ids."""

    root: Path
    utterances: tuple[Utterance, ...]

    def __post_init__(self) -> None:
        repeated = [i for i, n in Counter(u.id for u in self.utterances).items() if n > 1]
        if repeated:
            raise UserError(
                f"{len(repeated)} utterance ids occur more than once, first {repeated[0]!r}: ids are relative paths "
                "without extension, so a.wav and a.flac collide; rename one or give an id column"
            )

    def __len__(self) -> int:
        return len(self.utterances)

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self.utterances)

    def audio_path(self, utterance: Utterance) -> Path:
        """Where the recording lies."""
        return self.root / utterance.path

    def load(self, utterance: Utterance) -> torch.Tensor:
        """Waveform `(S,)` at 16 kHz; raises `AudioError` if the file is unusable or not as long as stated."""
        return io.load(self.audio_path(utterance), expected_samples=utterance.n_samples)


def id_of(path: str) -> str:
    """Utterance id of a relative path: the path without its last extension, with forward slashes."""
    return str(PurePosixPath(path).with_suffix(""))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest in either form.

    Raises:
        UserError: naming the line that is not understood.
    """
    try:
        lines = require(path, "manifest").read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    rows = [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError(f"{path} is empty: the first line of a manifest names the root directory or its columns")
    root = path.parent
    first = rows[0][1].split("\t")
    if first[0] == "#root" and len(first) == 2:
        root = path.parent / first[1]
        rows = rows[1:]
        first = rows[0][1].split("\t") if rows else []
    if "path" in first and "n_samples" in first:
        return Manifest(root, tuple(_read_named(path, first, rows[1:])))
    if len(first) != 1:
        raise UserError(f"{path}:1 is neither a root directory nor column names with path and n_samples")
    return Manifest(path.parent / first[0], tuple(_read_fairseq(path, rows[1:])))


def _read_fairseq(path: Path, rows: Iterable[tuple[int, str]]) -> Iterator[Utterance]:
    for number, line in rows:
        cells = line.split("\t")
        if len(cells) != 2:
            raise UserError(f"{path}:{number} should be `path<TAB>n_samples`, found {len(cells)} columns")
        yield Utterance(id_of(cells[0]), cells[0], _count(path, number, cells[1]))


def _read_named(path: Path, columns: list[str], rows: Iterable[tuple[int, str]]) -> Iterator[Utterance]:
    for number, line in rows:
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise UserError(f"{path}:{number} has {len(cells)} columns, its header has {len(columns)}")
        row = dict(zip(columns, cells, strict=True))
        yield Utterance(
            id=row.get("id") or id_of(row["path"]),
            path=row["path"],
            n_samples=_count(path, number, row["n_samples"]),
            speaker=row.get("speaker") or None,
            text=row.get("text") or None,
            extra={name: value for name, value in row.items() if name not in KNOWN_COLUMNS},
        )


def _count(path: Path, number: int, cell: str) -> int:
    if not cell.isdecimal() or int(cell) == 0:
        raise UserError(f"{path}:{number}: n_samples should be a positive integer, found {cell!r}")
    return int(cell)


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest: fairseq's form when nothing but paths and lengths is known, else named columns.

    The root is written relative to the manifest where it lies below or beside it, so that a corpus can be moved.
    """
    utterances = manifest.utterances
    columns = ["path", "n_samples"]
    if any(u.id != id_of(u.path) for u in utterances):
        columns.insert(0, "id")
    columns += [name for name in ("speaker", "text") if any(getattr(u, name) is not None for u in utterances)]
    columns += sorted({name for u in utterances for name in u.extra})
    root = _portable_root(manifest.root, path.parent)
    with atomic_write(path) as file:
        if columns == ["path", "n_samples"]:
            file.write(f"{root}\n")
        else:
            file.write(f"#root\t{root}\n" + "\t".join(columns) + "\n")
        for u in utterances:
            file.write("\t".join(_cell(u, name) for name in columns) + "\n")


def join_manifests(path: Path, n_shards: int) -> None:
    """Write the manifest `path` from those of its shards, if all of them are there and lie in the same root."""
    shards = [shard_path(path, index, n_shards) for index in range(n_shards)]
    if n_shards > 1 and all(shard.exists() for shard in shards):
        manifests = [read_manifest(shard) for shard in shards]
        write_manifest(path, Manifest(manifests[0].root, tuple(row for manifest in manifests for row in manifest)))


def _cell(utterance: Utterance, column: str) -> str:
    value = utterance.extra.get(column, "") if column not in KNOWN_COLUMNS else getattr(utterance, column)
    text = "" if value is None else str(value)
    if "\t" in text or "\n" in text or "\r" in text:
        raise UserError(f"{column} of {utterance.id!r} contains a tab or a line break, which a manifest cannot hold")
    return text


def _portable_root(root: Path, base: Path) -> str:
    relative = os.path.relpath(root.resolve(), base.resolve())
    return str(root.resolve()) if Path(relative).parts[:2] == ("..", "..") else relative


@dataclass(frozen=True)
class Skipped:
    """A recording that could not be used, and why."""

    path: str
    reason: str


def write_skipped(path: Path, skipped: Sequence[Skipped], *, add: bool = False) -> None:
    """Write `skipped.tsv` (path, reason); with nothing skipped, an old one is removed.

    With `add`, what it holds already stays: outputs of several manifests may share a folder.
    """
    lines = [f"{_one_line(item.path)}\t{_one_line(item.reason)}" for item in skipped]
    if add and path.exists():
        lines = list(dict.fromkeys(path.read_text(encoding="utf-8").splitlines()[1:] + lines))
    if not lines:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path) as file:
        file.write("\n".join(["path\treason", *lines]) + "\n")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def load_or_skip(manifest: Manifest, utterance: Utterance) -> torch.Tensor | Skipped:
    """Waveform of an utterance, or the reason why a corpus verb skips it; a stale manifest still raises."""
    try:
        return manifest.load(utterance)
    except io.LengthMismatchError:
        raise
    except AudioError as error:
        return Skipped(utterance.path, str(error))
