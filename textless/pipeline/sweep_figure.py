"""The figure of a sweep: ABX, PNMI and R-value against bit rate (extra `plots`)."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from textless.errors import UserError
from textless.pipeline.sweep_choices import Choice, FeatureScores, Ranking

DPI = 100
INK, GREY = "#1c2430", "#8a94a3"
COLOURS = ("#2563a8", "#c2570c", "#2e8b57", "#7d4e9e", "#8a6d1f", "#c03a6b")
MARKERS = {"plain": "o", "speaker": "s", "dp": "^", "speaker-dp": "D"}
LINES = {"plain": "-", "speaker": "--", "dp": ":", "speaker-dp": "-."}


def require_matplotlib() -> None:
    """Raise `UserError` where matplotlib is missing."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UserError("the figure of a sweep needs matplotlib: pip install 'textless[plots]'") from error
    mpl.use("Agg")


def draw_sweep(ranking: Ranking, encoders: Sequence[FeatureScores]) -> bytes:
    """PNG: a colour an encoder, a line a variant through its codebook sizes; the best is ringed, features are lines."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    across = all(choice.abx_across is not None for choice in ranking.choices)
    panels: list[tuple[str, Callable[[Choice], float | None]]] = [
        (f"ABX error of units {'across' if across else 'within'} speakers, %", lambda c: c.abx),
        ("PNMI", lambda c: c.pnmi),
        ("R-value of boundaries", lambda c: c.r_value),
    ]
    colours = {encoder.name: COLOURS[i % len(COLOURS)] for i, encoder in enumerate(encoders)}
    variants = list(dict.fromkeys(choice.variant for choice in ranking.choices))
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    axes = figure.subplots(1, len(panels))
    for axis, (title, value) in zip(axes, panels, strict=True):
        for encoder in encoders:
            for variant in variants:
                line = [c for c in ranking.choices if (c.encoder, c.variant) == (encoder.name, variant)]
                heights = [float("nan") if value(c) is None else value(c) for c in line]
                axis.plot([c.bit_rate for c in line], heights, color=colours[encoder.name], **_style(variant))
        best = value(ranking.best)
        if best is not None:
            axis.plot(ranking.best.bit_rate, best, "o", markersize=12, fillstyle="none", color=INK)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("bit/s of deduplicated units")
        axis.spines[["top", "right"]].set_visible(False)
    for encoder in encoders:
        features = encoder.abx_across if across else encoder.abx_within
        if features is not None:
            axes[0].axhline(features, color=colours[encoder.name], linewidth=0.8)
    handles = [Line2D([], [], color=colours[e.name], label=e.name) for e in encoders]
    grey = [Line2D([], [], color=GREY, label=v, **_style(v)) for v in variants]
    thin = Line2D([], [], color=GREY, linewidth=0.8, label="ABX of features")
    figure.legend(handles=[*handles, *grey, thin], loc="outside lower center", ncols=8, frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def _style(variant: str) -> dict[str, Any]:
    return {"marker": MARKERS[variant], "linestyle": LINES[variant], "markersize": 4, "linewidth": 1}
