"""Units on disk. This module owns `units.jsonl`.

Line 1 is a header object: `format` "textless-units", `version`, `quantizer` (identity), `frame_rate` in Hz, `k`, and
`streams` if there are any. Every further line is one utterance: `{"id": str, "units": [int], "durations": [int]}`,
deduplicated units with the number of frames each lasted. Output that has no timing (a unit LM's continuation) has no
`durations`. With streams, `"streams": {"f0": [int], ...}` holds one value of each beside every unit.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain, takewhile
from pathlib import Path
from typing import Any

from textless.config import Config
from textless.errors import UserError
from textless.files import read_jsonl, shard_paths, write_jsonl
from textless.provenance import check_header, make_header
from units.identity import QuantizerIdentity

FORMAT, VERSION = "textless-units", 1


class Stream(Config):
    """A further sequence beside the units: how many values it takes (0..size-1), and a hash of what made it."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Units:
    """Deduplicated units of an utterance, how many frames each lasted (None: not known), and what else goes with them.

    `streams` are as long as `units`.
    """

    id: str
    units: list[int]
    durations: list[int] | None = None
    streams: dict[str, list[int]] = field(default_factory=dict)

    @property
    def n_frames(self) -> int:
        """Length in frames; without durations, the number of units."""
        return len(self.units) if self.durations is None else sum(self.durations)


@dataclass(frozen=True)
class UnitsFile:
    """Everything in a units file (or in all of its shards)."""

    quantizer: QuantizerIdentity
    utterances: list[Units]
    streams: dict[str, Stream] = field(default_factory=dict)


def write_units(
    path: Path,
    quantizer: QuantizerIdentity,
    utterances: Iterable[Units],
    streams: Mapping[str, Stream] | None = None,
) -> None:
    """Write a units file atomically; `streams` declares those of the utterances."""
    declared = {"streams": {name: stream.model_dump() for name, stream in streams.items()}} if streams else {}
    header = make_header(
        FORMAT, VERSION, quantizer=quantizer.model_dump(), frame_rate=quantizer.frame_rate, k=quantizer.k, **declared
    )
    write_jsonl(path, chain([header], (_row(item) for item in utterances)))


def _row(item: Units) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.id, "units": item.units}
    if item.durations is not None:
        row["durations"] = item.durations
    if item.streams:
        row["streams"] = item.streams
    return row


def read_units(path: Path) -> UnitsFile:
    """Read a units file, or all shards of it.

    Raises:
        UserError: not a units file; a line without id or units; units outside 0..K-1; durations or streams that do
            not fit; shards of different quantizers or with different streams; an id that occurs twice; a missing shard.
    """
    head, utterances = scan_units(path)
    file = UnitsFile(head.quantizer, list(utterances), head.streams)
    repeated = first_repeated(item.id for item in file.utterances)
    if repeated is not None:
        raise UserError(f"{path} has two utterances with the id {repeated!r}")
    return file


def scan_units(path: Path) -> tuple[UnitsFile, Iterator[Units]]:
    """Like `read_units`, one utterance at a time: what the header says (no utterances), and a stream of them.

    Ids are not compared with each other.
    """
    shards = shard_paths(path)
    head = _read_head(shards[0])
    return head, chain.from_iterable(_scan_shard(shard, head) for shard in shards)


def scan_part(path: Path, index: int, count: int) -> tuple[UnitsFile, Iterator[Units]]:
    """Like `scan_units`, part `index` of `count` only; the parts in order make the whole.

    They are equal in bytes, and a line belongs to the part in which it begins: what comes before is read, not parsed.
    """
    shards = shard_paths(path)
    head = _read_head(shards[0])
    ends = list(accumulate(shard.stat().st_size for shard in shards))
    begin, end = index * ends[-1] // count, (index + 1) * ends[-1] // count
    parts = (
        _scan_shard(shard, head, begin - start, end - start)
        for shard, start, stop in zip(shards, [0, *ends], ends, strict=False)
        if begin < stop and start < end
    )
    return head, chain.from_iterable(parts)


def _scan_shard(path: Path, first: UnitsFile, begin: int = 0, end: int | None = None) -> Iterator[Units]:
    """Utterances whose lines begin at the bytes `begin..end` of a file (None: all from `begin` on)."""
    head = _read_head(path)
    if head.quantizer != first.quantizer:
        raise UserError(f"{path} holds units of {head.quantizer}, the shards before it of {first.quantizer}")
    if head.streams != first.streams:
        raise UserError(f"{path} has other streams ({', '.join(head.streams) or 'none'}) than the shards before it")
    rows = read_jsonl(path, begin, end)
    if begin <= 0:
        next(rows)
        return checked(_items(rows, path), head, path)
    line = _lines_before(path, begin) + 1
    return checked(_items(rows, path, line), head, path, line)


def _lines_before(path: Path, byte: int) -> int:
    """Lines that begin before a byte."""
    with path.open("rb") as file:
        ends = accumulate(map(len, file))
        return 1 + sum(1 for _ in takewhile(lambda end: end < byte, ends))


def _read_head(path: Path) -> UnitsFile:
    header = check_header(next(read_jsonl(path), None), FORMAT, VERSION, path)
    identity = QuantizerIdentity.parse(header.get("quantizer", {}), str(path))
    return UnitsFile(identity, [], {n: Stream.parse(v, str(path)) for n, v in header.get("streams", {}).items()})


def _items(rows: Iterable[Any], path: Path, first: int = 2) -> Iterator[Units]:
    for number, row in enumerate(rows, first):
        try:
            yield Units(row["id"], row["units"], row.get("durations"), row.get("streams", {}))
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number} should be an object with id, units and durations") from error


def checked(items: Iterable[Units], head: UnitsFile, path: Path, first: int = 2) -> Iterator[Units]:
    """Yield utterances, from line `first` on, that are what the head of their file says.

    Raises:
        UserError: naming the line that is not.
    """
    k = head.quantizer.k
    for number, item in enumerate(items, first):
        where = f"{path}:{number} ({item.id})"
        try:
            if not all(0 <= unit < k for unit in item.units):
                raise UserError(f"{where}: units should lie in 0..{k - 1}")
            if item.durations is not None and (
                len(item.durations) != len(item.units) or not all(duration > 0 for duration in item.durations)
            ):
                raise UserError(f"{where}: needs one positive duration a unit")
            if item.streams.keys() != head.streams.keys():
                raise UserError(
                    f"{where} has the streams {list(item.streams)}, the header declares {list(head.streams)}"
                )
            for name, values in item.streams.items():
                size = head.streams[name].size
                if len(values) != len(item.units) or not all(0 <= value < size for value in values):
                    raise UserError(f"{where}: needs one value of {name} in 0..{size - 1} a unit")
        except (TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number} should be an object with id, units and durations") from error
        yield item


def first_repeated(ids: Iterable[str]) -> str | None:
    """The first id that occurs a second time, or None."""
    seen: set[str] = set()
    for utterance_id in ids:
        if utterance_id in seen:
            return utterance_id
        seen.add(utterance_id)
    return None
