"""Weights of the terms: as configured, or such that what falls slowly counts more (dynamic weight averaging)."""

import math
from typing import Any

from unsup_asr.cycle.config import WeightingConfig


class Weighting:
    """Factors of the configured weights; part of the state of a run.

    Dynamic: the factor of term k is K exp(r_k / τ) / Σ exp(r_j / τ), r_k the ratio of its two latest mean values (Liu
    et al. 2019, "End-to-end multi-task learning with attention", equation 7), where both are positive.
    """

    def __init__(self, config: WeightingConfig) -> None:
        self.config = config
        self.before: dict[str, float] = {}
        self.latest: dict[str, float] = {}

    def note(self, values: dict[str, float]) -> None:
        """Mean values of the terms over the updates since the last time."""
        self.before, self.latest = self.latest, values

    def factors(self, names: list[str]) -> dict[str, float]:
        """Of the terms; they sum to the number of terms."""
        if self.config.kind == "fixed" or not self.before:
            return dict.fromkeys(names, 1.0)
        ratios = {name: self._ratio(name) for name in names}
        powers = {name: math.exp(ratio / self.config.temperature) for name, ratio in ratios.items()}
        scale = len(names) / sum(powers.values())
        return {name: scale * power for name, power in powers.items()}

    def _ratio(self, name: str) -> float:
        before, latest = self.before.get(name, 0.0), self.latest.get(name, 0.0)
        return min(latest / before, 10.0) if before > 0 and latest > 0 else 1.0

    def state_dict(self) -> dict[str, Any]:
        """Values of the last two times."""
        return {"before": self.before, "latest": self.latest}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put them back."""
        self.before, self.latest = state_dict["before"], state_dict["latest"]
