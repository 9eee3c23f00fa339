"""Log-probabilities of recordings under a language model, found by the file names of a gold list.

A score is the sum of the log-probabilities of a recording's units, or their mean. ZeroSpeech leaves the choice to the
participants; SALMon's own program takes the sum, slamkit the mean. Every result says which it is of.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from textless.errors import UserError
from textless.files import require
from zerospeech_eval.names import listed

HEADER = ["id", "log_prob", "units"]


@dataclass(frozen=True)
class LogProbs:
    """Natural log-probabilities by utterance id, and the convention they follow."""

    values: Mapping[str, float]
    convention: str  # "sum of log-probabilities" or "mean log-probability per unit"


def read_scores(path: Path, *, per_unit: bool = False) -> LogProbs:
    """Read the TSV of `textless ulm score` (`id`, `log_prob`, `units`), or a ZeroSpeech submission: `name value` lines.

    Args:
        path: the file.
        per_unit: divide each log-probability by its number of units.

    Raises:
        UserError: naming the line that is malformed, every id that is there twice, or `per_unit` without units.
    """
    lines = _lines(path)
    named = _is_named(lines)
    if per_unit and not named:
        raise UserError(f"--per-unit needs the column units, which {path} has not; score with `textless ulm score`")
    values: dict[str, float] = {}
    repeated: dict[str, int] = {}
    for number, line in enumerate(lines[1:] if named else lines, 2 if named else 1):
        if not line.strip():
            continue
        cells = line.split("\t") if named else line.rsplit(maxsplit=1)
        try:
            name, value = cells[0], float(cells[1])
            units = float(cells[2]) if per_unit else 1.0
        except (IndexError, ValueError) as error:
            expected = "id<TAB>log_prob<TAB>units" if named else "`name value`"
            raise UserError(f"{path}:{number} should be {expected}, found {line[:80]!r}") from error
        if math.isnan(value) or units <= 0:
            raise UserError(f"{path}:{number}: {name!r} has log-probability {value} over {cells[2:3]} units")
        if name in values:
            repeated[name] = number
        values[name] = value / units
    if repeated:
        first = next(iter(repeated.values()))
        raise UserError(f"{path}:{first} scores an id again, one of {len(repeated)}: {listed(repeated)}")
    if not values:
        raise UserError(f"{path} holds no scores")
    return LogProbs(values, "mean log-probability per unit" if per_unit else "sum of log-probabilities")


def read_conventions(path: Path) -> list[LogProbs]:
    """The scores of a file as sums, and as means as well where it says how many units there are."""
    summed = read_scores(path)
    return [summed, read_scores(path, per_unit=True)] if _is_named(_lines(path)) else [summed]


def _lines(path: Path) -> list[str]:
    try:
        return require(path, "scores").read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error


def _is_named(lines: list[str]) -> bool:
    return bool(lines) and lines[0].split("\t")[: len(HEADER)] == HEADER
