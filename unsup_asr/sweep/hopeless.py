"""When a run of a sweep is given up, by what needs no label.

A run that has come to `judged_after` steps is hopeless

1. *collapsed*: if in its last three validations most phones were not used (usage below one half), or transcripts were
   of a length that no text has (a third or less of text's, or three times and more);
2. *behind*: if its best weighted perplexity so far is more than twice the best that any other run had at the same step,
   and its divergence of 4-grams has always been above 0.9 (runs that succeed come to 0.25-0.3, those that fail stay at
   0.7-0.95). A late starter among slow starters is not behind.

`keep` runs are never given up: where fewer are left, no rule holds. What a run reached before counts in the end all the
same, since its best checkpoint is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LASTING = 3  # validations
FACTOR = 2.0  # of weighted perplexity
FAR = 0.9  # bits, of 4-grams

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Patience:
    """How long runs are left alone.

    Attributes:
        judged_after: steps.
        keep: runs that go on whatever becomes of them.
    """

    judged_after: int
    keep: int = 2


def hopeless(runs: Mapping[str, Rows], alive: Sequence[str], patience: Patience) -> dict[str, str]:
    """Names of runs to give up and why, of those that are alive, the worst first; never more than leave `keep`.

    Args:
        runs: rows of `metrics.jsonl` of all runs that there have been, finished ones too.
        alive: names of those that run or will run.
        patience: see there.
    """
    validations = {name: [row for row in rows if "weighted_perplexity" in row] for name, rows in runs.items()}
    found = {name: reason for name in alive if (reason := _reason(name, validations, patience))}
    worst_first = sorted(found, key=lambda name: -_best(validations[name], None))
    return {name: found[name] for name in worst_first[: max(0, len(alive) - patience.keep)]}


def _reason(name: str, validations: Mapping[str, Rows], patience: Patience) -> str | None:
    rows = validations.get(name, [])
    if not rows or rows[-1]["step"] < patience.judged_after:
        return None
    last = rows[-LASTING:]
    if len(last) == LASTING and all(_is_collapsed(row) for row in last):
        usage, length = last[-1]["usage"], last[-1]["tokens_per_sentence"]
        return f"collapsed: {usage:.0%} of the phones used, transcripts {length:.2f} times as long as text"
    step = rows[-1]["step"]
    own, others = _best(rows, step), [_best(other, step) for key, other in validations.items() if key != name]
    nearest = min(row["divergence_4"] for row in rows)
    if others and own > FACTOR * min(others) and nearest > FAR:
        return f"behind: weighted perplexity {own:.1f} at best, where another run had {min(others):.1f}"
    return None


def _is_collapsed(row: Mapping[str, Any]) -> bool:
    return row["usage"] < 0.5 or not 1 / 3 < row["tokens_per_sentence"] < 3


def _best(rows: Rows, step: int | None) -> float:
    """The lowest weighted perplexity up to a step."""
    return min(
        (row["weighted_perplexity"] for row in rows if step is None or row["step"] <= step), default=float("inf")
    )
