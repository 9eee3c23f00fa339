"""Speech whose phones and words are known in time: what discovered fragments of it are judged by.

Alignments are our `alignments.tsv` and `words.tsv`, or those of ZeroSpeech and DiscoPhon: `file onset offset label`
lines in any order, without a header or with one that begins with `#file`.
"""

import bisect
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

from textless.corpora.alignment import SILENCE
from textless.errors import UserError
from textless.files import require

TOLERANCE = 1e-4  # seconds that neighbours may overlap, the precision of the times
LONG, ENOUGH, SHARE = 0.060, 0.030, 0.5


@dataclass(frozen=True)
class Tier:
    """Labels of a recording in the order of time, and when they begin and end, in seconds."""

    onsets: list[float]
    offsets: list[float]
    labels: list[str]

    def overlapped(self, onset: float, offset: float) -> range:
        """Positions of the labels that share time with a stretch."""
        first = bisect.bisect_right(self.offsets, onset)
        return range(first, max(first, bisect.bisect_left(self.onsets, offset)))

    def kept(self, onset: float, offset: float) -> range:
        """Positions of the phones of a fragment: those overlapped, the first and the last only if enough of them is.

        Of a phone of 60 ms or more 30 ms are enough, both rounded to milliseconds; of a shorter one half of it is.
        """
        covered = self.overlapped(onset, offset)
        if not covered:
            return covered
        first = covered.start if self._enough(covered.start, onset, offset) else covered.start + 1
        if len(covered) == 1:
            return range(first, covered.stop)
        return range(first, covered.stop if self._enough(covered.stop - 1, onset, offset) else covered.stop - 1)

    def _enough(self, position: int, onset: float, offset: float) -> bool:
        start, end = self.onsets[position], self.offsets[position]
        overlap = min(offset, end) - max(onset, start)
        if round(end - start, 3) >= LONG:
            return round(overlap, 3) >= ENOUGH
        return overlap / (end - start) >= SHARE


@dataclass(frozen=True)
class TranscribedSpeech:
    """Phones, silence included, and words, silence left out, by recording."""

    phones: dict[str, Tier]
    words: dict[str, Tier]


def read_speech(phones: Path, words: Path) -> TranscribedSpeech:
    """Read both alignments.

    Raises:
        UserError: a file is malformed, labels of a recording overlap, or the recordings of one lack in the other.
    """
    speech = TranscribedSpeech(read_tiers(phones), read_tiers(words, leave_out=SILENCE))
    absent = sorted(set(speech.words) - set(speech.phones))
    if absent:
        raise UserError(f"{words} has words of {len(absent)} recordings without phones in {phones}: {absent[0]!r} ...")
    return speech


def read_tiers(path: Path, leave_out: str | None = None) -> dict[str, Tier]:
    """Labels by recording, but for those equal to `leave_out`.

    Raises:
        UserError: naming the line that is malformed, or the labels that overlap.
    """
    rows: dict[str, list[tuple[float, float, str]]] = {}
    try:
        lines = require(path, "alignment").read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    tabs = bool(lines) and lines[0].split("\t")[:3] == ["id", "start_s", "end_s"]
    for number, line in enumerate(lines[1:] if tabs else lines, 2 if tabs else 1):
        if not line.strip() or (number == 1 and line.startswith("#file")):
            continue
        cells = line.split("\t") if tabs else line.split()
        try:
            file, start, end, label = cells[0], float(cells[1]), float(cells[2]), cells[3]
        except (IndexError, ValueError) as error:
            raise UserError(f"{path}:{number} should be `file onset offset label`, found {line[:80]!r}") from error
        if not (0 <= start < end < math.inf):
            raise UserError(f"{path}:{number}: needs 0 <= onset < offset, found {cells[1]} and {cells[2]}")
        if label != leave_out:
            rows.setdefault(file, []).append((start, end, label))
    if not rows:
        raise UserError(f"{path} aligns nothing")
    return {file: _tier(path, file, sorted(found)) for file, found in rows.items()}


def _tier(path: Path, file: str, rows: list[tuple[float, float, str]]) -> Tier:
    overlapping = [(one, other) for one, other in itertools.pairwise(rows) if other[0] < one[1] - TOLERANCE]
    if overlapping:
        one, other = overlapping[0]
        raise UserError(
            f"{path}: {len(overlapping)} labels of {file!r} overlap the next one, the first is {one[2]!r} at "
            f"{one[0]}-{one[1]} s and {other[2]!r} at {other[0]}-{other[1]} s"
        )
    return Tier([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
