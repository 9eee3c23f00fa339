"""Unit files of other programs. This module reads and writes their layouts; `units.convert` gives them our ids.

    gslm            `name|1 1 2 ...` a line (GSLM); without `name|` it is what fairseq-preprocess reads
    km              X.km, `1 1 2 ...` a line, whose names are the lines of the manifest X.tsv (simple_kmeans, HuBERT)
    textlesslib     X.units and X.durations, `name<TAB>1 2 ...` or `1 2 ...` a line
    slamkit         {"units": [1, 2], "duration": [2, 1], "file_name": ...} a line
    slamkit-tokens  {"audio_repr": "<Un1><Un2>", "file_name": ...} a line
    dict            a Python or JSON dictionary a line (speech-resynthesis, pGSLM, dGSLM): `audio`, and units as a
                    string under a key such as `hubert`

Names hold any character that the layout can hold; writing one that it cannot is an error. Nothing is evaluated.
"""

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from textless.errors import UserError
from textless.files import atomic_write, read_jsonl, remove, require, write_jsonl
from units.identity import QuantizerIdentity

Format = Literal["gslm", "km", "textlesslib", "slamkit", "slamkit-tokens", "dict"]
TOKENS = re.compile(r"(?:<Un\d+>)*")
DICT_KEY = "hubert"  # where nothing else is asked for
NO_UNITS = frozenset({"audio", "duration", "speaker", "spk", "style", "prompt", "f0", "raw_f0", "raw_duration"})


@dataclass(frozen=True)
class Line:
    """One utterance of a foreign file: `durations` are None where the layout has none, `name` where it has no names."""

    name: str | None
    units: list[int]
    durations: list[int] | None = None


def read_foreign(path: Path, layout: Format, key: str | None = None) -> list[Line]:
    """Read a file; `key` names the units of a dictionary, where there are several candidates.

    Raises:
        UserError: naming the line that is not of the layout.
    """
    require(path, "units file")
    match layout:
        case "gslm":
            return [_read_named(row, "|", where) for row, where in _rows(path)]
        case "km":
            return [Line(None, _integers(row, where)) for row, where in _rows(path)]
        case "textlesslib":
            return _read_textlesslib(path)
        case "slamkit":
            return [_read_slamkit(row, f"{path}:{n}") for n, row in enumerate(read_jsonl(path), 1)]
        case "slamkit-tokens":
            return [_read_tokens(row, f"{path}:{n}") for n, row in enumerate(read_jsonl(path), 1)]
        case "dict":
            return [_read_dict(row, key, where) for row, where in _rows(path) if row.strip()]


