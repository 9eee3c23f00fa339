"""Statistics of a units file: how many codes are used, how evenly, and how many bits a second they carry."""

from dataclasses import dataclass

import numpy as np

from units.files import UnitsFile


@dataclass(frozen=True)
class UnitStatistics:
    """What `textless units stats` prints. Entropies are of single units (order 0), in bits."""

    utterances: int
    hours: float
    frames: int
    units: int  # deduplicated
    k: int
    used: int  # codes that occur
    perplexity: float  # 2 ** entropy of the units at frame rate
    frame_entropy: float
    frame_bit_rate: float  # frame entropy × frame rate
    unit_entropy: float
    units_per_second: float
    unit_bit_rate: float  # unit entropy × units a second; durations cost extra
    duration_entropy: float  # of durations given nothing
    mean_duration: float  # seconds
    duration_percentiles: dict[str, float]  # seconds


def entropy(counts: np.ndarray) -> float:
    """Entropy in bits of the distribution proportional to `counts`."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum())


def unit_statistics(file: UnitsFile) -> UnitStatistics:
    """Compute the statistics; utterances without durations count one frame a unit."""
    k, rate = file.quantizer.k, file.quantizer.frame_rate
    utterances = [item for item in file.utterances if item.units]
    if not utterances:
        zeros = dict.fromkeys(("5", "50", "95"), 0.0)
        return UnitStatistics(len(file.utterances), 0, 0, 0, k, 0, 1, 0, 0, 0, 0, 0, 0, 0, zeros)
    units = np.concatenate([item.units for item in utterances]).astype(np.int64)
    durations = np.concatenate([item.durations or np.ones(len(item.units)) for item in utterances]).astype(np.int64)
    seconds = durations.sum() / rate
    per_frame = np.bincount(units, weights=durations, minlength=k)
    per_unit = np.bincount(units, minlength=k)
    percentiles = np.percentile(durations / rate, [5, 50, 95])
    return UnitStatistics(
        utterances=len(file.utterances),
        hours=seconds / 3600,
        frames=int(durations.sum()),
        units=len(units),
        k=k,
        used=int((per_unit > 0).sum()),
        perplexity=2 ** entropy(per_frame),
        frame_entropy=entropy(per_frame),
        frame_bit_rate=entropy(per_frame) * rate,
        unit_entropy=entropy(per_unit),
        units_per_second=len(units) / seconds,
        unit_bit_rate=entropy(per_unit) * len(units) / seconds,
        duration_entropy=entropy(np.bincount(durations)),
        mean_duration=float(durations.mean() / rate),
        duration_percentiles={name: float(v) for name, v in zip(("5", "50", "95"), percentiles, strict=True)},
    )
