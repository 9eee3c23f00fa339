"""Units on disk. This module owns `units.jsonl`.

Line 1 is a header object: `format` "textless-units", `version`, `quantizer` (identity), `frame_rate` in Hz, `k`.
Every further line is one utterance: `{"id": str, "units": [int], "durations": [int]}`, deduplicated units with the
number of frames each lasted. Output that has no timing (a unit LM's continuation) has no `durations`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from textless.errors import UserError
from textless.files import read_jsonl, shard_paths, write_jsonl
from textless.provenance import check_header, make_header
from units.identity import QuantizerIdentity

FORMAT, VERSION = "textless-units", 1


@dataclass(frozen=True)
class Units:
    """Deduplicated units of an utterance, and how many frames each lasted (None: not known)."""

    id: str
    units: list[int]
    durations: list[int] | None = None

    @property
    def n_frames(self) -> int:
        """Length in frames; without durations, the number of units."""
        return len(self.units) if self.durations is None else sum(self.durations)


@dataclass(frozen=True)
class UnitsFile:
    """Everything in a units file (or in all of its shards)."""

    quantizer: QuantizerIdentity
    utterances: list[Units]


def write_units(path: Path, quantizer: QuantizerIdentity, utterances: Iterable[Units]) -> None:
    """Write a units file atomically."""
    header = make_header(
        FORMAT, VERSION, quantizer=quantizer.model_dump(), frame_rate=quantizer.frame_rate, k=quantizer.k
    )
    write_jsonl(path, chain([header], (_row(item) for item in utterances)))


def _row(item: Units) -> dict[str, Any]:
    row: dict[str, Any] = {"id": item.id, "units": item.units}
    if item.durations is not None:
        row["durations"] = item.durations
    return row


def read_units(path: Path) -> UnitsFile:
    """Read a units file, or all shards of it.

    Raises:
        UserError: not a units file; a line without id or units; units outside 0..K-1; durations that do not fit;
            shards of different quantizers; an id that occurs twice.
    """
    quantizer: QuantizerIdentity | None = None
    utterances: list[Units] = []
    for shard in shard_paths(path):
        rows = read_jsonl(shard)
        header = check_header(next(rows, None), FORMAT, VERSION, shard)
        identity = QuantizerIdentity.parse(header.get("quantizer", {}), str(shard))
        if quantizer is not None and identity != quantizer:
            raise UserError(f"{shard} holds units of {identity}, the shards before it of {quantizer}")
        quantizer = identity
        utterances.extend(_checked(rows, shard, identity.k))
    assert quantizer is not None
    seen: set[str] = set()
    for item in utterances:
        if item.id in seen:
            raise UserError(f"{path} has two utterances with the id {item.id!r}")
        seen.add(item.id)
    return UnitsFile(quantizer, utterances)


def _checked(rows: Iterable[Any], path: Path, k: int) -> Iterator[Units]:
    for number, row in enumerate(rows, 2):
        try:
            item = Units(row["id"], row["units"], row.get("durations"))
            in_range = all(0 <= unit < k for unit in item.units)
            lasting = item.durations is None or (
                len(item.durations) == len(item.units) and all(duration > 0 for duration in item.durations)
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}:{number} should be an object with id, units and durations") from error
        if not in_range:
            raise UserError(f"{path}:{number} ({item.id}): units should lie in 0..{k - 1}")
        if not lasting:
            raise UserError(f"{path}:{number} ({item.id}): needs one positive duration a unit")
        yield item
