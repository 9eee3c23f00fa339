"""Log-probabilities of recordings under a language model, found by the file names of a gold list."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from textless.errors import UserError
from textless.files import require

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
        UserError: naming the line that is malformed or repeats an id, or `per_unit` where there are no units.
    """
    try:
        lines = require(path, "scores").read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    named = bool(lines) and lines[0].split("\t")[: len(HEADER)] == HEADER
    if per_unit and not named:
        raise UserError(f"--per-unit needs the column units, which {path} has not; score with `textless ulm score`")
    values: dict[str, float] = {}
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
            raise UserError(f"{path}:{number}: {name!r} is there twice")
        values[name] = value / units
    if not values:
        raise UserError(f"{path} holds no scores")
    return LogProbs(values, "mean log-probability per unit" if per_unit else "sum of log-probabilities")


def find_scores(scores: Mapping[str, float], filenames: list[str]) -> list[float | None]:
    """Score of every file name, None where there is none.

    A name is an id; a bare one, without folders, may also be the last part of an id that has them.

    Raises:
        UserError: a bare name fits several ids.
    """
    by_stem: dict[str, list[str]] = {}
    for name in scores:
        by_stem.setdefault(PurePosixPath(name).name, []).append(name)
    found: list[float | None] = []
    for filename in filenames:
        candidates = [filename] if filename in scores else [] if "/" in filename else by_stem.get(filename, [])
        if len(candidates) > 1:
            raise UserError(
                f"{filename!r} of the gold list fits several scored ids: {candidates[0]!r}, {candidates[1]!r}"
            )
        found.append(scores[candidates[0]] if candidates else None)
    return found
