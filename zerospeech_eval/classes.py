"""Discovered terms on disk: the class files of the ZeroSpeech term discovery tracks. This module owns them.

    Class 1
    file 12.34 12.88
    other 0.5 1.02

A class is a header, a line for every fragment (file, onset, offset in seconds) and an empty line, the last one too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textless.errors import UserError
from textless.files import atomic_write, require


@dataclass(frozen=True)
class Fragment:
    """A stretch of a recording, in seconds."""

    file: str
    onset: float
    offset: float


Classes = dict[str, list[Fragment]]


@dataclass(frozen=True)
class ClassFile:
    """What could be read of a class file, what is wrong with it, and what only the organisers' program refuses."""

    classes: Classes
    problems: list[str]
    remarks: list[str]


def read_classes(path: Path) -> Classes:
    """Fragments by class, in the order of the file.

    Raises:
        UserError: with the first mistakes and their lines.
    """
    found = parse_classes(path)
    if found.problems:
        more = f", and {len(found.problems) - 3} more" if len(found.problems) > 3 else ""
        raise UserError(f"{path}: {'; '.join(found.problems[:3])}{more}")
    return found.classes


def parse_classes(path: Path) -> ClassFile:
    """Read as much as can be read."""
    try:
        lines = require(path, "class file").read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        return ClassFile({}, [f"not a text file in UTF-8: {error}"], [])
    reading = _Reading()
    for number, line in enumerate(lines, 1):
        reading.take(line.strip(), f"line {number}")
    if reading.open:
        reading.remarks.append("an empty line should end the last class")
    empty = [f"class {name} is empty" for name, fragments in reading.classes.items() if not fragments]
    problems = reading.problems or empty or ([] if reading.classes else ["no class"])
    return ClassFile(reading.classes, problems, reading.remarks)


class _Reading:
    """What has been read so far; `open` until an empty line ends the class at hand."""

    def __init__(self) -> None:
        self.classes: Classes = {}
        self.problems: list[str] = []
        self.remarks: list[str] = []
        self.name = ""
        self.open = False

    def take(self, text: str, place: str) -> None:
        """Take the next line, without the white space around it."""
        if not text:
            self.open = False
        elif text.startswith("Class") and len(text.split()) > 1:
            if self.open:
                self.remarks.append(f"{place}: an empty line should end the class before")
            self.name, self.open = text.split()[1], True
            if self.name in self.classes:
                self.problems.append(f"{place}: a second class {self.name}")
            self.classes.setdefault(self.name, [])
        elif isinstance(fragment := _parse_fragment(text), str):
            self.problems.append(f"{place}: {fragment}")
        elif not self.open:
            self.problems.append(f"{place}: a fragment outside any class")
        else:
            self.classes[self.name].append(fragment)


def _parse_fragment(text: str) -> Fragment | str:
    """The fragment, or what is wrong with it."""
    cells = text.rsplit(maxsplit=2)
    try:
        fragment = Fragment(cells[0], float(cells[1]), float(cells[2]))
    except (IndexError, ValueError):
        return f"should be `Class N`, `file onset offset` or empty, found {text[:60]!r}"
    if not (0 <= fragment.onset < fragment.offset < math.inf):
        return f"needs 0 <= onset < offset, found {cells[1]} and {cells[2]}"
    return fragment


def write_classes(path: Path, classes: Mapping[str, Sequence[Fragment]]) -> None:
    """Write a class file; times keep every digit they need."""
    with atomic_write(path) as file:
        for name, fragments in classes.items():
            file.write(f"Class {name}\n")
            file.writelines(f"{f.file} {f.onset!r} {f.offset!r}\n" for f in fragments)
            file.write("\n")
