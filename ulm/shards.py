"""Tokens of a corpus too large for memory. This module owns the folder that `textless ulm prepare` writes.

    tokens.json                      header: identities of units and tokens, number of shards
    shard-00000-of-00004.npy         (M,) tokens of the shard's utterances, each followed by the boundary
    shard-00000-of-00004.places.npy  (documents + 1,) where each begins in it, and the end
    shard-00000-of-00004.json        how much of everything; written last: it marks the shard as finished
    bpe/                             the BPE, if it made the tokens

Tokens are of the smallest unsigned type that holds the boundary: one or two bytes each. Shards are memory-mapped, and
only while something is read from them. How many there are changes nothing of what training sees.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from textless.distributed import file_world, my_shards
from textless.errors import UserError
from textless.files import atomic_write, read_json, shard_paths, write_json
from textless.progress import say, track
from textless.provenance import check_header, make_header
from ulm.tokens import Tokenizer
from units.bpe import UnitBPE, load_bpe, save_bpe
from units.files import Units, scan_part, scan_units
from units.identity import QuantizerIdentity, require_same

FORMAT, VERSION = "textless-unit-tokens", 1
HEADER_NAME, BPE_NAME = "tokens.json", "bpe"


@dataclass
class Counts:
    """How much there is of everything.

    Attributes:
        documents: utterances that hold a unit.
        tokens: to predict: units or BPE tokens, and the ends.
        units: before BPE.
        timed_units: of utterances with durations.
        frames: that these lasted.
        empty: utterances without a unit, which are left out.
    """

    documents: int = 0
    tokens: int = 0
    units: int = 0
    timed_units: int = 0
    frames: int = 0
    empty: int = 0

    def __str__(self) -> str:
        tokens = self.tokens - self.documents
        empty = f" ({self.empty} empty ones left out)" if self.empty else ""
        return f"{self.documents} utterances{empty}, {self.units} units" + (
            "" if tokens == self.units else f" in {tokens} BPE tokens"
        )

    def add(self, other: "Counts") -> None:
        """Count something else too."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def tokenize(utterances: Iterable[Units], tokenizer: Tokenizer, counts: Counts) -> Iterator[np.ndarray]:
    """Tokens `(M,)` of every utterance that holds a unit, counting."""
    for item in utterances:
        if not item.units:
            counts.empty += 1
            continue
        tokens = tokenizer.encode(item.units)
        timed = item.durations is not None
        counts.add(Counts(1, len(tokens) + 1, len(item.units), timed * len(item.units), timed * item.n_frames))
        yield tokens


def prepare(
    units: Path, out: Path, *, bpe: Path | None = None, shards: int | None = None, force: bool = False
) -> Counts:
    """Write the shards that are this process's and not finished; what is in them.

    Args:
        units: the units file; it is read utterance by utterance.
        out: the folder.
        bpe: directory of a BPE that makes tokens of the units.
        shards: how many; by default one a process.
        force: write finished ones again, too.

    Raises:
        UserError: a file is missing or not what it should be, the BPE is of another quantizer, or the folder holds
            tokens of another units file.
    """
    count = shards or file_world().size
    quantizer = scan_units(units)[0].quantizer
    tokenizer = Tokenizer(quantizer, None if bpe is None else load_bpe(bpe))
    if tokenizer.bpe is not None:
        require_same(tokenizer.bpe.quantizer, quantizer, f"the BPE {bpe}", str(units))
    _begin(out, units, tokenizer, count, force=force)
    total = Counts()
    for index in my_shards(count):
        done = _counts_path(out, index, count)
        if done.exists() and not force:
            say(f"{done.with_suffix('.npy')} is finished")
        else:
            _write_shard(out, units, tokenizer, index, count)
        total.add(_read_counts(done))
    return total


def _begin(out: Path, units: Path, tokenizer: Tokenizer, count: int, *, force: bool) -> None:
    """Write the header, or see that the one there is the same."""
    header = make_header(
        FORMAT,
        VERSION,
        quantizer=tokenizer.quantizer.model_dump(),
        tokens=tokenizer.identity.model_dump(),
        n_shards=count,
        units_bytes=sum(path.stat().st_size for path in shard_paths(units)),
    )
    path = out / HEADER_NAME
    if path.exists() and not force:
        before = check_header(read_json(path), FORMAT, VERSION, path)
        differing = [key for key in header if key != "software" and before.get(key) != header[key]]
        if differing:
            raise UserError(
                f"{out} has tokens of something else ({', '.join(differing)} differ); --force replaces them"
            )
    elif not path.exists() and _holds_something_else(out):
        raise UserError(f"{out} exists and is no folder of tokens; give another")
    else:
        write_json(path, header)
    if tokenizer.bpe is not None and 0 in my_shards(count):
        save_bpe(tokenizer.bpe, out / BPE_NAME)


def _holds_something_else(out: Path) -> bool:
    """Whether there is a file, or a folder that another process is not just beginning."""
    return out.is_file() or (out.is_dir() and any(not path.name.startswith(".") for path in out.iterdir()))


