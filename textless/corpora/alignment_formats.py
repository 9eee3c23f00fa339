"""Alignments of other tools: Praat TextGrids (Montreal Forced Aligner), CTM files (Kaldi, NIST), and our own TSV.

Whatever an aligner calls silence comes out as `SIL`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from textless.corpora.alignment import SILENCE, Alignment, Segment, read_alignment
from textless.errors import UserError
from textless.files import require

SILENCES = frozenset({"", "sil", "sil_s", "sp", "spn", "pau", "h#", "<eps>", "<sil>", "silence", "nsn"})
TOLERANCE = 1e-4  # seconds two segments may overlap by
CTM_STEP = 0.0101  # CTM files round onsets and durations to 10 ms each
TIER_NAMES = ("phones", "phone", "mau", "segments")
TOKEN = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)')


def read_any_alignment(path: Path, tier: str | None = None) -> Alignment:
    """Read the phones of a TextGrid, a folder of TextGrids, a `.ctm` file, or an `alignments.tsv`.

    Args:
        path: the file or folder; utterance ids of a folder are relative paths without extension.
        tier: of a TextGrid; by default the one named `phones` or the like.

    Raises:
        UserError: the file is malformed, segments overlap, or there is no such tier.
    """
    if path.is_dir():
        grids = sorted(file for file in path.rglob("*") if file.suffix.lower() == ".textgrid")
        if not grids:
            raise UserError(f"{path} holds no .TextGrid files")
        alignment = {g.relative_to(path).with_suffix("").as_posix(): read_textgrid(g, tier) for g in grids}
    else:
        match require(path, "alignment").suffix.lower():
            case ".textgrid":
                alignment = {path.stem: read_textgrid(path, tier)}
            case ".ctm":
                alignment = read_ctm(path)
            case _:
                alignment = read_alignment(path)
    return {
        utterance: [replace(s, label=SILENCE) if s.label.lower() in SILENCES else s for s in segments]
        for utterance, segments in alignment.items()
    }


def read_textgrid(path: Path, tier: str | None = None) -> list[Segment]:
    """Intervals of one tier of a Praat TextGrid, in its long or its short text form."""
    values = _textgrid_values(path)
    try:
        tiers = dict(_tiers(values))
    except (StopIteration, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a TextGrid in text form") from error
    named = [tier] if tier is not None else [name for name in tiers if _is_phone_tier(name)]
    if len(named) != 1 or tiers.get(named[0]) is None:
        raise UserError(f"{path} needs one interval tier {tier or 'phones'!r}, it has {sorted(tiers)}; use --tier")
    return _in_order(tiers[named[0]] or [], str(path))


def _is_phone_tier(name: str) -> bool:
    return name.lower().rpartition(" - ")[2] in TIER_NAMES  # MFA: "speaker - phones"


def _textgrid_values(path: Path) -> Iterator[str | float]:
    """Strings and numbers of a TextGrid, which are all that matters in it."""
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is neither UTF-8 nor UTF-16: {error}") from error
    for match in TOKEN.finditer(text):
        yield float(match[2]) if match[2] is not None else match[1].replace('""', '"')


def _tiers(values: Iterator[str | float]) -> Iterator[tuple[str, list[Segment] | None]]:
    """Names and intervals of the tiers; None for a tier of points."""
    if next(values) != "ooTextFile" or next(values) != "TextGrid":
        raise ValueError("another kind of file")
    _, _, count = next(values), next(values), int(next(values))
    for _ in range(count):
        kind, name, _, _, size = next(values), str(next(values)), next(values), next(values), int(next(values))
        if kind == "IntervalTier":
            yield name, [Segment(float(next(values)), float(next(values)), str(next(values))) for _ in range(size)]
        else:
            for _ in range(2 * size):
                next(values)
            yield name, None


def read_ctm(path: Path) -> Alignment:
    """Read `utterance channel start duration label [confidence]` lines; `;;` starts a comment."""
    alignment: Alignment = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        cells = line.split()
        try:
            utterance, start, duration, label = cells[0], float(cells[2]), float(cells[3]), cells[4]
        except (IndexError, ValueError) as error:
            raise UserError(f"{path}:{number} is not `utterance channel start duration label`") from error
        alignment.setdefault(utterance, []).append(Segment(start, start + duration, label))
    if not alignment:
        raise UserError(f"{path} holds no segments")
    return {
        utterance: _in_order(_snap(sorted(segments, key=lambda s: s.start)), f"{path}: {utterance!r}")
        for utterance, segments in alignment.items()
    }


def _snap(segments: Sequence[Segment]) -> list[Segment]:
    """Let a segment end where the next begins, where the two differ by no more than rounding."""
    ends = [
        after.start if abs(after.start - segment.end) < CTM_STEP else segment.end
        for segment, after in pairwise(segments)
    ]
    return [replace(segment, end=end) for segment, end in zip(segments, [*ends, segments[-1].end], strict=True)]


def _in_order(segments: list[Segment], where: str) -> list[Segment]:
    reached = 0.0
    for segment in segments:
        if segment.end < segment.start or segment.start < reached - TOLERANCE:
            raise UserError(
                f"{where}: segment {segment.label!r} from {segment.start:g} to {segment.end:g} s is negative, ends "
                "before it starts, or overlaps the one before it"
            )
        reached = segment.end
    return segments
