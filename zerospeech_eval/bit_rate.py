"""Bit rate of a code, as the ZeroSpeech challenges of 2019 and 2020 define it: (N / D) · H.

N symbols are sent in D seconds, and a symbol takes H = -Σ p log₂ p bits, p being its share of the N. A symbol is a line
of an embedding file, distinct where its numbers are. Repetition costs nothing less: run lengths are not coded.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from textless.errors import UserError
from textless.files import require
from units.files import UnitsFile
from units.runs import expand
from zerospeech_eval.names import find_ids, listed


@dataclass(frozen=True)
class BitRate:
    """Bits a second, and what they are of."""

    symbols: Mapping[Hashable, int]  # how often each distinct one is sent
    seconds: float
    n_files: int
    n_skipped: int

    @property
    def n_symbols(self) -> int:
        """All symbols sent."""
        return sum(self.symbols.values())

    @property
    def entropy(self) -> float:
        """Bits a symbol; 0 for a constant stream."""
        total = self.n_symbols
        return -sum(n / total * math.log2(n / total) for n in self.symbols.values()) + 0.0

    @property
    def value(self) -> float:
        """Bits a second."""
        return self.n_symbols / self.seconds * self.entropy

    def summary(self) -> dict[str, float | int]:
        """Everything but the symbols."""
        return {
            "bits_per_second": self.value,
            "bits_per_symbol": self.entropy,
            "symbols": self.n_symbols,
            "distinct_symbols": len(self.symbols),
            "seconds": self.seconds,
            "files": self.n_files,
            "skipped_files": self.n_skipped,
        }


def read_filelist(path: Path) -> dict[str, float]:
    """Seconds by name, without extension, of a list of `name seconds` lines.

    Raises:
        UserError: naming the line that is malformed.
    """
    seconds: dict[str, float] = {}
    for number, line in enumerate(require(path, "file list").read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        cells = line.rsplit(maxsplit=1)
        try:
            name, duration = cells[0], float(cells[1])
        except (IndexError, ValueError) as error:
            raise UserError(f"{path}:{number} should be `name seconds`, found {line[:80]!r}") from error
        if not 0 < duration < math.inf:
            raise UserError(f"{path}:{number}: {name!r} should last more than 0 s, found {cells[1]}")
        seconds[PurePosixPath(name).with_suffix("").as_posix()] = duration
    if not seconds:
        raise UserError(f"{path} lists nothing")
    return seconds


def bit_rate_of_features(
    features: Mapping[str, np.ndarray], seconds: Mapping[str, float], *, skip_missing: bool = False
) -> BitRate:
    """Bit rate of embeddings.

    Args:
        features: `(T, D)` numbers by file; of integers as well as of any float type.
        seconds: duration by file, see `read_filelist`; only these files count.
        skip_missing: leave out, and count, files without embeddings, neither their lines nor their seconds counting.

    Raises:
        UserError: embeddings are missing, hold NaN, or have several widths.
    """
    ids = find_ids(features, list(seconds))
    _refuse_missing([name for name, found in zip(seconds, ids, strict=True) if found is None], skip=skip_missing)
    found = {name: features[file] for name, file in zip(seconds, ids, strict=True) if file is not None}
    symbols: Counter[Hashable] = Counter()
    width = None
    for name, array in found.items():
        if np.isnan(array).any():
            raise UserError(f"embeddings of {name!r} hold NaN")
        width = width or array.shape[1]
        if array.shape[1] != width:
            raise UserError(f"embeddings of {name!r} have {array.shape[1]} columns, those before {width}")
        symbols.update(row.tobytes() for row in array.astype(np.float64) + 0.0)  # -0.0 is 0.0
    return _bit_rate(symbols, [seconds[name] for name in found], len(seconds) - len(found))


def bit_rate_of_units(
    units: UnitsFile, seconds: Mapping[str, float] | None = None, *, frames: bool = False, skip_missing: bool = False
) -> BitRate:
    """Bit rate of units.

    Args:
        units: deduplicated units; a run is one symbol.
        seconds: duration by utterance, of which only these count; none: all, and their frames by the frame rate.
        frames: a symbol for every frame instead.
        skip_missing: leave out, and count, files without units.

    Raises:
        UserError: units are missing, or durations that are needed.
    """
    by_id = {item.id: item for item in units.utterances}
    if (frames or seconds is None) and any(item.durations is None for item in units.utterances):
        raise UserError("these units have no durations: give a list of files, and leave out --frames")
    if seconds is None:
        seconds = {item.id: item.n_frames / units.quantizer.frame_rate for item in units.utterances}
    ids = find_ids(by_id, list(seconds))
    _refuse_missing([name for name, found in zip(seconds, ids, strict=True) if found is None], skip=skip_missing)
    found = {name: by_id[file] for name, file in zip(seconds, ids, strict=True) if file is not None}
    symbols: Counter[Hashable] = Counter()
    for item in found.values():
        symbols.update(expand(item.units, item.durations or []).tolist() if frames else item.units)
    return _bit_rate(symbols, [seconds[name] for name in found], len(seconds) - len(found))


def _refuse_missing(missing: list[str], *, skip: bool) -> None:
    if missing and not skip:
        raise UserError(
            f"{len(missing)} files of the list are missing: {listed(missing)}; make them, or use --skip-missing"
        )


def _bit_rate(symbols: Mapping[Hashable, int], seconds: Iterable[float], n_skipped: int) -> BitRate:
    durations = list(seconds)
    if not durations or not symbols:
        raise UserError("no file of the list has symbols")
    return BitRate(symbols, math.fsum(durations), len(durations), n_skipped)
