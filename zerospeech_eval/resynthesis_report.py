"""What `textless eval resynthesis` shows: a table, a line for every recording, pictures (extra `plots`)."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import typer

from textless.errors import UserError
from textless.files import atomic_write
from zerospeech_eval.report import number
from zerospeech_eval.resynthesis_result import Resynthesis

DPI = 130
INK, ACCENT = "#8a94a3", "#2563a8"


def print_table(result: Resynthesis) -> None:
    """Print the figures of the corpus, those of the originals beside them where there are any."""
    typer.echo(f"{len(result.acoustics)} recordings, {result.seconds / 60:.1f} min")
    typer.echo(f"{'':44}{'resynthesis':>16}{'original':>12}")
    for name, ours, original in _rows(result):
        typer.echo(f"{name:44}{ours:>16}{original:>12}".rstrip())
    for note in result.notes:
        typer.echo(f"- {note}")
    if result.skipped:
        first = result.skipped[0]
        typer.echo(f"- {len(result.skipped)} recordings skipped, first {first.path}: {first.reason}")


def _rows(result: Resynthesis) -> Iterator[tuple[str, str, str]]:
    for name, in_place in (("warped", False), ("frame by frame", True)):
        mean, error, n = result.mcd(in_place=in_place)
        title = f"mel-cepstral distortion, {name}, dB" + (f" ({n})" if n < len(result.acoustics) else "")
        yield title, number(mean) + ("" if error is None else f" ± {error:.2f}"), ""
    f0 = result.f0
    yield "F0 RMSE, Hz", number(f0.rmse_hertz, 1), ""
    yield "F0 RMSE, cents", number(f0.rmse_cents, 0), ""
    for title, rate in (
        ("within a semitone, % of co-voiced frames", f0.semitone_share),
        ("gross pitch error (GPE), %", f0.gpe),
        ("voicing decision error (VDE), %", f0.vde),
        ("F0 frame error (FFE), %", f0.ffe),
    ):
        yield title, _percent(rate), ""
    if result.content is not None:
        ours, original = result.content.resynthesis, result.content.original
        against = " against the originals'" if original is None else ""
        title = f"{ours.token} error rate{against}, %"
        yield title, _percent(ours.rate), "" if original is None else _percent(original.rate)
    yield from _speaker_rows(result)
    for name, title in (("stoi", "SQUIM STOI"), ("pesq", "SQUIM PESQ"), ("si_sdr", "SQUIM SI-SDR, dB")):
        if result.quality:
            before, after = result.mean_quality(name)
            yield title, number(after), number(before)
    if result.bit_rate is not None:
        yield "bit rate of the units, bit/s", number(result.bit_rate.value, 1), ""


def _speaker_rows(result: Resynthesis) -> Iterator[tuple[str, str, str]]:
    found = result.speakers
    if found is None:
        return
    yield "speaker cosine to the original", number(found.mean("to_original"), 3), ""
    yield "speaker cosine to the source's voice", number(found.mean("to_source"), 3), ""
    if found.nearer_to_target is not None:
        yield "speaker cosine to the target's voice", number(found.mean("to_target"), 3), ""
        yield "nearer to the target than to the source, %", _percent(found.nearer_to_target), ""
    yield "speaker equal error rate, %", _percent(found.resynthesis.eer), _percent(found.original.eer)


def _percent(rate: float | None) -> str:
    return number(None if rate is None else 100 * rate)


def write_details(path: Path, result: Resynthesis) -> None:
    """Write a tab-separated line for every recording; what is undefined is empty."""
    rows = list(_details(result))
    with atomic_write(path) as file:
        file.write("\t".join(rows[0]) + "\n")
        for row in rows:
            file.write("\t".join("" if value is None else str(value) for value in row.values()) + "\n")


def _details(result: Resynthesis) -> Iterator[dict[str, Any]]:
    heard = {u.id: u for u in result.content.resynthesis.utterances} if result.content is not None else {}
    for name, found in result.acoustics.items():
        f0 = found.f0
        row: dict[str, Any] = {
            "id": name,
            "seconds": found.seconds,
            "mcd_warped_db": found.mcd,
            "mcd_in_place_db": found.mcd_in_place,
            "f0_rmse_hertz": f0.rmse_hertz,
            "f0_rmse_cents": f0.rmse_cents,
            "gpe": f0.gpe,
            "vde": f0.vde,
            "ffe": f0.ffe,
            "semitone_share": f0.semitone_share,
        }
        if result.content is not None:
            tokens = heard.get(name)
            row[f"{result.content.resynthesis.token}s"] = len(tokens.reference) if tokens else None
            row["edits"] = tokens.edits if tokens else None
        if result.speakers is not None:
            cosines = result.speakers.similarities.get(name)
            for key in ("to_original", "to_source", "to_target"):
                row[f"cosine_{key}"] = getattr(cosines, key, None)
        if result.quality:
            row |= {f"squim_{key}": value for key, value in vars(result.quality[name][1]).items()}
        yield row


def write_plot(path: Path, result: Resynthesis) -> None:
    """Write a PNG: distortion, pitch, and where there are any, error rates and voices, over recordings.

    Raises:
        UserError: the extension is another, or matplotlib is missing.
    """
    if path.suffix != ".png":
        raise UserError(f"a plot is a .png, not {path}")
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise UserError("a plot needs matplotlib: pip install 'textless[plots]'") from error
    mpl.use("Agg")
    from matplotlib.figure import Figure

    panels = [
        ("mel-cepstral distortion, warped, dB", [a.mcd for a in result.acoustics.values()]),
        ("F0 frame error, %", [100 * a.f0.ffe for a in result.acoustics.values() if a.f0.ffe is not None]),
    ]
    if result.content is not None:
        errors = result.content.resynthesis
        rates = [100 * u.edits / len(u.reference) for u in errors.utterances]
        panels.append((f"{errors.token} error rate, %", rates))
    converted = result.speakers is not None and result.speakers.nearer_to_target is not None
    if result.speakers is not None and not converted:
        cosines = [s.to_original for s in result.speakers.similarities.values()]
        panels.append(("speaker cosine to the original", cosines))
    columns = len(panels) + converted
    figure = Figure(figsize=(3.1 * columns, 2.8))
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis, (title, values) in zip(axes, panels, strict=False):
        axis.hist(values, bins=min(30, max(5, len(values) // 4)), color=ACCENT)
        axis.axvline(float(np.mean(values)) if values else 0.0, color="black", linewidth=1)
        axis.set_xlabel(title, fontsize=8)
        axis.set_ylabel("recordings", fontsize=8)
    if converted:
        assert result.speakers is not None
        shown = [s for s in result.speakers.similarities.values() if s.to_target is not None]
        axes[-1].scatter([s.to_source for s in shown], [s.to_target for s in shown], s=9, color=ACCENT)
        axes[-1].plot([-1, 1], [-1, 1], color=INK, linewidth=1)
        axes[-1].set(xlim=(-0.5, 1), ylim=(-0.5, 1))
        axes[-1].set_xlabel("speaker cosine to the source", fontsize=8)
        axes[-1].set_ylabel("to the target", fontsize=8)
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight")
    with atomic_write(path, "wb") as file:
        file.write(buffer.getvalue())