def _write_shard(out: Path, units: Path, tokenizer: Tokenizer, index: int, count: int) -> None:
    counts, places = Counts(), array("q", [0])
    boundary = tokenizer.vocabulary.boundary
    dtype = np.min_scalar_type(boundary).newbyteorder("<")
    done = _counts_path(out, index, count)
    _, utterances = scan_part(units, index, count)
    # Written piece by piece: a memory map would meet a full disk with SIGBUS instead of an error.
    with atomic_write(done.with_suffix(".npy"), "wb") as file:
        _write_npy_header(file, dtype, 0)
        for tokens in tokenize(track(utterances, f"shard {index + 1} of {count}"), tokenizer, counts):
            file.write(np.append(tokens, boundary).astype(dtype).data)
            places.append(counts.tokens)
        file.seek(0)
        _write_npy_header(file, dtype, counts.tokens)  # numpy leaves room for the length
    with atomic_write(done.with_suffix(".places.npy"), "wb") as file:
        np.save(file, np.frombuffer(places, dtype=np.int64))
    write_json(done, asdict(counts))


def _write_npy_header(file: IO[bytes], dtype: np.dtype, length: int) -> None:
    layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, layout)


def _counts_path(directory: Path, index: int, count: int) -> Path:
    return directory / f"shard-{index:05d}-of-{count:05d}.json"


def _read_counts(path: Path) -> Counts:
    values = read_json(path)
    try:
        return Counts(**values)
    except TypeError as error:
        raise UserError(f"{path} is damaged: {error}; prepare the shard again with --force") from error


class TokenShards:
    """A prepared folder, as `ulm.data.Documents`.

    Raises:
        UserError: it is not one, a shard is missing or damaged, or it holds no units.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / HEADER_NAME
        header = check_header(read_json(path), FORMAT, VERSION, path)
        quantizer = QuantizerIdentity.parse(header["quantizer"], str(path))
        tokens = QuantizerIdentity.parse(header["tokens"], str(path))
        bpe: UnitBPE | None = None
        if tokens != quantizer:
            bpe = load_bpe(directory / BPE_NAME)
            require_same(tokens, bpe.tokens, str(path), str(directory / BPE_NAME))
        self.tokenizer = Tokenizer(quantizer, bpe)
        self.boundary = self.tokenizer.vocabulary.boundary
        count: int = header["n_shards"]
        self._files = [_counts_path(directory, index, count) for index in range(count)]
        each = [self._check(file) for file in self._files]
        self.counts = Counts()
        for counts in each:
            self.counts.add(counts)
        if not self.counts.documents:
            raise UserError(f"{directory} holds no units: nothing to train or validate on")
        self.n_documents, self.n_tokens = self.counts.documents, self.counts.tokens
        self._first_documents = np.cumsum([0, *(counts.documents for counts in each)])
        self._first_places = np.cumsum([0, *(counts.tokens for counts in each)])

    def _check(self, path: Path) -> Counts:
        """Counts of a shard that is whole."""
        if not path.exists():
            raise UserError(
                f"{path.with_suffix('.npy')} is missing or not finished; give the `ulm prepare` command again, it does "
                "only what is left"
            )
        counts = _read_counts(path)
        if (len(_map(path, ".npy")), len(_map(path, ".places.npy"))) != (counts.tokens, counts.documents + 1):
            raise UserError(
                f"{path.with_suffix('.npy')} is not what {path.name} describes; prepare it again with --force"
            )
        return counts

    def places(self, first: int, last: int) -> np.ndarray:
        """See `ulm.data.Documents`."""
        parts = [np.array([self._place(first)])]
        for shard, start, stop in _overlaps(self._first_documents, first, last):
            parts.append(_map(self._files[shard], ".places.npy")[start + 1 : stop + 1] + self._first_places[shard])
        return np.concatenate(parts)

    def _place(self, document: int) -> int:
        shard = min(int(np.searchsorted(self._first_documents, document, side="right")), len(self._files)) - 1
        within = _map(self._files[shard], ".places.npy")[document - self._first_documents[shard]]
        return int(within + self._first_places[shard])

    def first_at(self, places: np.ndarray) -> np.ndarray:
        """See `ulm.data.Documents`."""
        result = np.empty(len(places), dtype=np.int64)
        shards = np.searchsorted(self._first_places[1:-1], places, side="left")
        for shard in np.unique(shards):
            chosen = shards == shard
            within = places[chosen] - self._first_places[shard]
            found = np.searchsorted(_map(self._files[shard], ".places.npy"), within)
            result[chosen] = found + self._first_documents[shard]
        return result

    def read(self, start: int, stop: int) -> np.ndarray:
        """See `ulm.data.Documents`."""
        # Shards hold everything but the very first boundary: place p of the corpus is token p - 1 of theirs.
        first = np.full(int(start == 0), self.boundary, dtype=np.min_scalar_type(self.boundary))
        overlaps = _overlaps(self._first_places, max(start - 1, 0), stop - 1)
        return np.concatenate([first, *(_map(self._files[s], ".npy")[a:b] for s, a, b in overlaps)])


def _overlaps(firsts: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """Shards that hold some of `start..stop - 1`, and which of their own items; shard s begins at item `firsts[s]`."""
    for shard, (first, end) in enumerate(zip(firsts[:-1].tolist(), firsts[1:].tolist(), strict=True)):
        if start < end and first < stop:
            yield shard, max(start - first, 0), min(stop, end) - first


def _map(path: Path, suffix: str) -> Any:  # noqa: ANN401
    """A file of a shard, memory-mapped."""
    file = path.with_suffix(suffix)
    try:
        return np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file} is missing or damaged ({error}); prepare it again with --force") from error
