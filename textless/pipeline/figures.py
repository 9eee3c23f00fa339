"""Pictures of the report, as PNG bytes (extra `plots`)."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from textless.audio.io import SAMPLE_RATE
from textless.corpora.alignment import SILENCE, Segment
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from units.files import Units
from units.runs import expand

DPI = 110
INK, MUTED, ACCENT, SECOND, THIRD = "#1c2430", "#8a94a3", "#2563a8", "#c2570c", "#4b7f52"


def _pyplot() -> Any:  # noqa: ANN401
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UserError("the report needs matplotlib: pip install 'textless[plots]'") from error
    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: ICN001 - its name says what it is

    pyplot.rcParams.update(
        {
            "font.size": 9,
            "axes.edgecolor": MUTED,
            "axes.labelcolor": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
        }
    )
    return pyplot


def _png(figure: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    _pyplot().close(figure)
    return buffer.getvalue()


def _log_mel(waveform: torch.Tensor) -> np.ndarray:
    return load_encoder("logmel@100").encode([waveform])[0].numpy().T


def draw_example(
    original: torch.Tensor, resynthesis: torch.Tensor, units: Units, frame_rate: float, phones: Sequence[Segment]
) -> bytes:
    """Spectrogram of an utterance `(S,)`, its phones and units beneath, and the spectrogram of its resynthesis."""
    pyplot = _pyplot()
    rows = [3.0, 0.35, 0.5, 3.0] if phones else [3.0, 0.5, 3.0]
    figure, axes = pyplot.subplots(len(rows), 1, figsize=(9.5, 5.2), sharex=True, height_ratios=rows)
    seconds = len(original) / SAMPLE_RATE
    for axis, waveform, title in ((axes[0], original, "original"), (axes[-1], resynthesis, "resynthesis from units")):
        mel = _log_mel(waveform)
        top = np.percentile(mel, 99.5)
        extent = (0, len(waveform) / SAMPLE_RATE, 0, 80)
        axis.imshow(mel, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - 11, vmax=top)
        axis.set_ylabel("mel band")
        axis.set_title(title, loc="left", fontsize=9, color=INK)
    _draw_units(axes[-2], units, frame_rate)
    if phones:
        _draw_phones(axes[1], phones)
    axes[-1].set_xlim(0, seconds)
    axes[-1].set_xlabel("seconds")
    figure.subplots_adjust(hspace=0.28)
    return _png(figure)


def _draw_units(axis: Any, units: Units, frame_rate: float) -> None:  # noqa: ANN401
    assert units.durations is not None
    frames = expand(units.units, units.durations)[None]
    axis.imshow(frames, aspect="auto", extent=(0, frames.shape[1] / frame_rate, 0, 1), cmap="twilight")
    axis.set_yticks([])
    axis.set_ylabel("units", rotation=0, ha="right", va="center")


def _draw_phones(axis: Any, phones: Sequence[Segment]) -> None:  # noqa: ANN401
    axis.set_ylim(0, 1)
    for segment in phones:
        if segment.label != SILENCE:
            axis.text(
                (segment.start + segment.end) / 2, 0.5, segment.label, ha="center", va="center", fontsize=7, color=INK
            )
        axis.axvline(segment.start, color=MUTED, linewidth=0.5)
    axis.set_yticks([])
    axis.set_ylabel("phones", rotation=0, ha="right", va="center")


def draw_cooccurrence(phones: Sequence[str], counts: np.ndarray) -> bytes:
    """p(phone | unit): phones `(P,)` down, units `(P, K)` across, ordered by the phone each names best."""
    pyplot = _pyplot()
    used = np.flatnonzero(counts.sum(axis=0))
    conditional = counts[:, used] / counts[:, used].sum(axis=0)
    rows = np.argsort(-counts.sum(axis=1))
    conditional = conditional[rows]
    columns = np.lexsort((-conditional.max(axis=0), conditional.argmax(axis=0)))
    figure, axis = pyplot.subplots(figsize=(9.5, 0.115 * len(phones) + 1.2))
    image = axis.imshow(conditional[:, columns], aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks(range(len(phones)), [phones[row] for row in rows], fontsize=6)
    axis.set_xticks([])
    axis.set_xlabel(f"{len(used)} units, ordered by their most frequent phone")
    figure.colorbar(image, ax=axis, label="p(phone | unit)", fraction=0.025, pad=0.01)
    return _png(figure)


def draw_curves(
    ulm: Sequence[Mapping[str, Any]], vocoder: Sequence[Mapping[str, Any]], lines: Mapping[str, float]
) -> bytes:
    """Training curves of the unit LM (with the n-grams' bits a unit as lines to beat) and of the vocoder."""
    pyplot = _pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9.5, 3.0))
    _draw_curve(left, ulm, {"bits_per_token": "training", "valid_bits_per_unit": "held out"})
    for (name, value), colour, place in zip(lines.items(), (MUTED, THIRD, INK), (1.0, 0.86, 0.72), strict=False):
        left.axhline(value, color=colour, linewidth=1, linestyle="--")
        left.annotate(
            name, (place, value), xycoords=("axes fraction", "data"), fontsize=7, color=colour, va="bottom", ha="right"
        )
    left.set_ylabel("bits a unit")
    _draw_curve(right, vocoder, {"mel": "training", "valid_mel": "held out"})
    right.set_ylabel("log-mel distance (L1)")
    for axis, title in ((left, "unit LM"), (right, "vocoder")):
        axis.set_title(title, loc="left", fontsize=9, color=INK)
        axis.set_xlabel("step")
        if axis.lines:
            axis.legend(frameon=False, fontsize=7)
    return _png(figure)


def _draw_curve(axis: Any, rows: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> None:  # noqa: ANN401
    for (name, label), colour in zip(names.items(), (ACCENT, SECOND), strict=False):
        points = [(row["step"], row[name]) for row in rows if name in row]
        if points:
            axis.plot(*zip(*points, strict=True), color=colour, linewidth=1.4, label=label)
