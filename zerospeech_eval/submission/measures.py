"""What a scored submission says: single figures, and tables of everything behind them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from textless.files import atomic_write

Row = Mapping[str, object]


@dataclass(frozen=True)
class Measure:
    """A figure of the leaderboards, in the unit they use; None if undefined. Tables are like `test` or `english`."""

    table: str
    name: str
    value: float | None


@dataclass
class Scores:
    """Figures, the rows of every CSV file by its name, and JSON values by theirs."""

    measures: list[Measure] = field(default_factory=list)
    tables: dict[str, Sequence[Row]] = field(default_factory=dict)
    values: dict[str, object] = field(default_factory=dict)

    def add(self, table: str, **measures: float | None) -> None:
        """Add figures to a table."""
        self.measures += [Measure(table, name, value) for name, value in measures.items()]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write rows with all their digits; what is undefined is left empty."""
    with atomic_write(path) as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
