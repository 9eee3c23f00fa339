"""The tokens of an ABX test: stretches of features with labels, such as a phone, its context and a speaker."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from textless.corpora.items import Item
from textless.errors import UserError
from zerospeech_eval.feature_arrays import is_finite, load_arrays
from zerospeech_eval.frame_slices import FrameSlice, frame_range, frame_range_at, parse_frequency

NAMED = 3  # tokens named in an error


@dataclass(frozen=True)
class Skipped:
    """Tokens left out, by reason."""

    without_features: int = 0
    without_frames: int = 0
    beyond_the_end: int = 0
    not_finite: int = 0

    def __str__(self) -> str:
        return (
            f"{self.without_features} tokens without features, {self.without_frames} shorter than a frame, "
            f"{self.beyond_the_end} beyond the end of their features, {self.not_finite} with NaN or infinite values"
        )

    @property
    def total(self) -> int:
        """All of them."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Labels:
    """A column of names: token t is `names[codes[t]]`; names are sorted."""

    codes: np.ndarray
    names: list[str]

    @classmethod
    def of(cls, values: Sequence[str]) -> "Labels":
        """Give every different name a code."""
        names = sorted(set(values))
        code = {name: index for index, name in enumerate(names)}
        return cls(np.array([code[value] for value in values], dtype=np.int64), names)


@dataclass(frozen=True)
class Dataset:
    """Tokens as columns: token t is frames `start[t]:stop[t]` of `arrays[file[t]]`.

    Shape:
        arrays: one `(T, D)` array a file, all of one D; read-only, possibly memory-mapped.
        file, start, stop: `(N,)` integers for N tokens.
        labels: by column: `phone`, `context`, `prev-phone`, `next-phone`, `speaker`, and what else the items have.
        codebook: `(K, D)` where the arrays are codes `(T, 1)` that stand for its rows, else None.
    """

    arrays: list[np.ndarray]
    files: list[str]
    file: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    labels: Mapping[str, Labels]
    skipped: Skipped
    codebook: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.file)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Frames of every token, `(N,)`."""
        return self.stop - self.start

    @property
    def width(self) -> int:
        """Size D of a frame."""
        return self.arrays[0].shape[1] if self.codebook is None else self.codebook.shape[1]

    def label(self, column: str) -> Labels:
        """A column of labels, or a `UserError` naming those there are."""
        if column not in self.labels:
            raise UserError(f"the items have no column {column!r}, only {', '.join(self.labels)}")
        return self.labels[column]

    def frames(self, tokens: np.ndarray) -> np.ndarray:
        """Frames of the given tokens, one token after the other, `(sum of their lengths, D)`."""
        spans = zip(self.file[tokens].tolist(), self.start[tokens].tolist(), self.stop[tokens].tolist(), strict=True)
        frames = np.concatenate([self.arrays[file][start:stop] for file, start, stop in spans])
        return frames if self.codebook is None else self.codebook[frames[:, 0]]


def make_dataset(
    items: Iterable[Item],
    features: Mapping[str, np.ndarray],
    frequency: str | float | None,
    *,
    frame_slice: FrameSlice = "exact",
    skip_missing: bool = False,
    codebook: np.ndarray | None = None,
    memory: int | None = None,
) -> Dataset:
    """Find the frames of every item.

    Args:
        items: what `textless.corpora.items.read_items` returns.
        features: `(T, D)` by file, of any float or integer type.
        frequency: frames a second; text or a number is taken as the decimal it prints as. None: the first column of
            the features is the time of each frame in seconds, and a token holds those from its onset to its offset.
        frame_slice: `exact`, or `librilight` for the frames that Libri-light took: see `frame_slices`. Tokens that it
            leaves empty are dropped and counted, as there.
        skip_missing: leave out, and count, tokens without features, without a frame, beyond their features' end, or
            with values that are not finite.
        codebook: `(K, D)` where the features are codes `(T, 1)` that stand for its rows.
        memory: bytes of features to hold at most; the others go to a temporary file.

    Raises:
        UserError: there are such tokens and `skip_missing` is false, no token is left, widths differ between files, or
            codes lie outside the codebook.
    """
    items = list(items)
    rate = None if frequency is None else parse_frequency(frequency)
    files = sorted({item.file for item in items})
    arrays, found = load_arrays(features, files, memory)
    if len(found) < len(files) and not skip_missing:
        _refuse_missing(files, found, next(iter(features), None))
    number = {file: index for index, file in enumerate(found)}
    kept = [item for item in items if item.file in number]
    file = np.array([number[item.file] for item in kept], dtype=np.int64)
    if rate is None:
        arrays, times = [array[:, 1:] for array in arrays], [_times(a, f) for a, f in zip(arrays, found, strict=True)]
        bounds = [frame_range_at(item.onset, item.offset, times[number[item.file]]) for item in kept]
        where = "by the times in their first column"
    else:
        bounds = [frame_range(item.onset, item.offset, rate, frame_slice) for item in kept]
        where = f"at {rate} Hz"
    start, stop = np.array(bounds, dtype=np.int64).reshape(-1, 2).T
    lengths = np.array([len(array) for array in arrays], dtype=np.int64)[file]
    if frame_slice == "librilight":
        stop = np.minimum(stop, lengths)
    empty, beyond = stop <= start, stop > lengths
    beyond &= ~empty
    broken = _not_finite(arrays, file, start, np.where(empty | beyond, start, stop))
    if not skip_missing:
        if frame_slice == "exact":
            _refuse(kept, empty, f"hold no frame {where}; is --frequency the frame rate of these features?")
        excess = np.where(beyond, stop - lengths, 0).max(initial=0)
        _refuse(
            kept,
            beyond,
            f"stick out of their features {where}, by up to {excess} frames; is --frequency the frame rate of these "
            "features?",
        )
        _refuse(kept, broken, "hold NaN or infinite values; extract the features again.")
    good = ~(empty | beyond | broken)
    skipped = Skipped(len(items) - len(kept), int(empty.sum()), int(beyond.sum()), int(broken.sum()))
    if not good.any():
        raise UserError(f"no token of {len(items)} can be used: {skipped}")
    if codebook is not None:
        _check_codes(arrays, found, len(codebook))
    kept = [item for item, usable in zip(kept, good, strict=True) if usable]
    return Dataset(arrays, found, file[good], start[good], stop[good], _labels(kept), skipped, codebook)


def _labels(items: Sequence[Item]) -> dict[str, Labels]:
    columns = {
        "phone": [item.phone for item in items],
        "context": [item.context for item in items],
        "prev-phone": [item.previous for item in items],
        "next-phone": [item.next for item in items],
        "speaker": [item.speaker for item in items],
    }
    for place, (name, _) in enumerate(items[0].extra):
        columns[name] = [item.extra[place][1] for item in items]
    return {name: Labels.of(values) for name, values in columns.items() if any(values)}


def _times(array: np.ndarray, file: str) -> np.ndarray:
    times = array[:, 0]
    if array.shape[1] < 2 or not is_finite(times) or (np.diff(times) < 0).any():
        raise UserError(f"features of {file!r} should begin with a column of times that never fall")
    return times


def _not_finite(arrays: Sequence[np.ndarray], file: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Whether a token holds a value that is not finite, `(N,)`."""
    broken = np.zeros(len(file), dtype=bool)
    for number in np.unique(file).tolist():
        if not is_finite(arrays[number]):
            bad = np.append(0, np.cumsum(~np.isfinite(arrays[number]).all(axis=1)))
            tokens = np.flatnonzero(file == number)
            broken[tokens] = bad[np.minimum(stop[tokens], len(bad) - 1)] > bad[np.minimum(start[tokens], len(bad) - 1)]
    return broken


