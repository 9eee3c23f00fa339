"""ABX item files: which stretches of speech to compare. This module owns `.item`.

A text file with the header `#file onset offset #phone prev-phone next-phone speaker` and one token a line, separated
by single spaces, times in seconds. For a *triphone* item the span covers the previous, the centre and the next phone;
for a *phoneme* item the centre phone alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textless.corpora.alignment import SILENCE, Segment
from textless.errors import UserError
from textless.files import atomic_write, require

HEADER = "#file onset offset #phone prev-phone next-phone speaker"


@dataclass(frozen=True)
class Item:
    """One token: times stay decimal text, since frame arithmetic on them is exact."""

    file: str
    onset: str
    offset: str
    phone: str
    previous: str
    next: str
    speaker: str


def read_items(path: Path) -> list[Item]:
    """Read an item file.

    Raises:
        UserError: naming the line that has not seven columns, or times that are not numbers.
    """
    items = []
    try:
        lines = require(path, "item file").read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    if not lines or not lines[0].startswith("#file"):
        raise UserError(f"{path}:1 should be the header `{HEADER}`")
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        # A file name may hold spaces; the six columns after it may not.
        cells = line.rsplit(maxsplit=6)
        if len(cells) != 7:
            raise UserError(f"{path}:{number} has {len(cells)} columns, expected 7: {HEADER}")
        try:
            ordered = 0 <= float(cells[1]) < float(cells[2])
        except ValueError as error:
            raise UserError(f"{path}:{number}: onset and offset should be seconds, found {cells[1:3]}") from error
        if not ordered:
            raise UserError(f"{path}:{number}: needs 0 <= onset < offset, found {cells[1]} and {cells[2]}")
        items.append(Item(*cells))
    if not items:
        raise UserError(f"{path} names no items")
    return items


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write an item file."""
    with atomic_write(path) as file:
        file.write(HEADER + "\n")
        for i in items:
            file.write(f"{i.file} {i.onset} {i.offset} {i.phone} {i.previous} {i.next} {i.speaker}\n")


def items_from_alignment(
    alignment: Mapping[str, Sequence[Segment]], speakers: Mapping[str, str], span: Literal["triphone", "phoneme"]
) -> Iterator[Item]:
    """Every phone that has a phone, not silence, on both sides.

    Args:
        alignment: phone segments by utterance id.
        speakers: speaker by utterance id.
        span: what the item's times cover.
    """
    for utterance, segments in alignment.items():
        for before, centre, after in zip(segments, segments[1:], segments[2:], strict=False):
            if SILENCE in (before.label, centre.label, after.label):
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
