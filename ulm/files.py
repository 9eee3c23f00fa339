"""Scores on disk. This module owns the scores file (`scores.tsv`).

Line 1 is the header, tab-separated: `id`, `log_prob`, `units`, `seconds`, `per_unit`, `per_second`. Every further line
is one utterance: its id, the natural log of its probability (summed over its units, and over its end where that was
asked for), how many units it has, how long it lasts, and the log-probability divided by either. What is not known, or
divided by nothing, is left empty. Readers need the first three columns; others may follow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textless.errors import UserError
from textless.files import atomic_write, require

NEEDED = ("id", "log_prob", "units")
HEADER = (*NEEDED, "seconds", "per_unit", "per_second")


@dataclass(frozen=True)
class Score:
    """What a unit LM thinks of an utterance."""

    id: str
    log_prob: float
    units: int
    seconds: float | None = None  # of speech; None where durations are not known


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write a scores file atomically."""
    with atomic_write(path) as file:
        file.write("\t".join(HEADER) + "\n")
        for score in scores:
            if "\t" in score.id or "\n" in score.id:
                raise UserError(f"the id {score.id!r} has a tab or a line break, which a scores file cannot hold")
            seconds = "" if score.seconds is None else f"{score.seconds:.6g}"
            rates = (f"{score.log_prob / size:.6f}" if size else "" for size in (score.units, score.seconds))
            file.write("\t".join([score.id, f"{score.log_prob:.6f}", str(score.units), seconds, *rates]) + "\n")


def read_scores(path: Path) -> list[Score]:
    """Read a scores file.

    Raises:
        UserError: it is not one, or a line is not id, number, number.
    """
    with require(path, "scores file").open(encoding="utf-8") as file:
        lines = file.read().splitlines()
    columns = lines[0].split("\t") if lines else []
    if tuple(columns[: len(NEEDED)]) != NEEDED:
        raise UserError(
            f"{path} is not a scores file: its first line should begin with {' '.join(NEEDED)}, tab-separated"
        )
    timed = columns[len(NEEDED) : len(NEEDED) + 1] == ["seconds"]
    scores = []
    for number, line in enumerate(lines[1:], 2):
        try:
            utterance_id, log_prob, units, *further = line.split("\t")
            seconds = float(further[0]) if timed and further[0] else None
            scores.append(Score(utterance_id, float(log_prob), int(units), seconds))
        except (ValueError, IndexError) as error:
            raise UserError(f"{path}:{number} should be an id, a log probability and a number of units") from error
    return scores
