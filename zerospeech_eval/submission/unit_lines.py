"""Units as DiscoPhon wants them: a line `{"file": "...", "units": [...]}` a recording, a unit for every 20 ms."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from textless.files import require, write_jsonl
from units.files import Units, UnitsFile
from units.identity import QuantizerIdentity
from units.runs import deduplicate

STEP_RATE = 100.0  # Hz; DiscoPhon counts every 10 ms, where a unit lasts for two
REPEATS = 2


def read_lines(path: Path) -> Iterator[tuple[str, list[int]] | None]:
    """Name and units of every line that is not empty; None for a line that is something else."""
    for line in require(path, "units").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.strip():
            yield _parse(line)


def _parse(line: str) -> tuple[str, list[int]] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    if not isinstance(row, dict) or set(row) != {"file", "units"}:
        return None
    units = row["units"]
    usable = isinstance(units, list) and all(type(unit) is int and unit >= 0 for unit in units) and units
    return (row["file"], units) if usable and isinstance(row["file"], str) else None


def read_as_units(path: Path) -> UnitsFile:
    """A file that was checked, as units at 100 Hz."""
    rows = [row for row in read_lines(path) if row is not None]
    k = 1 + max((max(units) for _, units in rows), default=0)
    identity = QuantizerIdentity(encoder=path.name, k=k, frame_rate=STEP_RATE, sha256="")
    return UnitsFile(identity, [_utterance(name, units) for name, units in rows])


def _utterance(name: str, units: Sequence[int]) -> Units:
    runs, durations = deduplicate(units)
    return Units(name, runs, [REPEATS * n for n in durations])


def write_lines(path: Path, units: Mapping[str, Sequence[int]]) -> None:
    """Write units at frame rate, `(T,)` by name."""
    write_jsonl(path, ({"file": name, "units": list(sequence)} for name, sequence in units.items()))
