"""ABX item files: which stretches of speech to compare. This module owns `.item`.

A text file with a header that names its columns and one token a line, times in seconds:

    #file onset offset #phone prev-phone next-phone speaker      Libri-light, ZeroSpeech 2017 and 2021
    #file onset offset #phone context talker                     ABXpy, ZeroSpeech 2015

Columns are found by name, in any order, and any other column becomes a label of its own. For a *triphone* item the span
covers the previous, the centre and the next phone; for a *phoneme* item the centre phone alone.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from textless.corpora.alignment import SILENCE, Segment
from textless.errors import UserError
from textless.files import atomic_write, require

HEADER = "#file onset offset #phone prev-phone next-phone speaker"
FIELDS = {
    "file": "file",
    "onset": "onset",
    "offset": "offset",
    "phone": "phone",
    "prev-phone": "previous",
    "next-phone": "next",
    "context": "previous",  # one name for both neighbours, such as SIL-SIL
    "speaker": "speaker",
    "talker": "speaker",
}
GAP = 1e-3  # seconds between two segments from which on they are no neighbours


@dataclass(frozen=True)
class Item:
    """One token: times stay decimal text, since frame arithmetic on them is exact. Absent columns are empty."""

    file: str
    onset: str
    offset: str
    phone: str = ""
    previous: str = ""
    next: str = ""
    speaker: str = ""
    extra: tuple[tuple[str, str], ...] = ()  # (column, value) of every other column

    @property
    def context(self) -> str:
        """Previous and next phone."""
        return f"{self.previous} {self.next}".strip()


def read_items(path: Path) -> list[Item]:
    """Read an item file.

    Raises:
        UserError: there is no header with `#file onset offset`, or a line has not as many columns, or times that are
            no numbers, negative, or out of order.
    """
    try:
        lines = require(path, "item file").read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    columns = _read_header(path, lines[0])
    layout = _Layout.of(columns)
    items = [layout.read(f"{path}:{number}", line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    if not items:
        raise UserError(f"{path} names no items")
    return items


def _read_header(path: Path, line: str) -> list[str]:
    columns = [name.removeprefix("#") for name in line.split()]
    missing = [name for name in ("file", "onset", "offset") if name not in columns]
    if missing:
        raise UserError(f"{path}:1 lacks the column {missing[0]}; it should be a header such as `{HEADER}`")
    known = _known(columns)
    twice = [name for name, n in Counter(known.get(name, name) for name in columns).items() if n > 1]
    if twice:
        raise UserError(f"{path}:1 names the {twice[0]} twice: {line.strip()}")
    return columns


def _known(columns: Sequence[str]) -> dict[str, str]:
    """Field of every column that is one; a context beside its two phones is a label of its own."""
    return {c: FIELDS[c] for c in columns if c in FIELDS and not (c == "context" and "prev-phone" in columns)}


@dataclass(frozen=True)
class _Layout:
    """Which columns of a line are which fields of an item."""

    columns: list[str]
    fields: dict[str, int]
    extra: list[tuple[str, int]]

    @classmethod
    def of(cls, columns: list[str]) -> "_Layout":
        places, known = list(enumerate(columns)), _known(columns)
        fields = {known[name]: place for place, name in places if name in known}
        return cls(columns, fields, [(name, place) for place, name in places if name not in known])

    def read(self, where: str, line: str) -> Item:
        # A file name may hold spaces where it comes first; other columns may not.
        n = len(self.columns)
        cells = line.strip().rsplit(maxsplit=n - 1) if self.columns[0] == "file" else line.split()
        if len(cells) != n:
            raise UserError(f"{where} has {len(cells)} columns, expected {n}: {' '.join(self.columns)}")
        fields = {field: cells[place] for field, place in self.fields.items()}
        item = Item(**fields, extra=tuple([(name, cells[place]) for name, place in self.extra]))
        try:
            onset, offset = float(item.onset), float(item.offset)
        except ValueError as error:
            raise UserError(
                f"{where}: onset and offset should be seconds, found {item.onset}, {item.offset}"
            ) from error
        if not 0 <= onset < offset < math.inf:
            raise UserError(f"{where}: needs 0 <= onset < offset, found {item.onset} and {item.offset}")
        return item


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write an item file: the standard columns that any item fills, then the extra ones.

    Raises:
        UserError: a label is empty or holds a space, which the format cannot tell from the end of a column.
        ValueError: the items do not all have the same extra columns.
    """
    fields = ["phone", "previous", "next", "speaker"]
    fields = [name for name in fields if not items or any(getattr(item, name) for item in items)]
    names = {"phone": "#phone", "previous": "prev-phone" if "next" in fields else "context", "next": "next-phone"}
    extra = [name for name, _ in items[0].extra] if items else []
    with atomic_write(path) as file:
        file.write(" ".join(["#file onset offset", *(names.get(name, name) for name in fields), *extra]) + "\n")
        for item in items:
            if [name for name, _ in item.extra] != extra:
                raise ValueError(f"all items need the same extra columns, {extra}; found {item}")
            labels = [getattr(item, name) for name in fields] + [value for _, value in item.extra]
            bad = next((label for label in labels if len(label.split()) != 1), None)
            if bad is not None:
                raise UserError(f"{item.file!r} has the label {bad!r}: labels of an item file are words without spaces")
            file.write(" ".join([item.file, item.onset, item.offset, *labels]) + "\n")


