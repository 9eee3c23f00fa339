"""Statistics of a units file: how many codes are used, how evenly, and how many bits a second they carry.

| rate | symbols | bits of a symbol |
|---|---|---|
| `frame_bit_rate` | frames | entropy of a frame's unit; ZeroSpeech's bit rate (N / D) · H of one line a frame |
| `unit_bit_rate` | deduplicated units | entropy of a unit; ZeroSpeech's for one line a unit |
| `timed_bit_rate` | deduplicated units | joint entropy of a unit and its duration: enough to restore the frames |
| `frame_block_bit_rates`, `unit_block_bit_rates` | both | entropy given the n − 1 symbols before, n = 1, 2, ... |
"""

from dataclasses import dataclass

import numpy as np

from units.files import UnitsFile
from units.ngrams import NgramIds, conditional_entropies, entropy, held_out_perplexities
from units.runs import expand

ORDER = 3  # longest n-grams looked at
PERCENTILES = ("5", "50", "95")


@dataclass(frozen=True)
class UnitStatistics:
    """What `textless units stats` prints. Entropies are in bits."""

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
    timed_bit_rate: float  # entropy of unit and duration × units a second
    zerospeech_bit_rate: float  # of one line a frame
    frame_block_bit_rates: list[float]  # given 0, 1, ... frames before
    unit_block_bit_rates: list[float]  # given 0, 1, ... units before
    unit_ngram_perplexities: list[float]  # of held-out utterances
    duration_entropy: float  # of durations given nothing
    mean_duration: float  # seconds
    duration_percentiles: dict[str, float]  # seconds


def unit_statistics(file: UnitsFile, order: int = ORDER) -> UnitStatistics:
    """Compute the statistics; utterances without durations count one frame a unit."""
    k, rate = file.quantizer.k, file.quantizer.frame_rate
    utterances = [item for item in file.utterances if item.units]
    if not utterances:
        zeros = dict.fromkeys(PERCENTILES, 0.0)
        return UnitStatistics(len(file.utterances), 0, 0, 0, k, 0, 1, 0, 0, 0, 0, 0, 0, 0, [], [], [], 0, 0, zeros)
    lasting = [np.asarray(item.durations or np.ones(len(item.units)), dtype=np.int64) for item in utterances]
    durations = np.concatenate(lasting)
    ngrams = NgramIds([np.asarray(item.units) for item in utterances], k)
    framewise = NgramIds([expand(item.units, d) for item, d in zip(utterances, lasting, strict=True)], k)
    units, frames = ngrams.units, framewise.units
    seconds = len(frames) / rate
    per_frame, per_unit = np.bincount(frames, minlength=k), np.bincount(units, minlength=k)
    units_per_second = len(units) / seconds
    timed = np.unique(durations * k + units, return_counts=True)[1]
    return UnitStatistics(
        utterances=len(file.utterances),
        hours=seconds / 3600,
        frames=len(frames),
        units=len(units),
        k=k,
        used=int((per_unit > 0).sum()),
        perplexity=2 ** entropy(per_frame),
        frame_entropy=entropy(per_frame),
        frame_bit_rate=entropy(per_frame) * rate,
        unit_entropy=entropy(per_unit),
        units_per_second=units_per_second,
        unit_bit_rate=entropy(per_unit) * units_per_second,
        timed_bit_rate=entropy(timed) * units_per_second,
        zerospeech_bit_rate=entropy(per_frame) * rate,
        frame_block_bit_rates=[bits * rate for bits in conditional_entropies(framewise, order)],
        unit_block_bit_rates=[bits * units_per_second for bits in conditional_entropies(ngrams, order)],
        unit_ngram_perplexities=held_out_perplexities(ngrams, order),
        duration_entropy=entropy(np.bincount(durations)),
        mean_duration=float(durations.mean() / rate),
        duration_percentiles={name: float(np.percentile(durations, int(name)) / rate) for name in PERCENTILES},
    )
