"""Files that are whole or absent: atomic writes, JSON, JSON lines, sharded outputs, refusal to overwrite.

Every artefact is written under a temporary name in the directory it belongs to, flushed to the disk and renamed, so
that a killed process or a full disk never leaves half a file under a name that a later step would trust.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from textless.errors import UserError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write to; it takes the name `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_write(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open `path` for writing ("w" text in UTF-8, or "wb"); the file appears under its name only when complete."""
    with atomic_path(path) as temporary, temporary.open(mode, encoding=None if "b" in mode else "utf-8") as file:
        yield file


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory to fill; it replaces `path` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            remove(path)
        temporary.replace(path)
        _sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a whole directory; nothing happens where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def refuse_overwrite(path: Path, *, force: bool) -> None:
    """Raise `UserError` if `path` holds something already and `force` was not given.

    An empty directory counts as absent. With `force` nothing is removed here: the writer replaces it.
    """
    occupied = any(path.iterdir()) if path.is_dir() else path.exists()
    if occupied and not force:
        raise UserError(f"{path} exists already; give another output or --force to replace it")


def require(path: Path, what: str) -> Path:
    """Return `path`, or raise `UserError` naming `what` it should have been."""
    if not path.exists():
        raise UserError(f"{what} not found: {path}")
    return path


def write_json(path: Path, value: object) -> None:
    """Write indented JSON atomically."""
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:  # noqa: ANN401
    """Read JSON, or raise `UserError` naming the file."""
    try:
        return json.loads(require(path, "file").read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}") from error


def write_jsonl(path: Path, rows: Iterable[object]) -> None:
    """Write one compact JSON value a line, atomically."""
    with atomic_write(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def read_jsonl(path: Path, begin: int = 0, end: int | None = None) -> Iterator[Any]:
    """Yield the value of every non-empty line, or raise `UserError` naming file and line.

    With `begin` and `end`, only of lines whose first byte lies in `begin..end`.
    """
    next_byte = 0
    with require(path, "file").open("rb") as file:
        try:
            for number, line in enumerate(file, 1):
                first_byte, next_byte = next_byte, next_byte + len(line)
                if end is not None and first_byte >= end:
                    return
                if first_byte >= begin and line.strip():
                    try:
                        yield json.loads(line)
                    except json.JSONDecodeError as error:
                        raise UserError(f"{path}:{number} is not valid JSON: {error}") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not a text file: {error}") from error


def sha256(*chunks: bytes | memoryview) -> str:
    """Hexadecimal SHA-256 of the chunks, in order."""
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shard_path(path: Path, index: int, count: int) -> Path:
    """Name of one shard of a sharded output: `units.jsonl` itself, or `units-00001-of-00004.jsonl`."""
    return path if count == 1 else path.with_name(f"{path.stem}-{index:05d}-of-{count:05d}{path.suffix}")


def shard_paths(path: Path) -> list[Path]:
    """Return the files that together hold the artefact `path`: itself, or all of its shards in order.

    Raises:
        UserError: neither is there, or some shards are missing (naming the first).
    """
    if path.exists():
        return [path]
    pattern = re.compile(re.escape(path.stem) + r"-(\d{5})-of-(\d{5})" + re.escape(path.suffix))
    siblings = path.parent.iterdir() if path.parent.is_dir() else ()
    found = {match.group(2) for sibling in siblings if (match := pattern.fullmatch(sibling.name))}
    if not found:
        raise UserError(f"file not found: {path} (nor shards of it, {path.stem}-00000-of-*{path.suffix})")
    if len(found) > 1:
        raise UserError(f"{path} has shards of several runs ({', '.join(sorted(found))}); remove the old ones")
    count = int(found.pop())
    shards = [shard_path(path, index, count) for index in range(count)]
    for shard in shards:
        if not shard.exists():
            raise UserError(
                f"shard {shard} is missing; run the command that writes it again, it does only what is left"
            )
    return shards
