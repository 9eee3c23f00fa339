"""Which units are the best to be had: encoders x codebook sizes x variants, judged on aligned recordings.

OUT/encoders/NAME                    features, of the judged recordings and of those that codebooks are fitted to
OUT/encoders/NAME/K-VARIANT          quantizer and units
OUT/sweep.tsv, .json, .md, .png      all figures; a table to read; ABX, PNMI and R-value against bit rate

Every step is a command of the public interface; a stopped sweep continues where it stopped, one that is finished does
only what a further encoder, K or variant adds, and to choose by another criterion runs nothing again.

| variant | |
|---|---|
| `plain` | the nearest code of every frame |
| `speaker` | features are normalised by speaker first |
| `dp` | a change of unit has a price: units last |
| `speaker-dp` | both |
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from textless.audio.manifest import read_manifest
from textless.corpora.alignment import read_alignment
from textless.corpora.items import read_items
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.features.store import HEADER_NAME, read_header
from textless.files import atomic_write, read_json, remove, sha256_file, write_json
from textless.pipeline.commands import Commands
from textless.pipeline.sweep_choices import Choice, Criterion, FeatureScores, Ranking, markdown, rank, tsv
from textless.pipeline.sweep_figure import draw_sweep, require_matplotlib
from textless.progress import say
from textless.provenance import make_header
from zerospeech_eval.feature_arrays import find_ids

FORMAT, VERSION = "textless-units-sweep", 1
SETTINGS_NAME = "settings.json"
Variant = Literal["plain", "speaker", "dp", "speaker-dp"]


@dataclass(frozen=True)
class Inputs:
    """What units are judged on, and fitted to."""

    manifest: Path
    alignment: Path
    items: Path
    fit: Path  # manifest of the recordings that codebooks are fitted to


@dataclass(frozen=True)
class Settings:
    """What all choices share; a directory holds one sweep."""

    context: Literal["within", "any"] = "within"
    max_size_group: int = 10
    max_x_across: int = 5
    duration_penalty: float = 0.5
    max_frames: int = 1_000_000
    seed: int = 0


@dataclass(frozen=True)
class NamedEncoder:
    """An encoder's specification, and what the tables and folders call it."""

    name: str
    spec: str

    @classmethod
    def parse(cls, text: str) -> "NamedEncoder":
        """Read `SPEC` or `NAME=SPEC`; without a name, the specification is one, less the folders before its last.

        Raises:
            UserError: the name cannot be that of a folder.
        """
        name, equals, spec = text.partition("=")
        if not equals:
            name, spec = text.rstrip("/").rpartition("/")[2], text
        if not re.fullmatch(r"[\w@:,+ -][\w@:,+. -]*", name) or not spec:
            raise UserError(f"{text!r} should be an encoder, SPEC or NAME=SPEC, its name without slashes")
        return cls(name, spec)


def run_sweep(
    out: Path,
    inputs: Inputs,
    encoders: Sequence[NamedEncoder],
    sizes: Sequence[int],
    variants: Sequence[Variant],
    settings: Settings,
    *,
    criterion: Criterion = "rank-sum",
    max_bit_rate: float | None = None,
    device: str = "auto",
    force: bool = False,
) -> tuple[Ranking, list[FeatureScores]]:
    """Run the sweep in `out` and write its tables and figure.

    Raises:
        UserError: manifest, alignment and items do not belong together; an encoder is not there, has the name of
            another, or is not the one that an earlier run found under its name; `out` holds a sweep of other settings,
            or something else; matplotlib is missing.
    """
    require_matplotlib()
    n_speakers = _check(inputs)
    _check_encoders(out, encoders, force=force)
    _claim(out, inputs, settings, force=force)
    sweep = _Sweep(out, inputs, settings, "both" if n_speakers > 1 else "within", device)
    scores, choices = [], []
    for encoder in encoders:
        scores.append(sweep.prepare(encoder))
        choices += [sweep.measure(encoder, k, variant) for k in sizes for variant in variants]
    ranking = rank(choices, criterion, max_bit_rate)
    _write(out, ranking, scores, settings)
    return ranking, scores


def _check(inputs: Inputs) -> int:
    """Refuse what would fail after hours of work; returns the number of speakers among the items."""
    ids = {utterance.id: utterance for utterance in read_manifest(inputs.manifest)}
    read_manifest(inputs.fit)
    n_aligned = len(ids.keys() & read_alignment(inputs.alignment).keys())
    if n_aligned == 0:
        raise UserError(f"{inputs.alignment} has none of the utterances of {inputs.manifest}")
    if n_aligned < len(ids):
        say(f"{len(ids) - n_aligned} of {len(ids)} utterances have no alignment: PNMI and boundaries do without them")
    items = read_items(inputs.items)
    known = find_ids(ids, sorted({item.file for item in items}))
    if not known:
        raise UserError(f"{inputs.items} has none of the utterances of {inputs.manifest}, but {items[0].file!r}")
    n_speakers = len({item.speaker for item in items if item.file in known})
    if n_speakers == 1:
        say("all items are of one speaker: ABX is taken within speakers only")
    return n_speakers


def _check_encoders(out: Path, encoders: Sequence[NamedEncoder], *, force: bool) -> None:
    for index, encoder in enumerate(encoders):
        if encoder.name in {other.name for other in encoders[:index]}:
            raise UserError(f"two encoders are called {encoder.name!r}: tell them apart by NAME=SPEC")
        found = load_encoder(encoder.spec).sha256
        store = _features(out, encoder, "judged")
        if not force and (store / HEADER_NAME).exists() and read_header(store).encoder_sha256 != found:
            raise UserError(
                f"{store} holds features of another encoder than {encoder.spec} is now; give it another name "
                "(NAME=SPEC), or another output, or --force"
            )


