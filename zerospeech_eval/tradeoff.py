"""Fluency against diversity over a temperature sweep (Lakhotia et al. 2021): one curve, two points of it, one area.

Colder sampling gives likelier texts (low PPX) that repeat more (high VERT). The points (VERT, PPX) of a sweep, in the
order of temperature, are joined by straight lines in log VERT and log PPX. With the oracle's VERT and PPX, those of
reference texts,

    PPX@oracle-VERT     PPX where the curve has the oracle's VERT
    VERT@oracle-PPX     VERT where the curve has the oracle's PPX
    AUC                 ∫ PPX dVERT along the curve from the first point to the second, VERT in percent

and all are better if lower; the area is negative where the sweep beats its oracle. Of several crossings the coldest
counts. Nothing is extrapolated: what the sweep does not reach is undefined. The program that computed the published
areas was a notebook that is not kept; interpolation on log axes and the area's units are choices made here.

Intervals are percentile bootstraps: prompts (continuations where there is one prompt) are drawn with replacement, the
same at every temperature; the oracle is kept as it is.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from zerospeech_eval.generation import Average, SetScores

PROMPT = re.compile(r"(.+)__\d+")  # ids of `textless ulm generate`: the prompt, and the number of the sample


@dataclass(frozen=True)
class Oracle:
    """PPX and VERT (0 to 1) of reference texts."""

    ppx: float
    vert: float


@dataclass(frozen=True)
class Tradeoff:
    """Numbers of a curve, None where the sweep does not reach: VERT from 0 to 1, the area with VERT in percent."""

    ppx_at_oracle_vert: float | None
    vert_at_oracle_ppx: float | None
    area: float | None


def measure(vert: np.ndarray, ppx: np.ndarray, oracle: Oracle) -> Tradeoff:
    """Numbers of the curve through the points of a sweep `(temperatures,)`, coldest first.

    A point whose VERT is 0 has no place on a log axis, and is left out.
    """
    x, y = np.log(vert[vert > 0]), np.log(ppx[vert > 0])
    at_vert = _crossing(x, math.log(oracle.vert)) if oracle.vert > 0 else None
    at_ppx = _crossing(y, math.log(oracle.ppx))
    return Tradeoff(
        None if at_vert is None else math.exp(_at(y, at_vert)),
        None if at_ppx is None else math.exp(_at(x, at_ppx)),
        None if at_vert is None or at_ppx is None else 100 * _area(x, y, at_vert, at_ppx),
    )


def _crossing(values: np.ndarray, level: float) -> float | None:
    """Where a polyline first has a level: vertex number and fraction; None if nowhere."""
    for index, value in enumerate(values):
        if value == level:
            return float(index)
        if index + 1 < len(values) and (value - level) * (values[index + 1] - level) < 0:
            return index + float((level - value) / (values[index + 1] - value))
    return None


def _at(values: np.ndarray, place: float) -> float:
    return float(np.interp(place, np.arange(len(values)), values))


def _area(x: np.ndarray, y: np.ndarray, start: float, end: float) -> float:
    """∫ e^y d(e^x) along the polyline from one place to another, exact: y is linear in x between vertices."""
    low, high = sorted((start, end))
    places = [low, *range(math.floor(low) + 1, math.ceil(high)), high]
    total = 0.0
    for one, other in pairwise(places):
        dx, dy = _at(x, other) - _at(x, one), _at(y, other) - _at(y, one)
        # ∫_0^1 e^{y + s dy} e^{x + s dx} dx ds = dx e^{x + y} (e^{dx + dy} - 1) / (dx + dy)
        growth = math.expm1(dx + dy) / (dx + dy) if dx + dy else 1.0
        total += dx * math.exp(_at(x, one) + _at(y, one)) * growth
    return total if start <= end else -total


def reach(vert: np.ndarray, ppx: np.ndarray, oracle: Oracle) -> list[str]:
    """What is left out of the curve or keeps its numbers undefined, and what to do."""
    notes = []
    drawn = vert > 0
    if not drawn.all():
        notes.append(f"{(~drawn).sum()} of the sets repeat nothing: a VERT of 0 has no place on a log axis, left out")
    vert, ppx = vert[drawn], ppx[drawn]
    if len(vert) < 2:
        return [*notes, "a curve wants continuations at several temperatures"]
    for name, values, level, colder in (
        ("VERT", vert, oracle.vert, oracle.vert > vert.max()),
        ("PPX", ppx, oracle.ppx, oracle.ppx < ppx.min()),
    ):
        if not values.min() <= level <= values.max():
            shown = "{:.2%}" if name == "VERT" else "{:.2f}"
            low, high, found = (shown.format(value) for value in (values.min(), values.max(), level))
            notes.append(
                f"the sweep's {name} lies from {low} to {high}, the oracle's is {found}, which is not extrapolated to: "
                f"sample at {'lower' if colder else 'higher'} temperatures too"
            )
    return notes


@dataclass(frozen=True)
class Resamples:
    """Measures of every resample: sweeps `(temperatures, R)`, and the numbers of their curves."""

    over: str
    vert: np.ndarray
    ppx: np.ndarray
    tradeoffs: Sequence[Tradeoff]

    def interval(self, name: str) -> dict[str, Any] | None:
        """95 % interval of one of the numbers, over the resamples in which it is defined; None if hardly any is."""
        values = [value for tradeoff in self.tradeoffs if (value := getattr(tradeoff, name)) is not None]
        if 2 * len(values) < len(self.tradeoffs) or not values:
            return None
        low, high = np.percentile(values, [2.5, 97.5])
        return {"low": float(low), "high": float(high), "resamples": len(values), "over": self.over}


def resample(
    sets: Sequence[SetScores], average: Average, oracle: Oracle | None, n_resamples: int, seed: int
) -> Resamples:
    """Bootstrap a sweep, see the module.

    Args:
        sets: one a temperature, coldest first.
        average: of perplexity.
        oracle: without one, there are no numbers of curves.
        n_resamples: R.
        seed: of the draws.
    """
    found = [[PROMPT.fullmatch(name) for name in scores.names] for scores in sets]
    prompts = {match[1] if match else None for row in found for match in row}
    by_prompt = len(prompts) > 1 and None not in prompts
    groups = [[match[1] for match in row if match] for row in found] if by_prompt else [s.names for s in sets]
    number = {name: index for index, name in enumerate(sorted({name for group in groups for name in group}))}
    generator = np.random.default_rng(seed)
    share = np.full(len(number), 1 / len(number))
    drawn = generator.multinomial(len(number), share, size=n_resamples).astype(np.float64)  # (R, groups)
    vert, ppx = np.empty((len(sets), n_resamples)), np.empty((len(sets), n_resamples))
    with np.errstate(invalid="ignore"):  # a set of which nothing is drawn is NaN
        for row, (scores, group) in enumerate(zip(sets, groups, strict=True)):
            weights = drawn[:, [number[name] for name in group]]  # (R, T)
            vert[row], ppx[row] = scores.vert(weights), scores.perplexity(average, weights)
    whole = np.isfinite(vert).all(axis=0) & np.isfinite(ppx).all(axis=0)
    pairs = zip(vert[:, whole].T, ppx[:, whole].T, strict=True)
    tradeoffs = [] if oracle is None else [measure(v, p, oracle) for v, p in pairs]
    return Resamples("prompts" if by_prompt else "continuations", vert, ppx, tradeoffs)


def summary(tradeoff: Tradeoff, resamples: Resamples, notes: Sequence[str]) -> Mapping[str, Any]:
    """The numbers with their intervals; VERT in percent."""
    vert, vert_interval = tradeoff.vert_at_oracle_ppx, resamples.interval("vert_at_oracle_ppx")
    if vert_interval is not None:
        vert_interval |= {"low": 100 * vert_interval["low"], "high": 100 * vert_interval["high"]}
    return {
        "ppx_at_oracle_vert": tradeoff.ppx_at_oracle_vert,
        "ppx_at_oracle_vert_interval_95": resamples.interval("ppx_at_oracle_vert"),
        "vert_at_oracle_ppx_percent": None if vert is None else 100 * vert,
        "vert_at_oracle_ppx_percent_interval_95": vert_interval,
        "area_under_curve": tradeoff.area,
        "area_under_curve_interval_95": resamples.interval("area"),
        "notes": list(notes),
    }
