"""What `vocoder_quality.py` found, as a table, a picture and a page with sounds."""

import base64
import html
import io as bytes_io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import torch
from matplotlib import pyplot as plt

from textless.audio import io
from textless.audio.manifest import read_manifest
from textless.audio.player import player
from textless.files import atomic_write

HEADINGS = (
    "",
    "PER",
    "× original's",
    "MCD dB",
    "F0 cents",
    "in a semitone",
    "GPE",
    "VDE",
    "FFE",
    "cosine",
    "nearer to target",
    "bit/s",
)
Results = Mapping[str, Mapping[str, Any]]


def rows(results: Results) -> list[tuple[str, ...]]:
    """A line for every arm, the originals' phone error rate first."""
    found = []
    for label, answer in results.items():
        if "reader" in answer:
            original = next((rate for other in results.values() if (rate := _original(other)) is not None), None)
            rate = 100 * float(answer["reader"])
            beside = "" if original is None else f"{rate / original:.2f}"
            found.append((label, f"{rate:.1f}", beside, *[""] * (len(HEADINGS) - 3)))
        else:
            found.append((label, *_cells(answer)))
    return found


def _original(answer: Mapping[str, Any]) -> float | None:
    if "content" not in answer:
        return None
    return float(answer["content"]["original"]["phone_error_rate_percent"])


def _cells(answer: Mapping[str, Any]) -> tuple[str, ...]:
    rate = float(answer["content"]["resynthesis"]["phone_error_rate_percent"])
    original, f0 = _original(answer), answer["f0"]
    speakers, bits = answer.get("speakers", {}), answer.get("bit_rate", {})
    to = speakers.get("cosine_to_target") or speakers.get("cosine_to_original")
    nearer = speakers.get("nearer_to_target")
    return (
        f"{rate:.1f}",
        f"{rate / original:.2f}" if original else "",
        f"{answer['mcd_warped']['db']:.2f}",
        _number(f0["rmse_cents"], "{:.0f}"),
        *(_number(f0[name], "{:.1%}") for name in ("semitone_share", "gpe", "vde", "ffe")),
        _number(to, "{:.2f}"),
        _number(nearer, "{:.1%}"),
        _number(bits.get("bits_per_second"), "{:.0f}"),
    )


def _number(value: float | None, shape: str) -> str:
    return "" if value is None else shape.format(value)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """The table for a results file."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *table]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def line(row: Sequence[str]) -> str:
    """One row as one line."""
    return row[0] + ": " + ", ".join(f"{name} {cell}" for name, cell in zip(HEADINGS[1:], row[1:], strict=True) if cell)


def has_minutes(results: Results) -> bool:
    """Whether there is anything to plot."""
    return any(answer.get("minutes") for answer in results.values())


def plot(results: Results) -> bytes:
    """Phone error rate against minutes of training, as a PNG; lines are of originals and of readers of the units."""
    figure, axes = plt.subplots(figsize=(6.5, 3.6))
    axes.spines[["top", "right"]].set_visible(False)
    arms: dict[str, list[tuple[float, float]]] = {}
    for answer in results.values():
        if answer.get("minutes"):
            rate = float(answer["content"]["resynthesis"]["phone_error_rate_percent"])
            arms.setdefault(answer["arm"], []).append((answer["minutes"], rate))
    for name, points in arms.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
    lines: dict[str, list[str]] = {}
    for label, answer in results.items():
        if "reader" in answer:
            lines.setdefault(f"{100 * answer['reader']:.1f}", []).append(label.removesuffix(", read directly"))
    original = next((rate for answer in results.values() if (rate := _original(answer)) is not None), None)
    if original is not None:
        lines.setdefault(f"{original:.1f}", []).append("originals")
    for rate, names in lines.items():
        axes.axhline(float(rate), linestyle=":", linewidth=1, color="#8a94a3")
        beside = {"xycoords": axes.get_yaxis_transform(), "va": "center", "fontsize": 7, "color": "#667080"}
        axes.annotate(", ".join(names).replace(", units ", ", "), (1.01, float(rate)), annotation_clip=False, **beside)
    minutes = sorted({at for points in arms.values() for at, _ in points})
    axes.set_xscale("log")
    axes.set_xticks(minutes, [f"{at:g}" for at in minutes])
    axes.minorticks_off()
    axes.set_xlabel("minutes of training, two cores")
    axes.set_ylabel("phone error rate, %")
    if arms:
        axes.legend(frameon=False, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    buffer = bytes_io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()


def write(out: Path, results: Results, commands: Sequence[str], examples: int) -> None:
    """Write `out/report.html`: table, picture, the first recordings in every arm as sound and spectrogram, commands."""
    table = rows(results)
    head = "".join(f"<th>{name}</th>" for name in HEADINGS)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in table)
    picture = base64.b64encode(plot(results)).decode() if has_minutes(results) else ""
    manifest = read_manifest(out / "test.tsv")
    folders = sorted({path.parent for path in out.glob("*/**/synthesis.json")} | {out / "copy" / "spoken"})
    sounds = []
    for utterance in manifest.utterances[:examples]:
        places = [("original", manifest.audio_path(utterance))]
        places += [(str(folder.relative_to(out)), folder / f"{utterance.id}.wav") for folder in folders]
        players = "".join(_player(name, path) for name, path in places if path.exists())
        sounds.append(f"<h2>{html.escape(utterance.id)}</h2><div>{players}</div>")
    listed = html.escape("\n".join(commands))
    with atomic_write(out / "report.html") as file:
        file.write(
            PAGE.format(
                head=head,
                body=body,
                picture=picture and IMAGE.format(picture=picture),
                sounds="".join(sounds),
                n_commands=len(commands),
                listed=listed,
            )
        )


def _player(name: str, path: Path) -> str:
    waveform = io.load(path)
    picture = base64.b64encode(spectrogram(waveform)).decode()
    return (
        f'<figure><figcaption>{html.escape(name)}</figcaption><img alt="" src="data:image/jpeg;base64,{picture}"><br>'
        f"{player(waveform)}</figure>"
    )


def spectrogram(waveform: torch.Tensor) -> bytes:
    """JPEG of a waveform `(S,)`: windows of 32 ms, 100 columns a second, 0 to 8 kHz, the loudest 70 dB."""
    spectrum = torch.stft(waveform, 512, 160, window=torch.hann_window(512), return_complex=True).abs()
    decibels = 20 * spectrum.clamp(min=1e-5).log10()
    top = float(decibels.max())
    buffer = bytes_io.BytesIO()
    plt.imsave(buffer, decibels.numpy(), origin="lower", vmin=top - 70, vmax=top, cmap="magma", format="jpg")
    return buffer.getvalue()


IMAGE = '<img alt="phone error rate against minutes of training" src="data:image/png;base64,{picture}">'
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Resynthesis</title>
<style>body {{ max-width: 70rem; margin: auto; padding: 1rem; font: 15px/1.5 system-ui, sans-serif }}
td, th {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #dde2e8 }}
figure {{ display: inline-block; margin: .3rem 1rem }} figcaption {{ font-size: .8rem }} pre {{ overflow-x: auto }}
</style></head><body><h1>Resynthesis from units</h1>
<table><tr>{head}</tr>{body}</table>
{picture}
{sounds}
<details><summary>{n_commands} commands</summary><pre>{listed}</pre></details></body></html>
"""
