"""Two units files of the same speech: how many edits apart (one quantizer), how much one tells of the other (any two).

The edit distance between units of clean and altered speech is how robust a quantizer is (Gat et al. 2023, "Augmentation
invariant discrete representation for generative spoken language modeling").
"""

from dataclasses import dataclass

import numba
import numpy as np

from textless.errors import UserError
from units.files import Units, UnitsFile
from units.ngrams import entropy
from units.runs import expand


@dataclass(frozen=True)
class Comparison:
    """Over the utterances in both files. None: the files do not allow it.

    `edit_distance`: insertions, deletions and substitutions of deduplicated units, over the first file's units; of one
    quantizer. `frame_agreement`: share of frames with the same unit; of one quantizer, with durations.
    `normalised_information`: I(a; b) / √(H(a) H(b)) over frames, with durations at one frame rate.
    """

    utterances: int
    only_first: int
    only_second: int
    edit_distance: float | None
    frame_agreement: float | None
    normalised_information: float | None


def compare(first: UnitsFile, second: UnitsFile) -> Comparison:
    """Compare utterances with the same id; where frames are compared, the longer utterance is cut.

    Raises:
        UserError: the files have no utterance in common.
    """
    others = {item.id: item for item in second.utterances}
    pairs = [(item, others[item.id]) for item in first.utterances if item.id in others]
    if not pairs:
        raise UserError("the two files have no utterance id in common")
    same = first.quantizer.sha256 == second.quantizer.sha256
    timed = first.quantizer.frame_rate == second.quantizer.frame_rate and all(
        item.durations is not None for pair in pairs for item in pair
    )
    edits = sum(edit_distance(np.array(a.units, dtype=np.int64), np.array(b.units, dtype=np.int64)) for a, b in pairs)
    frames = np.concatenate([_frames(a, b) for a, b in pairs], axis=1) if timed else np.zeros((2, 0), dtype=np.int64)
    enough = frames.shape[1] > 0
    return Comparison(
        utterances=len(pairs),
        only_first=len(first.utterances) - len(pairs),
        only_second=len(second.utterances) - len(pairs),
        edit_distance=edits / max(sum(len(a.units) for a, _ in pairs), 1) if same else None,
        frame_agreement=float((frames[0] == frames[1]).mean()) if same and enough else None,
        normalised_information=_normalised_information(*frames) if enough else None,
    )


def _frames(a: Units, b: Units) -> np.ndarray:
    """Units at frame rate of both, `(2, T)`."""
    length = min(a.n_frames, b.n_frames)
    return np.stack([expand(item.units, item.durations or [])[:length] for item in (a, b)])


def _normalised_information(a: np.ndarray, b: np.ndarray) -> float:
    first, second = entropy(np.bincount(a)), entropy(np.bincount(b))
    joint = entropy(np.unique(a * (b.max() + 1) + b, return_counts=True)[1])
    return max(first + second - joint, 0.0) / (first * second) ** 0.5 if first * second > 0 else 0.0


@numba.njit(nogil=True, cache=True)
def edit_distance(a: np.ndarray, b: np.ndarray) -> int:
    """Levenshtein distance of two integer sequences."""
    row = np.arange(len(b) + 1)
    for i in range(len(a)):
        diagonal, row[0] = row[0], i + 1
        for j in range(len(b)):
            best = min(diagonal + (a[i] != b[j]), row[j] + 1, row[j + 1] + 1)
            diagonal, row[j + 1] = row[j + 1], best
    return row[-1]
