"""The feature arrays that a test needs: found by name, of one width, in memory up to a limit and on disk beyond it."""

import tempfile
from collections.abc import Mapping, Sequence
from mmap import mmap
from pathlib import PurePosixPath
from typing import IO

import numpy as np

from textless.errors import UserError

SMALL_FILE = 1 << 20  # bytes
ALIGNMENT = 64  # bytes between the arrays of the temporary file


def load_arrays(
    features: Mapping[str, np.ndarray], files: Sequence[str], memory: int | None
) -> tuple[list[np.ndarray], list[str]]:
    """Load the `(T, D)` array of every file that has one.

    Args:
        features: by id.
        files: names in an item file: ids, or the last parts of ids.
        memory: bytes to hold at most; what goes beyond is written to a temporary file and mapped.

    Returns:
        The arrays, and the files they belong to; files without features are left out.

    Raises:
        UserError: a name fits several ids, or an array has another shape or type than the first.
    """
    ids = find_ids(features, files)
    keeper = ArrayKeeper(memory)
    width: int | None = None
    for file, feature_id in ids.items():
        array = features[feature_id]
        usable = array.ndim == 2 and array.shape[1] > 0 and array.dtype.kind in "fiu"
        if not usable or array.shape[1] != (width or array.shape[1]):
            expected = "(T, D)" if width is None else f"(T, {width}) as those of {next(iter(ids))!r}"
            raise UserError(
                f"features of {file!r} have shape {array.shape} and type {array.dtype}, expected numbers of shape "
                f"{expected}"
            )
        width = array.shape[1]
        keeper.keep(array)
    return keeper.arrays(), list(ids)


def find_ids(features: Mapping[str, object], files: Sequence[str]) -> dict[str, str]:
    """Id of the features of every file that has some: its name, or the one id that ends in `/name`.

    Raises:
        UserError: two ids end in it.
    """
    found = {file: file for file in files if file in features}
    if len(found) == len(files):
        return found
    by_stem: dict[str, list[str]] = {}
    for feature_id in features:
        by_stem.setdefault(PurePosixPath(feature_id).name, []).append(feature_id)
    for file in files:
        candidates = by_stem.get(file, []) if file not in found else []
        if len(candidates) > 1:
            raise UserError(f"{file!r} fits the features of {candidates[0]!r} and of {candidates[1]!r}; remove one")
        if candidates:
            found[file] = candidates[0]
    return {file: found[file] for file in files if file in found}


def is_finite(array: np.ndarray) -> bool:
    """Whether an array holds neither NaN nor infinity (the least value of an array with a NaN is NaN)."""
    return not array.size or array.dtype.kind != "f" or bool(np.isfinite(array.min()) and np.isfinite(array.max()))


class ArrayKeeper:
    """Keeps arrays in memory up to a limit, the others in one temporary file; mapped files stay what they are."""

    def __init__(self, memory: int | None) -> None:
        self.memory = memory
        self.held = 0
        self.file: IO[bytes] | None = None
        self.kept: list[np.ndarray | tuple[int, np.ndarray]] = []  # or offset, and an empty array of the shape and type

    def keep(self, array: np.ndarray) -> None:
        """Take one more array; it may be used for something else afterwards."""
        if is_mapped(array):
            # A process may hold some 65 000 maps, and a test that many files: small ones are read at once.
            if array.nbytes >= SMALL_FILE or not _is_whole_file(array):
                self.kept.append(np.asarray(array))  # the same memory, but quicker to slice
                return
            array = np.array(array)
        if self.memory is None or self.held + array.nbytes <= self.memory:
            self.held += array.nbytes
            self.kept.append(array)
            return
        if self.file is None:
            self.file = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the arrays
        offset = self.file.seek(-(-self.file.tell() // ALIGNMENT) * ALIGNMENT)
        self.file.write(np.ascontiguousarray(array).data)
        self.kept.append((offset, np.broadcast_to(np.empty((), array.dtype), array.shape)))

    def arrays(self) -> list[np.ndarray]:
        """All arrays, in the order they came in."""
        if self.file is None or self.file.tell() == 0:
            return [entry for entry in self.kept if isinstance(entry, np.ndarray)]
        self.file.flush()
        mapped = np.asarray(np.memmap(self.file, mode="r"))
        arrays = []
        for entry in self.kept:
            if isinstance(entry, tuple):
                offset, like = entry
                arrays.append(mapped[offset : offset + like.nbytes].view(like.dtype).reshape(like.shape))
            else:
                arrays.append(entry)
        return arrays


def is_mapped(array: np.ndarray | None) -> bool:
    """Whether an array lies in a file."""
    return isinstance(array, np.memmap) or (isinstance(array, np.ndarray) and is_mapped(array.base))


def _is_whole_file(array: np.ndarray) -> bool:
    return isinstance(array.base, mmap) or (isinstance(array.base, np.memmap) and array.base.size == array.size)