def count_overlaps(items: Sequence[Item]) -> int:
    """Tokens that share time with an earlier token of their own phone, context and file: partly compared with itself.

    Neighbouring triphones overlap by right, but not two of the same phone in the same context.
    """
    spans: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for item in items:
        key = (item.file, item.phone, item.context)
        spans.setdefault(key, []).append((float(item.onset), float(item.offset)))
    count = 0
    for places in spans.values():
        reached = 0.0
        for onset, offset in sorted(places):
            count += onset < reached
            reached = max(reached, offset)
    return count


def items_from_alignment(
    alignment: Mapping[str, Sequence[Segment]], speakers: Mapping[str, str], span: Literal["triphone", "phoneme"]
) -> Iterator[Item]:
    """Every phone that has a phone, not silence, right before and right after it.

    Args:
        alignment: phone segments by utterance id.
        speakers: speaker by utterance id.
        span: what the item's times cover.
    """
    for utterance, segments in alignment.items():
        for before, centre, after in zip(segments, segments[1:], segments[2:], strict=False):
            if SILENCE in (before.label, centre.label, after.label):
                continue
            if centre.start - before.end > GAP or after.start - centre.end > GAP:
                continue
            first, last = (before, after) if span == "triphone" else (centre, centre)
            yield Item(
                utterance,
                f"{first.start:.4f}",
                f"{last.end:.4f}",
                centre.label,
                before.label,
                after.label,
                speakers[utterance],
            )


def speakers_from_ids(ids: Sequence[str], how: Literal["prefix", "parent", "id"]) -> dict[str, str]:
    """Speaker by utterance id.

    Args:
        ids: relative paths.
        how: `prefix` is the last part of an id up to the first `-` or `_`, `parent` the folder around it, `id` all.

    Raises:
        UserError: an id lies in no folder.
    """
    match how:
        case "id":
            return {i: i for i in ids}
        case "prefix":
            return {i: re.split("[-_]", PurePosixPath(i).name, maxsplit=1)[0] for i in ids}
        case "parent":
            speakers = {i: PurePosixPath(i).parent.name for i in ids}
            alone = next((i for i, speaker in speakers.items() if not speaker), None)
            if alone is not None:
                raise UserError(f"{alone!r} lies in no folder that could name its speaker; use --speaker-from prefix")
            return speakers
        case _:
            raise ValueError(f"unknown way to find speakers {how!r}")
