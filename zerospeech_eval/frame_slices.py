"""Which frames a stretch of time holds.

Frame i of features at f Hz is centred at (i + ½) / f. A token from `onset` to `offset` holds the frames whose centres
lie within, both ends included: first = ceil(f · onset − ½), last = floor(f · offset − ½). Centres often fall exactly on
an onset (10 ms labels, 20 ms frames), so this is computed in decimal arithmetic on the text of the item file.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, InvalidOperation
from typing import Literal

import numpy as np

from textless.errors import UserError

FrameSlice = Literal["exact", "librilight"]

EXACT = Context(prec=200)  # more digits than any product of a time and a frequency has
HALF = Decimal("0.5")


def parse_frequency(frequency: str | float) -> Decimal:
    """Frames a second as an exact decimal."""
    try:
        rate = Decimal(str(frequency))
    except InvalidOperation as error:
        raise UserError(f"--frequency takes frames a second, for example 50 or 49.95, not {frequency!r}") from error
    if not rate.is_finite() or rate <= 0:
        raise UserError(f"--frequency should be positive, found {frequency}")
    return rate


def frame_range(onset: str, offset: str, rate: Decimal, frame_slice: FrameSlice) -> tuple[int, int]:
    """First frame and the one after the last.

    `librilight` is what Libri-light took and the ABX-LS leaderboard still takes: without the last frame, in float
    arithmetic, and cut to the features (by the caller, who knows their length).
    """
    match frame_slice:
        case "exact":
            first, last = (EXACT.subtract(EXACT.multiply(rate, Decimal(time)), HALF) for time in (onset, offset))
            return int(first.to_integral_value(ROUND_CEILING)), int(last.to_integral_value(ROUND_FLOOR)) + 1
        case "librilight":
            begin, end = float(rate) * float(onset), float(rate) * float(offset)
            return max(0, math.ceil(begin - 0.5)), math.floor(end - 0.5)
        case _:
            raise ValueError(f"unknown frame slice {frame_slice!r}")


def frame_range_at(onset: str, offset: str, times: np.ndarray) -> tuple[int, int]:
    """First frame and the one after the last of those with onset <= time <= offset; `times` `(T,)` never fall."""
    first, stop = np.searchsorted(times, float(onset), "left"), np.searchsorted(times, float(offset), "right")
    return int(first), int(stop)
