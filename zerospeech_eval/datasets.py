"""The tokens of an ABX test: stretches of features with a phone, its context and a speaker.

Frame i of features at f Hz is centred at (i + ½) / f. A token from `onset` to `offset` holds the frames whose centres
lie within, both ends included: first = ceil(f · onset − ½), last = floor(f · offset − ½). Centres often fall exactly on
an onset (10 ms labels, 20 ms frames), so this is computed in decimal arithmetic on the text of the item file.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from mmap import mmap
from typing import Literal

import numpy as np

from textless.corpora.items import Item
from textless.errors import UserError

FrameSlice = Literal["exact", "librilight"]

EXACT = Context(prec=200)  # more digits than any product of a time and a frequency has
HALF = Decimal("0.5")
SMALL_FILE = 1 << 20  # bytes


@dataclass(frozen=True)
class Skipped:
    """Tokens left out, by reason."""

    without_features: int = 0
    without_frames: int = 0
    beyond_the_end: int = 0

    def __str__(self) -> str:
        return (
            f"{self.without_features} tokens without features, {self.without_frames} shorter than a frame, "
            f"{self.beyond_the_end} beyond the end of their features"
        )

    @property
    def total(self) -> int:
        """All of them."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Dataset:
    """Tokens as columns: token t is frames `start[t]:stop[t]` of `arrays[file[t]]`, with codes into the names.

    Shape:
        arrays: one `(T, D)` array a file, all of one D; read-only, possibly memory-mapped.
        file, start, stop, phone, context, speaker: `(N,)` integers for N tokens.
    """

    arrays: list[np.ndarray]
    files: list[str]
    file: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    phone: np.ndarray
    context: np.ndarray
    speaker: np.ndarray
    phones: list[str]
    contexts: list[str]  # "previous next"
    speakers: list[str]
    skipped: Skipped

    def __len__(self) -> int:
        return len(self.file)

    def frames(self, tokens: np.ndarray) -> np.ndarray:
        """Frames of the given tokens, one token after the other, `(sum of their lengths, D)`."""
        slices = [
            self.arrays[file][start:stop]
            for file, start, stop in zip(
                self.file[tokens].tolist(), self.start[tokens].tolist(), self.stop[tokens].tolist(), strict=True
            )
        ]
        frames = np.concatenate(slices)
        if frames.dtype.kind == "f" and not np.isfinite(frames).all():
            self._blame(tokens, slices)
        return frames

    def _blame(self, tokens: np.ndarray, slices: list[np.ndarray]) -> None:
        bad = next(i for i, token_frames in enumerate(slices) if not np.isfinite(token_frames).all())
        token = tokens[bad]
        frame = self.start[token] + int(np.argmin(np.isfinite(slices[bad]).all(axis=1)))
        raise UserError(
            f"features of {self.files[self.file[token]]!r} hold NaN or infinite values (frame {frame}); "
            "extract them again"
        )


def make_dataset(
    items: Iterable[Item],
    features: Mapping[str, np.ndarray],
    frequency: str | float,
    *,
    frame_slice: FrameSlice = "exact",
    skip_missing: bool = False,
) -> Dataset:
    """Find the frames of every item.

    Args:
        items: what `textless.corpora.items.read_items` returns.
        features: `(T, D)` by file, of any float or integer type.
        frequency: frames a second; text or a number is taken as the decimal it prints as.
        frame_slice: `exact`, or `librilight` for the frames that Libri-light took and the ABX-LS leaderboard still
            does: without the last one, in float arithmetic, cut to the features, and tokens left empty dropped.
        skip_missing: leave out, and count, tokens without features, without a frame, or beyond their features' end.

    Raises:
        UserError: there are such tokens and `skip_missing` is false, no token is left, or widths differ between files.
    """
    items = list(items)
    rate = parse_frequency(frequency)
    files = sorted({item.file for item in items})
    missing = [file for file in files if file not in features]
    if missing and not skip_missing:
        raise UserError(
            f"{len(missing)} of the {len(files)} files that the items name have no features, the first is "
            f"{missing[0]!r} (features are there for {next(iter(features), 'nothing')!r}); extract them, "
            "or use --skip-missing"
        )
    arrays, kept_files = _load(features, [file for file in files if file in features])
    number = {file: index for index, file in enumerate(kept_files)}
    kept = [item for item in items if item.file in number]
    file = np.array([number[item.file] for item in kept], dtype=np.int64)
    bounds = [_frame_range(item, rate, frame_slice) for item in kept]
    start, stop = np.array(bounds, dtype=np.int64).reshape(-1, 2).T
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)[file]
    if frame_slice == "librilight":
        stop = np.minimum(stop, lengths)
    empty, beyond = stop <= start, stop > lengths
    if not skip_missing:
        if frame_slice == "exact":
            _refuse_empty(kept, empty, rate)
        _refuse_beyond(kept, beyond & ~empty, stop, lengths, rate)
    good = ~(empty | beyond)
    skipped = Skipped(len(items) - len(kept), int(empty.sum()), int((beyond & ~empty).sum()))
    if not good.any():
        raise UserError(f"no token of {len(items)} can be used: {skipped}")
    kept = [item for item, usable in zip(kept, good, strict=True) if usable]
    phones, phone = _encode([item.phone for item in kept])
    contexts, context = _encode([f"{item.previous} {item.next}" for item in kept])
    speakers, speaker = _encode([item.speaker for item in kept])
    return Dataset(
        arrays,
        kept_files,
        file[good],
        start[good],
        stop[good],
        phone,
        context,
        speaker,
        phones,
        contexts,
        speakers,
        skipped,
    )