def _claim(out: Path, inputs: Inputs, settings: Settings, *, force: bool) -> None:
    path = out / SETTINGS_NAME
    wanted = {**asdict(settings), **{f"{name}_sha256": sha256_file(file) for name, file in vars(inputs).items()}}
    if out.exists() and force:
        remove(out)
    if out.exists() and any(out.iterdir()):
        if not path.exists():
            raise UserError(f"{out} exists and is not a sweep; give another output or --force to replace it")
        before = read_json(path)
        differ = [name for name, value in wanted.items() if before.get(name) != value]
        if differ:
            raise UserError(f"{out} holds a sweep with another {', '.join(differ)}; give another output or --force")
        say(f"continuing the sweep in {out}")
    write_json(path, wanted)


def _features(out: Path, encoder: NamedEncoder, part: str) -> Path:
    return out / "encoders" / encoder.name / f"features-{part}"


class _Sweep:
    """The commands of one directory."""

    def __init__(self, out: Path, inputs: Inputs, settings: Settings, speaker: str, device: str) -> None:
        self._out = out
        self._inputs = inputs
        self._settings = settings
        self._device = device
        self._commands = Commands(out)
        self._abx: dict[str, Any] = {
            "speaker": speaker,
            "context": settings.context,
            "max_size_group": settings.max_size_group,
            "max_x_across": settings.max_x_across,
            "seed": settings.seed,
            "skip_missing": True,
        }

    def prepare(self, encoder: NamedEncoder) -> FeatureScores:
        """Features, once, and their ABX."""
        judged = _features(self._out, encoder, "judged")
        options: dict[str, Any] = {"encoder": encoder.spec, "device": self._device}
        self._commands.run("encoder features", self._inputs.manifest, judged, **options)
        if self._fitted_elsewhere:
            self._commands.run("encoder features", self._inputs.fit, _features(self._out, encoder, "fit"), **options)
        abx = self._commands.run_json("eval abx", self._inputs.items, judged, **self._abx)
        header = read_header(judged)
        return FeatureScores(
            encoder.name, encoder.spec, header.encoder_sha256, header.frame_rate, header.dim, *_errors(abx)
        )

    def measure(self, encoder: NamedEncoder, k: int, variant: Variant) -> Choice:
        """Fit, encode and judge one choice of units."""
        work = self._out / "encoders" / encoder.name / f"{k}-{variant}"
        fitted, judged = _features(self._out, encoder, "fit"), _features(self._out, encoder, "judged")
        fitting: dict[str, Any] = {"k": k, "max_frames": self._settings.max_frames, "seed": self._settings.seed}
        encoding: dict[str, Any] = {"quantizer": work / "quantizer"}
        if "speaker" in variant:
            fitting |= {"speaker_normalised": True, "manifest": self._inputs.fit}
            encoding |= {"manifest": self._inputs.manifest}
        fitting |= {"duration_penalty": self._settings.duration_penalty if "dp" in variant else 0}
        run, units = self._commands, work / "units.jsonl"
        source = fitted if self._fitted_elsewhere else judged
        run.run("units fit", source, work / "quantizer", **fitting, device=self._device, replace=True)
        run.run("units encode", judged, units, **encoding, device=self._device, replace=True)
        looked = run.run_json("units stats", units, alignment=self._inputs.alignment, order=1)
        abx = run.run_json("eval abx", self._inputs.items, units, as_="units", distance="identical", **self._abx)
        within, across = _errors(abx)
        return Choice(
            encoder=encoder.name,
            k=k,
            variant=variant,
            pnmi=looked["phones"]["pnmi"],
            abx_within=within,
            abx_across=across,
            bit_rate=looked["unit_bit_rate"],
            timed_bit_rate=looked["timed_bit_rate"],
            units_per_second=looked["units_per_second"],
            fscore=looked["boundaries"]["fscore"],
            r_value=looked["boundaries"]["r_value"],
            used=looked["used"],
        )

    @property
    def _fitted_elsewhere(self) -> bool:
        return self._inputs.fit != self._inputs.manifest


def _errors(abx: dict[str, Any]) -> tuple[float, float | None]:
    """Errors within and across speakers, in percent."""
    found = {name: score["error_rate_percent"] for name, score in abx["scores"].items()}
    return found["within"], found.get("across")


def _write(out: Path, ranking: Ranking, encoders: Sequence[FeatureScores], settings: Settings) -> None:
    best = ranking.best
    result = make_header(
        FORMAT,
        VERSION,
        settings=asdict(settings),
        criterion=ranking.criterion,
        max_bit_rate=ranking.max_bit_rate,
        best={"encoder": best.encoder, "k": best.k, "variant": best.variant},
        encoders=[asdict(encoder) for encoder in encoders],
        choices=ranking.rows(),
    )
    write_json(out / "sweep.json", result)
    with atomic_write(out / "sweep.tsv") as file:
        file.write(tsv(ranking))
    with atomic_write(out / "sweep.md") as file:
        file.write(markdown(ranking, encoders))
    with atomic_write(out / "sweep.png", "wb") as file:
        file.write(draw_sweep(ranking, encoders))
