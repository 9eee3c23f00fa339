r"""Time-aligned labels. This module owns `alignments.tsv` and `words.tsv`.

One tab-separated line a segment, `id start_s end_s phone` (or `word`), with that header; times in seconds. Segments of
an utterance are in order and do not overlap.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from textless.errors import UserError
from textless.files import atomic_write, require

SILENCE = "SIL"


@dataclass(frozen=True)
class Segment:
    """A label from `start` to `end`, in seconds."""

    start: float
    end: float
    label: str


Alignment = dict[str, list[Segment]]  # by utterance id


def read_alignment(path: Path) -> Alignment:
    """Read phone or word segments by utterance id.

    Raises:
        UserError: naming the line that is malformed, goes back in time or ends before it starts.
    """
    alignment: Alignment = {}
    with require(path, "alignment").open(encoding="utf-8") as file:
        header = file.readline().rstrip("\n").split("\t")
        if header[:3] != ["id", "start_s", "end_s"] or len(header) != 4:
            raise UserError(f"{path}:1 should be `id<TAB>start_s<TAB>end_s<TAB>phone`, found {header}")
        for number, line in enumerate(file, 2):
            cells = line.rstrip("\n").split("\t")
            try:
                utterance, start, end, label = cells[0], float(cells[1]), float(cells[2]), cells[3]
            except (IndexError, ValueError) as error:
                raise UserError(f"{path}:{number} is not `id start_s end_s label`") from error
            segments = alignment.setdefault(utterance, [])
            if end < start or (segments and start < segments[-1].end - 1e-4):
                raise UserError(f"{path}:{number}: segments of {utterance!r} overlap or end before they start")
            segments.append(Segment(start, end, label))
    return alignment


def write_alignment(path: Path, alignment: Mapping[str, Sequence[Segment]], column: Literal["phone", "word"]) -> None:
    """Write segments with times to a tenth of a millisecond."""
    with atomic_write(path) as file:
        file.write(f"id\tstart_s\tend_s\t{column}\n")
        for utterance, segments in alignment.items():
            file.writelines(f"{utterance}\t{s.start:.4f}\t{s.end:.4f}\t{s.label}\n" for s in segments)


def frame_labels(segments: Iterable[Segment], n_frames: int, frame_rate: float, fill: str = SILENCE) -> list[str]:
    """Label of the segment that holds the centre (i + ½) / frame_rate of every frame i; `fill` where there is none."""
    labels = np.full(n_frames, fill, dtype=object)
    for segment in segments:
        first, last = np.ceil(np.array([segment.start, segment.end]) * frame_rate - 0.5).astype(int)
        labels[max(first, 0) : max(last, 0)] = segment.label
    return labels.tolist()
