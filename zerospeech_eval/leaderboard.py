"""Published figures of the ZeroSpeech benchmarks and their kin, with one's own among them.

They are in `leaderboard.tsv`: a line a system, with the source of its figures, in the units of that source (percent,
but for the opinion scores and character error rates of tts0). Those of abxLS are for Libri-light's frames.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources

from textless.errors import UserError

OURS = "→"
LOWER_IS_BETTER = frozenset(("ned", "cer", "abx", "bitrate"))  # and everything of the tasks abx15, abx17 and abxLS


@dataclass(frozen=True)
class Entry:
    """A system and its figures by name; `ours` was not published but given."""

    system: str
    source: str
    figures: dict[str, float]
    ours: bool = False


@dataclass(frozen=True)
class Leaderboard:
    """Entries of one table of a task, and the figures they have, the first being the one to sort by."""

    task: str
    table: str
    measures: list[str]
    entries: list[Entry]

    def lower_is_better(self, measure: str) -> bool:
        """Whether a small value of the measure is a good one."""
        return self.task.startswith("abx") or measure in LOWER_IS_BETTER

    def ranked(self, by: str | None = None) -> list[Entry]:
        """Entries by a measure, the best first; those without it last.

        Raises:
            UserError: no such measure.
        """
        measure = by or self.measures[0]
        if measure not in self.measures:
            raise UserError(f"{self.task} {self.table} has no {measure!r}; it has {', '.join(self.measures)}")
        sign = 1 if self.lower_is_better(measure) else -1
        return sorted(self.entries, key=lambda entry: sign * entry.figures.get(measure, sign * math.inf))


def leaderboards(task: str, ours: Mapping[str, Mapping[str, float]] | None = None, name: str = "") -> list[Leaderboard]:
    """The tables of a task.

    Args:
        task: such as `sLM21`.
        ours: figures by table and name, to insert where a table has such figures.
        name: of the system they are of.

    Raises:
        UserError: no figures of that task, or none of ours are of its tables.
    """
    published: dict[str, list[Entry]] = {}
    text = resources.files("zerospeech_eval").joinpath("leaderboard.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    for other, table, system, source, figures in rows:
        if other == task:
            values = dict(cell.split("=") for cell in figures.split(";"))
            entry = Entry(system, source, {measure: float(value) for measure, value in values.items()})
            published.setdefault(table, []).append(entry)
    if not published:
        known = sorted({row[0] for row in rows}, key=str.casefold)
        raise UserError(f"no published figures of {task!r}; there are some of {', '.join(known)}")
    boards = [Leaderboard(task, table, _measures(entries), entries) for table, entries in published.items()]
    if ours is None:
        return boards
    inserted = [_insert(board, ours.get(board.table, {}), name) for board in boards]
    if all(len(board.entries) == len(before.entries) for board, before in zip(inserted, boards, strict=True)):
        raise UserError(f"none of these figures is in a published table of {task}: {', '.join(published)}")
    return inserted


def _insert(board: Leaderboard, figures: Mapping[str, float], name: str) -> Leaderboard:
    common = {measure: figures[measure] for measure in board.measures if measure in figures}
    return replace(board, entries=[*board.entries, Entry(name, "", common, ours=True)]) if common else board


def _measures(entries: Sequence[Entry]) -> list[str]:
    return list(dict.fromkeys(measure for entry in entries for measure in entry.figures))


def lines(board: Leaderboard, by: str | None = None) -> list[str]:
    """The table as text."""
    names = [f"{OURS} {entry.system}" if entry.ours else f"  {entry.system}" for entry in board.entries]
    width = max(map(len, names))
    columns = [max(len(measure), 7) for measure in board.measures]
    header = "  ".join(f"{measure:>{n}}" for measure, n in zip(board.measures, columns, strict=True))
    found = [f"{board.task} {board.table}", f"{'':{width}}  {header}  source"]
    for entry in board.ranked(by):
        name = f"{OURS} {entry.system}" if entry.ours else f"  {entry.system}"
        cells = (_cell(entry.figures.get(m), n) for m, n in zip(board.measures, columns, strict=True))
        found.append(f"{name:{width}}  {'  '.join(cells)}  {entry.source}")
    return found


def _cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:{width}.2f}"
