"""A submission as a folder, or as a zip archive that is opened only if nothing in it reaches outside."""

import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from textless.errors import UserError
from textless.files import atomic_path, require
from zerospeech_eval.names import listed

META_NAMES = ("meta.yaml", "metadata.yaml")


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The folder of a submission; an archive is unpacked to a temporary one.

    Raises:
        UserError: there is no such thing, or the archive is unsafe or broken.
    """
    if require(path, "submission").is_dir():
        yield path
        return
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is neither a folder nor a zip archive")
    with tempfile.TemporaryDirectory(prefix="submission-") as temporary:
        _unpack(path, Path(temporary))
        yield _top(Path(temporary))


def _unpack(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        outside = [member.filename for member in members if not _is_inside(member.filename)]
        links = [member.filename for member in members if stat.S_ISLNK(member.external_attr >> 16)]
        if outside or links:
            raise UserError(
                f"{path} holds absolute paths, `..` or links, and is not unpacked: {listed(outside + links)}"
            )
        size, free = sum(member.file_size for member in members), shutil.disk_usage(folder).free
        if size > free:
            raise UserError(f"{path} unpacks to {size / 1e9:.1f} GB, and {folder.parent} has {free / 1e9:.1f} GB")
        try:
            archive.extractall(folder)  # every name was looked at
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError) as error:
            raise UserError(f"{path} cannot be unpacked: {error}") from error


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name.partition("/")[0]


def _top(folder: Path) -> Path:
    """The folder itself, or the one folder in it that has the file of names."""
    inner = [entry for entry in folder.iterdir() if any((entry / name).exists() for name in META_NAMES)]
    return inner[0] if len(inner) == 1 and not any((folder / name).exists() for name in META_NAMES) else folder


def pack(folder: Path, path: Path) -> None:
    """Write a folder's files to a zip archive, in the order of their names."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
