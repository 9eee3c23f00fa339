"""Scores on disk. This module owns the scores file (`scores.tsv`).

Line 1 is the header `id<TAB>log_prob<TAB>units`. Every further line is one utterance: its id, the natural log of its
probability (summed over its units, and over its end where that was asked for), and how many units it has.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from textless.errors import UserError
from textless.files import atomic_write, require

HEADER = ("id", "log_prob", "units")


@dataclass(frozen=True)
class Score:
    """What a unit LM thinks of an utterance."""

    id: str
    log_prob: float
    units: int


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Write a scores file atomically."""
    with atomic_write(path) as file:
        file.write("\t".join(HEADER) + "\n")
        for score in scores:
            if "\t" in score.id or "\n" in score.id:
                raise UserError(f"the id {score.id!r} has a tab or a line break, which a scores file cannot hold")
            file.write(f"{score.id}\t{score.log_prob:.6f}\t{score.units}\n")


def read_scores(path: Path) -> list[Score]:
    """Read a scores file.

    Raises:
        UserError: it is not one, or a line is not id, number, number.
    """
    with require(path, "scores file").open(encoding="utf-8") as file:
        lines = file.read().splitlines()
    if not lines or tuple(lines[0].split("\t")) != HEADER:
        raise UserError(f"{path} is not a scores file: its first line should be {' '.join(HEADER)}, tab-separated")
    scores = []
    for number, line in enumerate(lines[1:], 2):
        try:
            utterance_id, log_prob, units = line.split("\t")
            scores.append(Score(utterance_id, float(log_prob), int(units)))
        except ValueError as error:
            raise UserError(f"{path}:{number} should be an id, a log probability and a number of units") from error
    return scores
