"""Frames of many utterances on disk. This module owns the feature store and folders of one `.npy` an utterance.

A store is a directory:

    store.json                       header: encoder, dimension, frame rate, number of shards
    shard-00000-of-00004.npy         (sum of T, D) frames of the shard's utterances, one after the other
    shard-00000-of-00004.index.jsonl {"id": ..., "frames": T} a line, in the same order; written last: it marks the
                                     shard as finished

A shard is memory-mapped, so a corpus larger than memory can be read in any order, by many processes at once.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textless.errors import UserError
from textless.files import atomic_write, read_json, read_jsonl, write_json, write_jsonl
from textless.provenance import check_header, make_header

FORMAT, VERSION = "textless-features", 1
HEADER_NAME = "store.json"


@dataclass(frozen=True)
class StoreHeader:
    """What the frames are."""

    encoder: str  # the specification, e.g. "mfcc@50" or "hubert-base:9"
    encoder_sha256: str  # identity of the weights and settings behind that specification
    dim: int
    frame_rate: float
    n_shards: int
    manifest_sha256: str  # of the ids and lengths encoded, so that shards of two corpora never mix


def write_header(directory: Path, header: StoreHeader) -> None:
    """Write `store.json`."""
    write_json(directory / HEADER_NAME, make_header(FORMAT, VERSION, **vars(header)))


def read_header(directory: Path) -> StoreHeader:
    """Read `store.json`."""
    path = directory / HEADER_NAME
    values = check_header(read_json(path), FORMAT, VERSION, path)
    try:
        return StoreHeader(**{name: values[name] for name in StoreHeader.__dataclass_fields__})
    except KeyError as error:
        raise UserError(f"{path} lacks the key {error}") from error


def is_finished(directory: Path, index: int, count: int) -> bool:
    """Whether a shard is complete."""
    return _index_path(directory, index, count).exists()


def _frames_path(directory: Path, index: int, count: int) -> Path:
    return directory / f"shard-{index:05d}-of-{count:05d}.npy"


def _index_path(directory: Path, index: int, count: int) -> Path:
    return directory / f"shard-{index:05d}-of-{count:05d}.index.jsonl"


def write_shard(directory: Path, index: int, count: int, features: Mapping[str, np.ndarray]) -> None:
    """Write one shard: frames first, its index last."""
    frames = list(features.values())
    rows = sum(map(len, frames))
    dim, dtype = (frames[0].shape[1], frames[0].dtype) if frames else (0, np.dtype(np.float32))
    # Written piece by piece: a memory map would meet a full disk with SIGBUS instead of an error.
    with atomic_write(_frames_path(directory, index, count), "wb") as file:
        layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, dim)}
        np.lib.format.write_array_header_1_0(file, layout)
        for array in frames:
            file.write(np.ascontiguousarray(array, dtype).data)
    write_jsonl(
        _index_path(directory, index, count), ({"id": i, "frames": len(array)} for i, array in features.items())
    )


class FeatureStore(Mapping[str, np.ndarray]):
    """A finished store, read-only: `store[utterance_id]` is `(T, D)`, memory-mapped.

    Raises:
        UserError: the directory is no store, or some shards are not finished.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.header = read_header(directory)
        self._shards: list[np.ndarray] = []
        self._places: dict[str, tuple[int, int, int]] = {}  # id -> shard, first row, rows
        count = self.header.n_shards
        for index in range(count):
            if not is_finished(directory, index, count):
                raise UserError(
                    f"{directory} is not finished (shard {index} of {count} is missing); run the command that "
                    "writes it again, it does only what is left"
                )
            self._shards.append(np.load(_frames_path(directory, index, count), mmap_mode="r"))
            start = 0
            for row in read_jsonl(_index_path(directory, index, count)):
                self._places[row["id"]] = (index, start, row["frames"])
                start += row["frames"]

    def __getitem__(self, utterance_id: str) -> np.ndarray:
        shard, start, rows = self._places[utterance_id]
        return self._shards[shard][start : start + rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def n_frames(self) -> int:
        """Frames of all utterances together."""
        return sum(len(shard) for shard in self._shards)


class FeatureFolder(Mapping[str, np.ndarray]):
    """A folder of one file an utterance: `.npy`, `.pt` (a tensor) or `.txt` (a frame a line), each `(T, D)`.

    Ids are relative paths without extension; one-dimensional files (codes) become `(T, 1)`.

    Raises:
        UserError: no such folder, nothing in it, or two files with one id.
    """

    EXTENSIONS = (".npy", ".pt", ".txt")

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise UserError(
                f"features not found: {directory} (a feature store, or a folder of .npy, .pt or .txt files)"
            )
        self._paths: dict[str, Path] = {}
        for path in sorted(directory.rglob("*")):
            if path.suffix in self.EXTENSIONS:
                utterance_id = path.relative_to(directory).with_suffix("").as_posix()
                if utterance_id in self._paths:
                    raise UserError(
                        f"{directory} has two files for {utterance_id!r}: {self._paths[utterance_id]}, {path}"
                    )
                self._paths[utterance_id] = path
        if not self._paths:
            raise UserError(f"{directory} holds neither {HEADER_NAME} nor .npy, .pt or .txt files")

    def __getitem__(self, utterance_id: str) -> np.ndarray:
        path = self._paths[utterance_id]
        try:
            array = self._read(path)
        except (OSError, ValueError, EOFError, RuntimeError, TypeError) as error:
            raise UserError(f"{path} cannot be read as features: {' '.join(str(error).split())}") from error
        if array.ndim == 1:
            array = array[:, None]
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise UserError(f"{path} should hold numbers of shape (T, D), found {array.dtype} {array.shape}")
        return array

    @staticmethod
    def _read(path: Path) -> np.ndarray:
        match path.suffix:
            case ".npy":
                return np.load(path, mmap_mode="r", allow_pickle=False)
            case ".pt":
                import torch

                tensor = torch.load(path, map_location="cpu", weights_only=True)
                return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
            case _:
                return np.loadtxt(path, ndmin=2)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def open_features(path: Path) -> FeatureStore | FeatureFolder:
    """Open a feature store or a folder of feature files, whichever `path` is."""
    return FeatureStore(path) if (path / HEADER_NAME).exists() else FeatureFolder(path)


def write_npy(directory: Path, utterance_id: str, features: np.ndarray) -> None:
    """Write one utterance's `(T, D)` float32 to `directory/<id>.npy`, atomically."""
    with atomic_write(directory / f"{utterance_id}.npy", "wb") as file:
        np.save(file, np.asarray(features, dtype=np.float32))
