"""When each phone of a known sequence is said: the best monotonic path, from scores, alignments or a recogniser.

All paths here give every symbol at least one frame and every frame one symbol. The first and the last symbol are edges,
which take the silence around an utterance.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit

from textless.corpora.alignment import SILENCE, Segment
from textless.errors import UserError
from unsup_asr.phone_text import SILENCE as TEXT_SILENCE
from unsup_asr.recognizers import Posteriors, Recognizer

EDGES = 2  # symbols around the phones of an utterance


def best_durations(scores: torch.Tensor, sizes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Durations of the symbols on the path of the highest sum of scores (the monotonic search of Kim et al. 2020).

    Args:
        scores: `(B, N, T)` of symbol n at frame t.
        sizes: symbols `(B,)`.
        lengths: frames `(B,)`, of each utterance as many as symbols at least.

    Returns:
        `(B, N)` int64, zero beyond the sizes.

    Raises:
        ValueError: an utterance has fewer frames than symbols.
    """
    if bool((lengths < sizes).any()):
        raise ValueError("an utterance with fewer frames than symbols has no alignment")
    table = scores.detach().float().cpu().numpy()
    found = np.zeros(table.shape[:2], dtype=np.int64)
    for row, (n, t) in enumerate(zip(sizes.tolist(), lengths.tolist(), strict=True)):
        found[row, :n] = _best_path(np.ascontiguousarray(table[row, :n, :t]))
    return torch.from_numpy(found).to(scores.device)


@njit(cache=True)
def _best_path(scores: np.ndarray) -> np.ndarray:
    """Scores `(N, T)` → durations `(N,)`."""
    n_symbols, n_frames = scores.shape
    best = np.full(n_symbols, -np.inf)
    entered = np.zeros((n_frames, n_symbols), dtype=np.bool_)
    best[0] = scores[0, 0]
    for t in range(1, n_frames):
        # From the last symbol down, so that best[n - 1] is still of the frame before.
        for n in range(min(t, n_symbols - 1), -1, -1):
            if n > 0 and best[n - 1] >= best[n]:
                best[n] = best[n - 1]
                entered[t, n] = True
            best[n] += scores[n, t]
    durations = np.zeros(n_symbols, dtype=np.int64)
    n = n_symbols - 1
    for t in range(n_frames - 1, -1, -1):
        durations[n] += 1
        if entered[t, n]:
            n -= 1
    return durations


def equal_durations(sizes: torch.Tensor, lengths: torch.Tensor, n: int) -> torch.Tensor:
    """Durations `(B, n)` of symbols `sizes` `(B,)` that share `lengths` `(B,)` frames as equally as can be."""
    place = torch.arange(n + 1, device=sizes.device).clamp(max=int(sizes.max()))
    ends = torch.minimum(place, sizes[:, None]) * lengths[:, None] // sizes[:, None]
    return ends.diff(dim=1)


def durations_of_segments(
    segments: Sequence[Segment], phones: Sequence[str], n_frames: int, frame_rate: float, where: str
) -> np.ndarray:
    """Durations `(N + 2,)` in frames of phones and the edges around them, from aligned segments.

    Silences before and after are the edges'; one between phones belongs to the phone before it, unless the phones name
    it. Frames are few: where a phone has none, it takes one of its longest neighbour.

    Raises:
        UserError: the segments are not those of the phones, or there are fewer frames than phones.
    """
    names_silence = TEXT_SILENCE in phones or SILENCE in phones
    kept = [segment for segment in segments if names_silence or segment.label not in {SILENCE, TEXT_SILENCE}]
    labels = [TEXT_SILENCE if s.label == SILENCE and TEXT_SILENCE in phones else s.label for s in kept]
    if labels != list(phones):
        raise UserError(
            f"{where}: the alignment has the phones {' '.join(labels[:8])} ..., the transcript {' '.join(phones[:8])} "
            "...: they should be the same"
        )
    starts = [round(segment.start * frame_rate) for segment in kept]
    last = round(kept[-1].end * frame_rate) if kept else n_frames
    edges = np.clip(np.array([0, *starts, last, n_frames]), 0, n_frames)
    return at_least_one(np.diff(np.maximum.accumulate(edges)), where)


def at_least_one(durations: np.ndarray, where: str) -> np.ndarray:
    """The same number of frames, but none of the durations `(N,)` zero: each takes from the nearest that can give."""
    if durations.sum() < len(durations):
        raise UserError(f"{where}: {int(durations.sum())} frames are fewer than its {len(durations)} symbols")
    found = durations.copy()
    for place in np.flatnonzero(found == 0):
        givers = np.flatnonzero(found > 1)
        found[givers[np.abs(givers - place).argmin()]] -= 1
        found[place] += 1
    return found


def durations_by_recognizer(
    recognizer: Recognizer, features: np.ndarray, phones: Sequence[str], where: str
) -> np.ndarray:
    """Durations `(N + 2,)` in frames of phones and edges, by a recogniser's posteriors of features `(T, D)`.

    The blank of CTC has no place in time and is left out: between the peaks of two phones, the border lies where the
    second becomes the likelier. Edges take what the silence explains best; without a silence, one frame each.

    Raises:
        UserError: a phone that the recogniser does not know, or fewer frames than phones.
    """
    (posteriors,) = recognizer.posteriors([features])
    numbers = {phone: number for number, phone in enumerate(recognizer.phones)}
    unknown = sorted(set(phones) - set(numbers))
    if unknown:
        raise UserError(
            f"{where}: the aligner does not know {' '.join(unknown)}; use one that was trained on such text"
        )
    scores = _frame_scores(posteriors, len(numbers), len(features))  # (T, V)
    edge = scores[:, recognizer.silence] if recognizer.silence is not None else np.full(len(scores), scores.min())
    table = np.stack([edge, *(scores[:, numbers[phone]] for phone in phones), edge])
    if len(features) < len(table):
        raise UserError(f"{where}: {len(features)} frames are fewer than its {len(table)} symbols")
    return _best_path(np.ascontiguousarray(table, dtype=np.float32))


def _frame_scores(posteriors: Posteriors, n_phones: int, n_frames: int) -> np.ndarray:
    """Log-probabilities `(T, V)` of every frame, that of the row which holds it."""
    if not len(posteriors.log_probs):
        return np.zeros((n_frames, n_phones), dtype=np.float32)
    rows = np.searchsorted(posteriors.ends, np.arange(n_frames), side="right").clip(max=len(posteriors.ends) - 1)
    return posteriors.log_probs[rows][:, :n_phones]
