"""Picture of a temperature sweep: perplexity against VERT, with the oracle and the area (extra `plots`)."""

import io
from pathlib import Path

import numpy as np

from textless.errors import UserError
from textless.files import atomic_write
from zerospeech_eval.generation_sweep import SweepResult

DPI = 130


def write_plot(path: Path, result: SweepResult) -> None:
    """Write a PNG.

    Raises:
        UserError: the extension is another, matplotlib is missing, or there is no VERT to draw.
    """
    if path.suffix != ".png":
        raise UserError(f"a plot is a .png, not {path}")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UserError("a plot needs matplotlib: pip install 'textless[plots]'") from error
    if result.resamples is None:
        raise UserError("a plot of PPX against VERT wants more than one continuation a set")
    mpl.use("Agg")
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    average = result.settings.average
    vert = np.array([100 * float(found.scores.vert()) for found in result.sets])
    ppx = np.array([float(found.scores.perplexity(average)) for found in result.sets])
    figure = Figure(figsize=(5.6, 4.2))
    axis = figure.add_subplot(xscale="log", yscale="log")
    axis.plot(vert, ppx, "o-", color="#2563a8", markersize=4, linewidth=1.4)
    for x, y, found in zip(vert, ppx, result.sets, strict=True):
        if found.source.temperature is not None:
            label = f"{found.source.temperature:g}"
            axis.annotate(label, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
    if result.oracle is not None:
        axis.axvline(100 * result.oracle.vert, color="#8a94a3", linestyle="--", linewidth=1)
        axis.axhline(result.oracle.ppx, color="#8a94a3", linestyle="--", linewidth=1)
        axis.plot(100 * result.oracle.vert, result.oracle.ppx, "*", color="#c2570c", markersize=11, label="reference")
        axis.legend(frameon=False, fontsize=8)
    if result.curve is not None and result.curve.area is not None:
        axis.set_title(f"AUC {result.curve.area:.4g}", loc="left", fontsize=9)
    axis.set_xlabel(f"VERT of {result.kind}, % (more repetition to the right)", fontsize=8)
    axis.set_ylabel(f"perplexity ({average})", fontsize=8)
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter(plain)
        scale.set_minor_formatter(plain)
    axis.tick_params(labelsize=7, which="both")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    with atomic_write(path, "wb") as file:
        file.write(buffer.getvalue())