def _check_codes(arrays: Sequence[np.ndarray], files: Sequence[str], k: int) -> None:
    for array, file in zip(arrays, files, strict=True):
        if array.dtype.kind not in "iu" or array.shape[1] != 1:
            raise UserError(f"units of {file!r} should be integers (T, 1), found {array.dtype} {array.shape}")
        if len(array) and not 0 <= array.min() <= array.max() < k:
            raise UserError(f"units of {file!r} lie in {array.min()}..{array.max()}, the codebook has {k} vectors")


def _refuse_missing(files: Sequence[str], found: Sequence[str], example: str | None) -> None:
    missing = sorted(set(files) - set(found))
    named = ", ".join(map(repr, missing[:NAMED])) + (", ..." if len(missing) > NAMED else "")
    raise UserError(
        f"{len(missing)} of the {len(files)} files that the items name have no features: {named} (there are features "
        f"for {'nothing' if example is None else repr(example)}); extract them, or use --skip-missing"
    )


def _refuse(items: Sequence[Item], bad: np.ndarray, what: str) -> None:
    if bad.any():
        first = [items[k] for k in np.flatnonzero(bad)[:NAMED]]
        named = ", ".join(f"{i.phone or 'a token'} of {i.file} from {i.onset} to {i.offset} s" for i in first)
        more = ", ..." if bad.sum() > NAMED else ""
        raise UserError(
            f"{int(bad.sum())} of {len(items)} tokens {what} --skip-missing leaves such tokens out; "
            f"they are {named}{more}"
        )