def parse_frequency(frequency: str | float) -> Decimal:
    """Frames a second as an exact decimal."""
    try:
        rate = Decimal(str(frequency))
    except InvalidOperation as error:
        raise UserError(f"--frequency takes frames a second, for example 50 or 49.95, not {frequency!r}") from error
    if not rate.is_finite() or rate <= 0:
        raise UserError(f"--frequency should be positive, found {frequency}")
    return rate


def _frame_range(item: Item, rate: Decimal, frame_slice: FrameSlice) -> tuple[int, int]:
    """First frame and the one after the last."""
    match frame_slice:
        case "exact":
            first, last = (
                EXACT.subtract(EXACT.multiply(rate, Decimal(time)), HALF) for time in (item.onset, item.offset)
            )
            return int(first.to_integral_value(ROUND_CEILING)), int(last.to_integral_value(ROUND_FLOOR)) + 1
        case "librilight":
            onset, offset = float(rate) * float(item.onset), float(rate) * float(item.offset)
            return max(0, math.ceil(onset - 0.5)), math.floor(offset - 0.5)
        case _:
            raise ValueError(f"unknown frame slice {frame_slice!r}")


def _load(features: Mapping[str, np.ndarray], files: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
    arrays: list[np.ndarray] = []
    for file in files:
        array = features[file]
        if array.ndim != 2 or (arrays and array.shape[1] != arrays[0].shape[1]):
            expected = f"(T, {arrays[0].shape[1]}) as those of {files[0]!r}" if arrays else "(T, D)"
            raise UserError(f"features of {file!r} have shape {array.shape}, expected {expected}")
        arrays.append(np.array(array) if _is_small_file(array) else np.asarray(array))
    return arrays, list(files)


def _is_small_file(array: np.ndarray) -> bool:
    """Whether to read a memory-mapped file at once: a process may hold some 65 000 maps, and a test that many files."""
    whole = isinstance(array.base, mmap) or (isinstance(array.base, np.memmap) and array.base.size == array.size)
    return isinstance(array, np.memmap) and whole and array.nbytes < SMALL_FILE


def _encode(names: list[str]) -> tuple[list[str], np.ndarray]:
    known = sorted(set(names))
    code = {name: index for index, name in enumerate(known)}
    return known, np.array([code[name] for name in names], dtype=np.int64)


def _refuse_empty(items: Sequence[Item], empty: np.ndarray, rate: Decimal) -> None:
    if empty.any():
        item = items[int(np.argmax(empty))]
        raise UserError(
            f"{int(empty.sum())} of {len(items)} tokens hold no frame at {rate} Hz, the first is {item.phone!r} of "
            f"{item.file!r} from {item.onset} to {item.offset} s; is --frequency the frame rate of these features? "
            "--skip-missing leaves such tokens out"
        )


def _refuse_beyond(
    items: Sequence[Item], beyond: np.ndarray, stop: np.ndarray, lengths: np.ndarray, rate: Decimal
) -> None:
    if beyond.any():
        first, excess = int(np.argmax(beyond)), np.where(beyond, stop - lengths, 0)
        item = items[first]
        raise UserError(
            f"{int(beyond.sum())} of {len(items)} tokens stick out of their features at {rate} Hz, by up to "
            f"{int(excess.max())} frames; the first is {item.phone!r} of {item.file!r} from {item.onset} to "
            f"{item.offset} s, which needs {stop[first]} frames of {lengths[first]} "
            f"({float(excess[first]) / float(rate):.3f} s too far); is "
            "--frequency the frame rate of these features? --skip-missing leaves such tokens out"
        )
