"""Choices of units side by side: which is best by a stated criterion, and which no other beats.

| criterion | the best has |
|---|---|
| `abx` | the lowest ABX error of its units, across speakers where there are several |
| `pnmi` | the highest PNMI |
| `r-value` | the highest R-value of boundaries |
| `rank-sum` | the lowest sum of its ranks in these three and in bit rate; equal values share the mean of their ranks |

A limit on the bit rate may be set beside it, since more codes tell phones apart better. A choice is on the *frontier*
if none with as low a bit rate has a lower ABX error. The bit rate is that of deduplicated units.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from textless.errors import UserError

Criterion = Literal["rank-sum", "abx", "pnmi", "r-value"]


@dataclass(frozen=True)
class Choice:
    """One way to make units, and how they came out. ABX errors are in percent, rates in bits and units a second."""

    encoder: str
    k: int
    variant: str
    pnmi: float
    abx_within: float
    abx_across: float | None  # None: there is one speaker
    bit_rate: float  # of deduplicated units
    timed_bit_rate: float  # with their durations
    units_per_second: float
    fscore: float | None  # of boundaries; None: none was found
    r_value: float | None
    used: int  # codes that occur

    @property
    def abx(self) -> float:
        """ABX error across speakers where there are several."""
        return self.abx_within if self.abx_across is None else self.abx_across


@dataclass(frozen=True)
class Ranking:
    """Choices as they were made, the place of each (from 1; None: too many bits), and which are on the frontier."""

    choices: Sequence[Choice]
    criterion: Criterion
    max_bit_rate: float | None
    places: list[int | None]
    frontier: list[bool]

    @property
    def best(self) -> Choice:
        """The one in the first place."""
        return self.choices[self.places.index(1)]

    def rows(self) -> list[dict[str, object]]:
        """A table: every choice with all its figures, its place and whether it is on the frontier."""
        return [
            {**asdict(choice), "frontier": optimal, "place": place}
            for choice, optimal, place in zip(self.choices, self.frontier, self.places, strict=True)
        ]


def rank(choices: Sequence[Choice], criterion: Criterion, max_bit_rate: float | None = None) -> Ranking:
    """Rank choices by a criterion; ties are broken by bit rate, then by order.

    Raises:
        UserError: no choice has as low a bit rate as asked for.
    """
    allowed = [i for i, c in enumerate(choices) if max_bit_rate is None or c.bit_rate <= max_bit_rate]
    if not allowed:
        lowest = min(choice.bit_rate for choice in choices)
        raise UserError(f"no units have {max_bit_rate:g} bit/s or fewer, the lowest rate is {lowest:.1f}: allow more")
    costs = _costs([choices[i] for i in allowed], criterion)
    order = sorted(range(len(allowed)), key=lambda n: (costs[n], choices[allowed[n]].bit_rate))
    places: list[int | None] = [None] * len(choices)
    for place, n in enumerate(order, 1):
        places[allowed[n]] = place
    frontier = [not any(_beats(other, choice) for other in choices) for choice in choices]
    return Ranking(choices, criterion, max_bit_rate, places, frontier)


def _costs(choices: Sequence[Choice], criterion: Criterion) -> np.ndarray:
    measures: dict[str, Callable[[Choice], float]] = {
        "abx": lambda c: c.abx,
        "pnmi": lambda c: -c.pnmi,
        "r-value": lambda c: math.inf if c.r_value is None else -c.r_value,
        "bit-rate": lambda c: c.bit_rate,
    }
    if criterion == "rank-sum":
        return sum((_ranks([cost(c) for c in choices]) for cost in measures.values()), np.zeros(len(choices)))
    return np.array([measures[criterion](c) for c in choices])


def _ranks(costs: Sequence[float]) -> np.ndarray:
    """Ranks from 1 `(N,)`; equal costs share their mean."""
    values = np.array(costs)
    below = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    return below + (equal + 1) / 2


def _beats(one: Choice, other: Choice) -> bool:
    return (
        one.bit_rate <= other.bit_rate
        and one.abx <= other.abx
        and (one.bit_rate < other.bit_rate or one.abx < other.abx)
    )


@dataclass(frozen=True)
class FeatureScores:
    """An encoder, and the ABX errors of its features, in percent."""

    name: str
    spec: str
    sha256: str
    frame_rate: float
    dim: int
    abx_within: float
    abx_across: float | None


def tsv(ranking: Ranking) -> str:
    """All figures, a line a choice."""
    rows = ranking.rows()
    lines = ["\t".join(map(_plain, row.values())) for row in rows]
    return "\n".join(["\t".join(rows[0]), *lines, ""])


def _plain(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(int(value))
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def markdown(ranking: Ranking, encoders: Sequence[FeatureScores]) -> str:
    """A table to read: features first, then their units; * on the frontier, bold the best."""
    lines = [
        "| encoder | K | variant | PNMI | ABX within | ABX across | bit/s | units/s | F1 | R-value | place |",
        "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for encoder in encoders:
        abx = f"{_shown(encoder.abx_within, 2)} | {_shown(encoder.abx_across, 2)}"
        lines.append(f"| {encoder.name} | | *features* | | {abx} | | | | | |")
        for choice, optimal, place in zip(ranking.choices, ranking.frontier, ranking.places, strict=True):
            if choice.encoder == encoder.name:
                lines.append(_line(choice, place, optimal=optimal))
    return "\n".join(lines) + "\n"


def _line(choice: Choice, place: int | None, *, optimal: bool) -> str:
    cells = [
        choice.encoder,
        str(choice.k),
        choice.variant + ("*" if optimal else ""),
        _shown(choice.pnmi, 3),
        _shown(choice.abx_within, 2),
        _shown(choice.abx_across, 2),
        _shown(choice.bit_rate, 0),
        _shown(choice.units_per_second, 1),
        _shown(choice.fscore, 3),
        _shown(choice.r_value, 3),
        "–" if place is None else str(place),
    ]
    return "| " + " | ".join(f"**{cell}**" if place == 1 else cell for cell in cells) + " |"


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
