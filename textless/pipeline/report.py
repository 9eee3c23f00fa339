"""The listening report: one self-contained HTML file with sounds, pictures, figures and the commands that made it."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textless.audio import io
from textless.audio.player import player
from textless.corpora.alignment import read_alignment
from textless.files import atomic_write
from textless.pipeline import figures
from textless.training.run import read_metrics
from units.encode import SpeechToUnits
from units.quantizer import load_quantizer

if TYPE_CHECKING:
    from textless.pipeline.demo import Example


@dataclass(frozen=True)
class Row:
    """One line of the table: a measure, ours, what to compare it with, chance, and the best possible."""

    measure: str
    ours: str
    others: str = ""
    chance: str = ""
    topline: str = ""


def write_report(out: Path, metrics: Mapping[str, Any], examples: Sequence["Example"], commands: Sequence[str]) -> Path:
    """Write `out/report.html` (and the table as `out/metrics.md`) and return its path."""
    rows = list(metric_rows(metrics))
    sections = [
        _section("Results", _table(rows)),
        _section("Listen", "".join(_listen(out, example) for example in examples)),
        _section("Units and phones", _units(metrics["units"])),
        _section("Training", _curves(out, metrics["lm"])),
        _section("How it was made", _commands(out, commands)),
    ]
    with atomic_write(out / "metrics.md") as file:
        file.write(markdown_table(rows))
    path = out / "report.html"
    with atomic_write(path) as file:
        file.write(PAGE.format(style=STYLE, body="\n".join(sections)))
    return path


def metric_rows(metrics: Mapping[str, Any]) -> Iterator[Row]:
    """The table of all figures, with chance and top line beside ours."""
    yield from _unit_rows(metrics["units"])
    yield from _abx_rows(metrics["abx"])
    yield from _encoder_rows(metrics.get("encoders", {}))
    yield from _lm_rows(metrics["lm"])
    yield from _speech_rows(metrics.get("per", {}))


def _unit_rows(units: Mapping[str, Any]) -> Iterator[Row]:
    if "phones" in units:
        phones = units["phones"]
        yield Row("PNMI of units", f"{phones['pnmi']:.3f}", "", "0", "1")
        yield Row(
            "phone purity / cluster purity",
            f"{phones['phone_purity']:.3f} / {phones['cluster_purity']:.3f}",
            "",
            "",
            "1",
        )
    s = units["statistics"]
    yield Row("codes used", f"{s['used']} of {s['k']}", f"perplexity {s['perplexity']:.1f}", "", str(s["k"]))
    yield Row("deduplicated units a second", f"{s['units_per_second']:.1f}", f"{s['unit_bit_rate']:.0f} bit/s")


def _abx_rows(abx: Mapping[str, Any]) -> Iterator[Row]:
    for speaker in ("within", "across"):
        error = {
            name: f"{answer['scores'][speaker]['error_rate_percent']:.2f} %"
            for name, answer in abx.items()
            if speaker in answer["scores"]
        }
        if error:
            others = f"one-hot units {error['one-hot']}, features {error['features']}"
            yield Row(f"ABX error of units, {speaker} speakers", error["codebook"], others, "50 %", "0 %")


def _encoder_rows(encoders: Mapping[str, Any]) -> Iterator[Row]:
    """HuBERT beside the encoders that need no training by gradient."""
    for speaker in ("within", "across"):
        error = {
            name: f"{answer['abx']['scores'][speaker]['error_rate_percent']:.2f} %"
            for name, answer in encoders.items()
            if speaker in answer["abx"]["scores"]
        }
        if error:
            yield Row(f"ABX error of HuBERT, {speaker} speakers", error.pop("HuBERT"), _beside(error), "50 %", "0 %")
    if encoders:
        pnmi = {name: f"{answer['phones']['pnmi']:.3f}" for name, answer in encoders.items()}
        yield Row("PNMI of 100 units of HuBERT", pnmi.pop("HuBERT"), _beside(pnmi), "0", "1")


def _beside(figures: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {figure}" for name, figure in figures.items())


def _lm_rows(lm: Mapping[str, Any]) -> Iterator[Row]:
    for split, where in (("dev", "held-out sentences"), ("test", "test set")):
        bits = {name: f"{model[split]['bits_per_unit']:.3f}" for name, model in lm.items() if split in model}
        others = ", ".join(f"{name} {value}" for name, value in bits.items() if name != "transformer")
        uniform = f"{np.log2(lm['transformer'][split]['k']):.2f}" if "k" in lm["transformer"][split] else ""
        yield Row(f"unit LM, bits a unit, {where}", bits["transformer"], others, uniform)
    for name, title in (
        ("swuggy", "word / non-word accuracy (sWUGGY-like)"),
        ("sblimp", "grammatical pairs (sBLIMP-like)"),
    ):
        if name not in lm["transformer"]:
            continue
        accuracy = {
            model: f"{answers[name]['accuracy']:.1f} ± {answers[name]['standard_error']:.1f} %"
            for model, answers in lm.items()
        }
        others = ", ".join(f"{model} {value}" for model, value in accuracy.items() if model != "transformer")
        yield Row(title, accuracy["transformer"], others, "50 %", "100 %")


def _speech_rows(per: Mapping[str, Any]) -> Iterator[Row]:
    for split, where in (("dev", "the same speakers"), ("test", "test set")):
        if split not in per:
            continue
        original, ours = (per[split][name]["phone_error_rate_percent"] for name in ("original", "resynthesis"))
        ratio = f"{ours / original:.2f} × the original's" if original else ""
        yield Row(
            f"phone error rate of resynthesis, {where}", f"{ours:.1f} %", ratio, "", f"original speech {original:.1f} %"
        )


HEADINGS = ("measure", "ours", "beside it", "chance", "top line")


def markdown_table(rows: Sequence[Row]) -> str:
    """The table for a README."""
    lines = [" | ".join(HEADINGS), " | ".join("---" for _ in HEADINGS)]
    lines += [" | ".join(vars(row).values()) for row in rows]
    return "".join(f"| {line} |\n" for line in lines)


def _table(rows: Sequence[Row]) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in vars(row).values()) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _listen(out: Path, example: "Example") -> str:
    players = [("original", example.original), (f"resynthesis ({example.speaker or 'own voice'})", example.resynthesis)]
    if example.other_speaker != example.speaker:
        players.append((f"another voice ({example.other_speaker})", example.other_voice))
    players += [(f"continuation {number + 1}", path) for number, path in enumerate(example.continuations)]
    sounds = "".join(
        f"<figure><figcaption>{html.escape(title)}</figcaption>{player(io.load(path))}</figure>"
        for title, path in players
    )
    said = f"“{html.escape(example.text)}”" if example.text else ""
    picture = _image(_example_picture(out, example), f"spectrograms, units and phones of {example.id}")
    return f'<h3>{html.escape(example.id)} {said}</h3><div class="players">{sounds}</div>{picture}'


def _example_picture(out: Path, example: "Example") -> bytes:
    original = io.load(example.original)
    speech_to_units = SpeechToUnits(load_quantizer(out / "quantizer"))
    units = speech_to_units.encode([original], [example.id])[0]
    path = out / "corpus" / "dev" / "alignments.tsv"
    phones = read_alignment(path).get(example.id, []) if path.exists() else []
    rate = speech_to_units.quantizer.frame_rate
    return figures.draw_example(original, io.load(example.resynthesis), units, rate, phones)


def _units(units: Mapping[str, Any]) -> str:
    s = units["statistics"]
    text = (
        f"<p>{s['hours']:.2f} h of speech became {s['units']:,} deduplicated units of {s['k']} codes: "
        f"{s['units_per_second']:.1f} a second, {s['unit_bit_rate']:.0f} bit/s.</p>"
    )
    if "phones" not in units:
        return text + "<p>No phone alignments came with these recordings.</p>"
    phones = units["phones"]
    picture = figures.draw_cooccurrence(phones["phones"], np.array(phones["counts"]))
    return text + _image(picture, "probability of each phone given each unit")


def _curves(out: Path, lm: Mapping[str, Any]) -> str:
    lines = {name: model["dev"]["bits_per_unit"] for name, model in lm.items() if name != "transformer"}
    curves = figures.draw_curves(read_metrics(out / "ulm"), read_metrics(out / "vocoder"), lines)
    return _image(curves, "training curves of the unit language model and of the vocoder")


def _commands(out: Path, commands: Sequence[str]) -> str:
    configs = "".join(
        f"<details><summary>{path.name}</summary><pre>{html.escape(path.read_text())}</pre></details>"
        for path in sorted((out / "configs").glob("*.toml"))
    )
    identity = json.loads((out / "quantizer" / "config.json").read_text())
    software = html.escape(json.dumps(identity["software"]))
    listed = html.escape("\n".join(commands))
    return (
        f"<details><summary>{len(commands)} commands</summary><pre>{listed}</pre></details>{configs}<p>{software}</p>"
    )


def _image(content: bytes, description: str) -> str:
    return f'<img alt="{html.escape(description)}" src="data:image/png;base64,{_base64(content)}">'


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


STYLE = """
:root { color-scheme: light; --ink: #1c2430; --muted: #667080; --line: #dde2e8; --accent: #2563a8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
p { color: var(--muted); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .45rem .7rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--muted); font-weight: 500; }
td:nth-child(2) { color: var(--accent); font-weight: 600; white-space: nowrap; }
.players { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .5rem 1rem; }
figure { margin: 0; } figcaption { font-size: .8rem; color: var(--muted); } audio { width: 100%; height: 2.2rem; }
img { max-width: 100%; height: auto; margin-top: .75rem; }
pre { overflow-x: auto; font-size: .78rem; line-height: 1.6; padding: .75rem; border: 1px solid var(--line); }
summary { cursor: pointer; color: var(--accent); }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>textless: listening report</title>
<style>{style}</style>
</head>
<body>
<h1>Listening report</h1>
<p>Speech to units, units to a language model, units to speech; no text anywhere in between.</p>
{body}
</body>
</html>
"""
