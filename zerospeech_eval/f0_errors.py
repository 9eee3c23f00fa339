"""Pitch of a resynthesis against the original's, frame by frame.

With N frames, of which N_vv are voiced in both, N_e of these wrong by more than 20 %, N_vu voiced in the original alone
and N_uv in the resynthesis alone (Nakatani et al. 2008; Chu & Alwan 2009):

    gross pitch error      GPE = N_e / N_vv
    voicing decision error VDE = (N_vu + N_uv) / N
    F0 frame error         FFE = (N_vu + N_uv + N_e) / N

The root mean square errors, in hertz and in cents (1200 log₂ of the ratio), and the share within a semitone are over
all N_vv frames, gross errors among them.
"""

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np

GROSS = 0.2
SEMITONE = 100.0  # cents


@dataclass(frozen=True)
class F0Errors:
    """Sums over frames, which add up over recordings; rates are None where nothing counts towards them."""

    frames: int
    both_voiced: int
    lost_voicing: int  # voiced in the original alone
    false_voicing: int  # voiced in the resynthesis alone
    gross: int
    within_semitone: int
    squared_hertz: float
    squared_cents: float

    @property
    def gpe(self) -> float | None:
        """Gross pitch error, 0 to 1."""
        return _ratio(self.gross, self.both_voiced)

    @property
    def vde(self) -> float | None:
        """Voicing decision error, 0 to 1."""
        return _ratio(self.lost_voicing + self.false_voicing, self.frames)

    @property
    def ffe(self) -> float | None:
        """F0 frame error, 0 to 1."""
        return _ratio(self.lost_voicing + self.false_voicing + self.gross, self.frames)

    @property
    def semitone_share(self) -> float | None:
        """Share of the frames voiced in both that are within a semitone, 0 to 1."""
        return _ratio(self.within_semitone, self.both_voiced)

    @property
    def rmse_hertz(self) -> float | None:
        """Root mean square error, in hertz."""
        return _root(_ratio(self.squared_hertz, self.both_voiced))

    @property
    def rmse_cents(self) -> float | None:
        """Root mean square error, in cents."""
        return _root(_ratio(self.squared_cents, self.both_voiced))


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _root(value: float | None) -> float | None:
    return None if value is None else value**0.5


def f0_errors(original: np.ndarray, resynthesis: np.ndarray) -> F0Errors:
    """Compare pitches `(T,)` in hertz of frames beside each other, 0 where unvoiced."""
    voiced, heard = original > 0, resynthesis > 0
    both = voiced & heard
    before, after = original[both].astype(np.float64), resynthesis[both].astype(np.float64)
    cents = 1200 * np.log2(after / before)
    return F0Errors(
        frames=len(original),
        both_voiced=int(both.sum()),
        lost_voicing=int((voiced & ~heard).sum()),
        false_voicing=int((heard & ~voiced).sum()),
        gross=int((np.abs(after / before - 1) > GROSS).sum()),
        within_semitone=int((np.abs(cents) <= SEMITONE).sum()),
        squared_hertz=float(np.square(after - before).sum()),
        squared_cents=float(np.square(cents).sum()),
    )


def add(errors: Iterable[F0Errors]) -> F0Errors:
    """Sums over recordings."""
    return F0Errors(*map(sum, zip(*map(astuple, errors), strict=True)))