def write_foreign(
    path: Path,
    layout: Format,
    lines: Sequence[Line],
    key: str | None = None,
    quantizer: QuantizerIdentity | None = None,
) -> None:
    """Write a file, and what goes with it: `dict.km.txt` beside a .km, `.durations` beside `.units`.

    The quantizer, where it is known, tells the seconds of a dictionary's `duration` and how many units there are.

    Raises:
        UserError: the layout cannot hold a name, or needs durations that are not known.
    """
    match layout:
        case "gslm":
            _write_rows(path, (f"{_name(line, layout)}|{_joined(line.units)}" for line in lines))
        case "km":
            _write_rows(path, (_joined(line.units) for line in lines))
            used = max((unit for line in lines for unit in line.units), default=-1) + 1
            count = used if quantizer is None else quantizer.k
            _write_rows(path.with_name("dict.km.txt"), (f"{unit} 1" for unit in range(count)))
        case "textlesslib":
            _write_rows(path, (f"{_name(line, layout)}\t{_joined(line.units)}" for line in lines))
            remove(path.with_suffix(".durations"))  # those of an earlier file would not fit
            if all(line.durations is not None for line in lines):
                rows = (f"{_name(line, layout)}\t{_joined(line.durations or [])}" for line in lines)
                _write_rows(path.with_suffix(".durations"), rows)
        case "slamkit":
            write_jsonl(path, (_slamkit_row(line) for line in lines))
        case "slamkit-tokens":
            tokens = ("".join(f"<Un{unit}>" for unit in line.units) for line in lines)
            write_jsonl(
                path, ({"file_name": line.name, "audio_repr": t} for line, t in zip(lines, tokens, strict=True))
            )
        case "dict":
            rate = None if quantizer is None else quantizer.frame_rate
            _write_rows(path, (repr(_dict_row(line, key or DICT_KEY, rate)) for line in lines))


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Every line without its end, and where it stands. Only a line feed ends a line: names may hold the others."""
    with path.open(encoding="utf-8", newline="\n") as file:
        try:
            for number, line in enumerate(file, 1):
                yield line.removesuffix("\n"), f"{path}:{number}"
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not a text file: {error}") from error


def _write_rows(path: Path, rows: Iterable[str]) -> None:
    with atomic_write(path) as file:
        file.writelines(f"{row}\n" for row in rows)


def _integers(text: str, where: str) -> list[int]:
    cells = text.split()
    if not all(cell.isascii() and cell.isdecimal() for cell in cells):
        raise UserError(f"{where} should hold units, integers separated by spaces; found {text[:60]!r}")
    return [int(cell) for cell in cells]


def _read_named(row: str, separator: str, where: str) -> Line:
    name, found, units = row.rpartition(separator)
    return Line(name if found else None, _integers(units, where))


def _read_textlesslib(path: Path) -> list[Line]:
    lines = [_read_named(row, "\t", where) for row, where in _rows(path)]
    beside = path.with_suffix(".durations")
    if not beside.exists():
        return lines
    durations = [_read_named(row, "\t", where) for row, where in _rows(beside)]
    for number, (line, lasting) in enumerate(zip(lines, durations, strict=False), 1):
        if line.name != lasting.name or len(line.units) != len(lasting.units):
            raise UserError(f"{path}:{number} and {beside}:{number} do not belong together")
    if len(lines) != len(durations):
        raise UserError(f"{path} has {len(lines)} lines, {beside} {len(durations)}")
    return [Line(line.name, line.units, lasting.units) for line, lasting in zip(lines, durations, strict=True)]


def _is_integers(value: object) -> bool:
    return isinstance(value, list | tuple) and all(type(item) is int and item >= 0 for item in value)


def _read_slamkit(row: Any, where: str) -> Line:  # noqa: ANN401
    names = isinstance(row, dict) and isinstance(row.get("file_name"), str)
    if not names or not _is_integers(row.get("units")) or not _is_integers(row.get("duration")):
        raise UserError(f"{where} should be an object with file_name, units and duration")
    return Line(row["file_name"], list(row["units"]), list(row["duration"]))


def _slamkit_row(line: Line) -> dict[str, Any]:
    if line.durations is None:
        raise UserError(f"{line.name!r} has no durations, which slamkit's files have; slamkit-tokens needs none")
    return {"units": line.units, "duration": line.durations, "file_name": line.name}


def _read_tokens(row: Any, where: str) -> Line:  # noqa: ANN401
    text = row.get("audio_repr") if isinstance(row, dict) else None
    if not isinstance(text, str) or not isinstance(row.get("file_name"), str):
        raise UserError(f"{where} should be an object with file_name and audio_repr")
    if not TOKENS.fullmatch(text):
        raise UserError(f"{where}: audio_repr should be units such as <Un7> only, found {text[:60]!r}")
    return Line(row["file_name"], [int(unit) for unit in re.findall(r"\d+", text)])


def _read_dict(text: str, key: str | None, where: str) -> Line:
    row = _parse_dict(text)
    if not isinstance(row, dict) or not isinstance(row.get("audio"), str):
        raise UserError(f"{where} should be a dictionary with `audio` and units")
    found = [key] if key else [name for name, value in row.items() if name not in NO_UNITS and _holds_units(value)]
    if len(found) != 1 or not _holds_units(row.get(found[0])):
        raise UserError(
            f"{where} has units under {found or 'no key'}, say which with --key: {', '.join(map(str, row))}"
        )
    value, durations = row[found[0]], row.get("duration")
    units = list(value) if isinstance(value, list | tuple) else _integers(value, where)
    if isinstance(durations, list) and _is_integers(durations) and len(durations) == len(units):
        return Line(row["audio"], units, durations)
    return Line(row["audio"], units)


def _parse_dict(text: str) -> Any:  # noqa: ANN401
    parsers: tuple[Callable[[str], Any], ...] = (json.loads, ast.literal_eval)
    for parse in parsers:
        try:
            return parse(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _holds_units(value: object) -> bool:
    return _is_integers(value) or (isinstance(value, str) and re.fullmatch(r"[0-9 ]*", value) is not None)


def _dict_row(line: Line, key: str, frame_rate: float | None) -> dict[str, Any]:
    row = {"audio": line.name, key: _joined(line.units)}
    return row | ({"duration": round(len(line.units) / frame_rate, 4)} if frame_rate else {})


def _joined(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


def _name(line: Line, layout: Format) -> str:
    if line.name is None or "\n" in line.name or (layout == "textlesslib" and "\t" in line.name):
        raise UserError(f"the name {line.name!r} does not fit on a line of {layout}; use slamkit or dict")
    return line.name
