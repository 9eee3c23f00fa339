"""One page of a sweep: a table of the runs and their curves, in one HTML file without anything beside it."""

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textless.files import atomic_write

CURVES = {
    "weighted_perplexity": "weighted perplexity",
    "divergence_4": "divergence of 4-grams, bits",
    "usage": "share of phones used",
    "tokens_per_sentence": "length, over that of text",
    "fooled": "generator's loss: not fooled",
    "generated": "discriminator's loss: speech",
    "text": "discriminator's loss: text",
    "penalty": "gradient penalty",
    "smoothness": "smoothness",
    "diversity": "diversity",
    "auxiliary": "auxiliary loss",
    "matching_loss": "loss of matching",
}
LOGARITHMIC = frozenset({"weighted_perplexity", "penalty"})
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 430, 220, 46, 24, 24, 20
SMOOTHED = 60  # points of a curve at most
COLOURS = ("#4363d8", "#e6194b", "#3cb44b", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#e377c2", "#444444")
DASHES = ("", "6 3", "2 3", "8 3 2 3")
STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; max-width: 1380px }
h1 { font-size: 20px } table { border-collapse: collapse; margin: 1em 0 }
td, th { padding: 2px 12px 2px 0; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
td:nth-child(-n+2), th:nth-child(-n+2), td:last-child, th:last-child { text-align: left }
td:nth-child(-n+3) { white-space: nowrap }
tr.best { background: #eef4ff; font-weight: 600 } .plots { display: flex; flex-wrap: wrap; gap: 14px }
svg text { font: 11px system-ui, sans-serif; fill: #444 } svg .title { font-size: 13px; fill: #222 }
"""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(v) if self.logarithmic else v for v in (self.low, self.high, value))
        return self.start + (value - low) / ((high - low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Some round numbers between the ends."""
        if self.logarithmic:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            found = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        else:
            raw = (self.high - self.low) / 4 or 1.0
            unit = 10.0 ** math.floor(math.log10(raw))
            step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
            found = [step * i for i in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [value for value in found if self.low <= value <= self.high]


def write_page(
    path: Path, title: str, runs: Mapping[str, Sequence[Row]], notes: Mapping[str, str], chosen: str | None
) -> None:
    """Write the page.

    Args:
        path: of the HTML file.
        title: what was swept.
        runs: rows of `metrics.jsonl` by name.
        notes: how every run stands.
        chosen: name of the run that was selected.
    """
    lines = {name: _line(index) for index, name in enumerate(runs)}
    plots = "\n".join(_plot(key, label, runs, lines) for key, label in CURVES.items() if _has(runs, key))
    head = f"<h1>Sweep of {html.escape(title)}</h1>\n{_table(runs, notes, lines, chosen)}"
    with atomic_write(path) as file:
        file.write(f"<!doctype html><meta charset='utf-8'><title>Sweep</title><style>{STYLE}</style>\n{head}\n")
        file.write(f"<div class='plots'>{plots}</div>\n")


def _table(
    runs: Mapping[str, Sequence[Row]], notes: Mapping[str, str], lines: Mapping[str, str], chosen: str | None
) -> str:
    names = ("weighted_perplexity", "divergence_4", "usage", "tokens_per_sentence")
    head = "".join(f"<th>{CURVES[name]}</th>" for name in names)
    rows = []
    for name, logged in runs.items():
        judged = [row for row in logged if "weighted_perplexity" in row]
        best = min(judged, key=lambda row: row["weighted_perplexity"], default=None)
        cells = "".join(f"<td>{best[key]:.3g}</td>" if best else "<td></td>" for key in names)
        reached = f"{best['step']} of {logged[-1]['step']}" if best else ""
        swatch = f"<svg width='34' height='10'><path d='M0 5H34' {lines[name]}/></svg>"
        mark = " class='best'" if name == chosen else ""
        rows.append(
            f"<tr{mark}><td>{swatch}</td><td>{html.escape(name)}</td><td>{reached}</td>{cells}"
            f"<td>{html.escape(notes[name])}</td></tr>"
        )
    return f"<table><tr><th></th><th>run</th><th>best step</th>{head}<th>state</th></tr>{''.join(rows)}</table>"


def _plot(key: str, label: str, runs: Mapping[str, Sequence[Row]], lines: Mapping[str, str]) -> str:
    curves = {name: list(_points(rows, key)) for name, rows in runs.items()}
    points = [point for curve in curves.values() for point in curve]
    values = [y for _, y in points]
    logarithmic = key in LOGARITHMIC and min(values) > 0
    x = Axis(0, max(step for step, _ in points), LEFT, WIDTH - RIGHT)
    y = Axis(min(values), max(values), HEIGHT - BOTTOM, TOP, logarithmic)
    drawn = [f"<text class='title' x='{LEFT}' y='14'>{html.escape(label)}</text>"]
    for tick in y.ticks():
        drawn.append(f"<path d='M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}' stroke='#e4e4e4'/>")
        drawn.append(f"<text x='{LEFT - 5}' y='{y(tick) + 4:.1f}' text-anchor='end'>{tick:g}</text>")
    drawn += [f"<text x='{x(tick):.1f}' y='{HEIGHT - 8}' text-anchor='middle'>{tick:g}</text>" for tick in x.ticks()]
    for name, curve in curves.items():
        path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in curve)
        drawn.append(f"<polyline points='{path}' {lines[name]}><title>{html.escape(name)}</title></polyline>")
    return f"<svg width='{WIDTH}' height='{HEIGHT}'>{''.join(drawn)}</svg>"


def _points(rows: Sequence[Row], key: str) -> Iterator[tuple[float, float]]:
    """Steps and values, means of neighbours where there are many."""
    found = [(row["step"], row[key]) for row in rows if key in row and math.isfinite(row[key])]
    size = -(-len(found) // SMOOTHED) or 1
    for first in range(0, len(found), size):
        group = found[first : first + size]
        yield group[-1][0], sum(value for _, value in group) / len(group)


def _has(runs: Mapping[str, Sequence[Row]], key: str) -> bool:
    return any(True for rows in runs.values() for _ in _points(rows, key))


def _line(index: int) -> str:
    colour = COLOURS[index % len(COLOURS)]
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    return f"fill='none' stroke='{colour}' stroke-width='1.6' stroke-dasharray='{dash}'"
