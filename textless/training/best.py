"""The best weights of a run so far."""

import math
from typing import Any


class Best:
    """The lowest value of a criterion so far, when, and how often since it was not reached; part of a run's state."""

    def __init__(self) -> None:
        self.step, self.value, self.since = 0, math.inf, 0

    def improve(self, step: int, value: float) -> bool:
        """Note a validation; whether it is the best. The first always is, even where the criterion is infinite."""
        if self.step and value >= self.value:
            self.since += 1
            return False
        self.step, self.value, self.since = step, value, 0
        return True

    def is_past(self, patience: int) -> bool:
        """Whether so many validations in a row were no improvement; 0: never."""
        return 0 < patience <= self.since

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return vars(self).copy()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put it back."""
        vars(self).update(state_dict)
