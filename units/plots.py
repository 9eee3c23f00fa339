"""Which units stand for which phones, to look at: a heat map as PNG, or an HTML page with a table (extra `plots`)."""

import base64
import html
import io
from pathlib import Path

import numpy as np

from textless.errors import UserError
from textless.files import atomic_write
from units.phones import Cooccurrence

DPI = 110
BEST = 8  # units a phone in the table

PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px/1.5 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em}}img{{width:100%}}
table{{border-collapse:collapse}}td,th{{text-align:left;padding:.1em 1em .1em 0;border-bottom:1px solid #ddd}}</style>
<h1>{title}</h1>
<p>PNMI {pnmi:.4f}, phone purity {phone_purity:.4f}, cluster purity {cluster_purity:.4f}, over {frames} frames.</p>
<img alt="heat map of p(phone | unit)" src="data:image/png;base64,{image}">
<table><tr><th>phone</th><th>frames</th><th>units, with p(unit | phone)</th></tr>
{rows}
</table></html>
"""


def write_heat_map(path: Path, counts: Cooccurrence, title: str) -> None:
    """Write p(phone | unit), to a `.png` or an `.html`.

    Raises:
        UserError: the extension is another, or matplotlib is missing.
    """
    image = draw_heat_map(counts, title)
    match path.suffix:
        case ".png":
            with atomic_write(path, "wb") as file:
                file.write(image)
        case ".html":
            with atomic_write(path) as file:
                file.write(_page(counts, title, image))
        case _:
            raise UserError(f"a plot is a .png or an .html, not {path}")


def draw_heat_map(counts: Cooccurrence, title: str) -> bytes:
    """PNG of p(phone | unit): phones down, most frequent first; units across, by the phone that each names best."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UserError("a plot needs matplotlib: pip install 'textless[plots]'") from error
    mpl.use("Agg")
    from matplotlib.figure import Figure

    order = np.argsort(-counts.counts.sum(axis=1), kind="stable")
    used = np.flatnonzero(counts.counts.sum(axis=0))
    conditional = counts.counts[order][:, used] / counts.counts[:, used].sum(axis=0)
    columns = np.lexsort((-conditional.max(axis=0), conditional.argmax(axis=0)))
    figure = Figure(figsize=(9.5, 0.115 * len(order) + 1.4))
    axis = figure.add_subplot()
    image = axis.imshow(conditional[:, columns], aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks(range(len(order)), [counts.labels[row] for row in order], fontsize=6)
    axis.set_xticks([])
    axis.set_xlabel(f"{len(used)} units, ordered by their most frequent phone")
    axis.set_title(title, loc="left", fontsize=9)
    figure.colorbar(image, ax=axis, label="p(phone | unit)", fraction=0.025, pad=0.01)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    return buffer.getvalue()


def _page(counts: Cooccurrence, title: str, image: bytes) -> str:
    rows = []
    for index in np.argsort(-counts.counts.sum(axis=1), kind="stable"):
        frames = counts.counts[index].sum()
        best = np.argsort(-counts.counts[index], kind="stable")[:BEST]
        units = ", ".join(f"{unit} ({counts.counts[index, unit] / frames:.2f})" for unit in best)
        rows.append(f"<tr><td>{html.escape(counts.labels[index])}</td><td>{frames}</td><td>{units}</td></tr>")
    return PAGE.format(
        title=html.escape(title),
        pnmi=counts.pnmi,
        phone_purity=counts.phone_purity,
        cluster_purity=counts.cluster_purity,
        frames=int(counts.counts.sum()),
        image=base64.b64encode(image).decode(),
        rows="\n".join(rows),
    )
