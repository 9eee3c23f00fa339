"""Checks of the parts of a submission. Every check looks at the whole part and reports all it finds.

The organisers' toolbox takes features in float64 and no others; here float16, float32 and integers are as good, and get
a remark.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
import soundfile

from zerospeech_eval.classes import parse_classes
from zerospeech_eval.submission.findings import Findings
from zerospeech_eval.submission.unit_lines import read_lines

FEATURE_EXTENSIONS = (".npy", ".txt")


def check_scores(path: Path, where: str, expected: Sequence[str] | None, findings: Findings) -> None:
    """A line `name value` for every recording, one space between, no header."""
    try:
        lines = path.read_bytes().decode("utf-8").splitlines()
    except UnicodeDecodeError:
        findings.error(where, "is not a text file in UTF-8")
        return
    names: list[str] = []
    for number, line in enumerate(lines, 1):
        name, _, value = line.rpartition(" ")
        try:
            score = float(value)
        except ValueError:
            findings.error(where, "lines should be `name value`", [f"line {number}: {line[:60]}"])
            continue
        if not name or name != name.strip():
            findings.error(where, "lines should be `name value`, with one space", [f"line {number}: {line[:60]}"])
            continue
        if math.isnan(score):
            findings.error(where, "scores are NaN", [name])
        elif math.isinf(score):
            findings.remark(where, "scores are infinite", [name])
        names.append(name)
    _check_names(names, expected, where, "recordings", findings)
    if expected is not None:
        order = {name: i for i, name in enumerate(expected)}
        positions = [order[name] for name in names if name in order]
        falls = [i for i in range(1, len(positions)) if positions[i] < positions[i - 1]]
        if falls:
            findings.remark(
                where, "rows are out of the order of the gold list", [expected[positions[i]] for i in falls]
            )


def _check_names(
    names: Sequence[str], expected: Collection[str] | None, where: str, what: str, findings: Findings
) -> None:
    repeated = [name for name, n in Counter(names).items() if n > 1]
    found, wanted = set(names), set(expected or ())
    for names_of_kind, mistake in (
        (repeated, f"{what} are there twice"),
        ([name for name in expected or () if name not in found], f"{what} are missing"),
        ([name for name in dict.fromkeys(names) if expected is not None and name not in wanted], f"extra {what}"),
    ):
        if names_of_kind:
            findings.error(where, mistake, names_of_kind)


def check_features(
    folder: Path, where: str, expected: Sequence[str] | None, extension: str | None, findings: Findings
) -> None:
    """A matrix `(T, D)` for every recording, of one width, in `.npy` or `.txt`, in any folders below."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    usable = [path for path in files if path.suffix in FEATURE_EXTENSIONS]
    _report(findings.error, where, "files of another kind", [_name(p, folder) for p in files if p not in set(usable)])
    _check_names([path.stem for path in usable], expected, where, "recordings", findings)
    other = [_name(path, folder) for path in usable if extension is not None and path.suffix != extension]
    _report(findings.remark, where, f"are not {extension}, as params.yaml says", other)
    widths: Counter[int] = Counter()
    by_width: dict[int, list[str]] = {}
    for path in usable:
        array = _read_array(path, where, _name(path, folder), findings)
        if array is not None and check_array(array, where, _name(path, folder), findings):
            widths[array.shape[1]] += 1
            by_width.setdefault(array.shape[1], []).append(_name(path, folder))
    for width, _ in widths.most_common()[1:]:
        usual = widths.most_common(1)[0][0]
        findings.error(where, f"have {width} columns where most have {usual}", by_width[width])


def check_array(array: np.ndarray, where: str, name: str, findings: Findings) -> bool:
    """Whether it is a matrix of numbers; what is wrong with them is reported."""
    if array.dtype.kind not in "fiu":
        findings.error(where, f"hold {array.dtype} in the place of numbers", [name])
        return False
    if array.ndim != 2 or 0 in array.shape:
        findings.error(where, "should have frames and columns (two dimensions, none empty)", [f"{name} {array.shape}"])
        return False
    if not np.isfinite(array).all():
        findings.error(where, "hold NaN or infinite values", [name])
    if array.dtype != np.float64:
        findings.remark(where, f"are {array.dtype}; the organisers' toolbox takes float64 alone", [name])
    if len(array) < 2:
        findings.remark(where, "have one frame; the organisers advise two or more", [name])
    return True


def _read_array(path: Path, where: str, name: str, findings: Findings) -> np.ndarray | None:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.suffix == ".npy" else np.loadtxt(path, ndmin=2)
    except (OSError, ValueError, EOFError) as error:
        findings.error(where, "cannot be read as arrays", [f"{name} ({' '.join(str(error).split())[:80]})"])
        return None


def check_embeddings(folder: Path, where: str, expected: Sequence[str] | None, findings: Findings) -> None:
    """A text file for every recording, of one vector a line; recordings may lie beside them."""
    files = sorted(path for path in folder.rglob("*.txt"))
    names = {path.stem for path in files}
    missing = [name for name in expected or () if name not in names]
    _report(findings.error, where, "recordings are missing", missing)
    widths: dict[int, list[str]] = {}
    for path in files:
        array = _read_array(path, where, _name(path, folder), findings)
        if array is None:
            continue
        if not array.size or np.isnan(array).any():
            findings.error(where, "are empty or hold NaN", [_name(path, folder)])
        else:
            widths.setdefault(array.shape[1], []).append(_name(path, folder))
    if len(widths) > 1:
        found = [f"{width} columns: {names_of[0]}" for width, names_of in sorted(widths.items())]
        findings.error(where, "embeddings have several widths", found)


def check_recordings(folder: Path, where: str, expected: Sequence[str] | None, findings: Findings) -> None:
    """A wav file for every recording, not empty."""
    files = {path.stem: path for path in sorted(folder.rglob("*.wav"))}
    _report(findings.error, where, "recordings are missing", [name for name in expected or () if name not in files])
    for path in files.values():
        try:
            usable = soundfile.info(path).frames > 0
        except (RuntimeError, OSError):
            usable = False
        if not usable:
            findings.error(where, "are no recordings, or empty", [_name(path, folder)])


def check_units(path: Path, where: str, expected: Sequence[str] | None, findings: Findings) -> None:
    """A line `{"file": ..., "units": [...]}` for every recording."""
    names: list[str] = []
    for number, row in enumerate(read_lines(path), 1):
        if row is None:
            findings.error(where, 'lines should be {"file": text, "units": [0, 1, ...]}', [f"line {number}"])
        else:
            names.append(row[0])
    _check_names(names, expected, where, "recordings", findings)


def check_classes(path: Path, where: str, recordings: Collection[str] | None, findings: Findings) -> None:
    """Classes of fragments of known recordings."""
    found = parse_classes(path)
    for problem in found.problems:
        findings.error(where, problem)
    for remark in found.remarks:
        findings.remark(where, remark)
    if recordings is not None:
        named = {fragment.file for members in found.classes.values() for fragment in members}
        _report(findings.error, where, "fragments of unknown recordings", sorted(named - set(recordings)))


def _report(report: Callable[[str, str, Sequence[str]], None], where: str, what: str, names: Sequence[str]) -> None:
    if names:
        report(where, what, names)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
