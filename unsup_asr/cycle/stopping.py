"""When a cycle should not go on: which models are the best so far, by no label, and what shows that it has diverged."""

import math
from typing import Any

from unsup_asr.cycle.validation import Validation

DIVERGED = 2.0  # so many times the weighted perplexity of the start


class Best:
    """The best validation so far, and whether it is time to stop; part of the state of a run.

    Attributes:
        step: of the best.
        criterion: of the best.
        waited: validations since; None before the first.
        start: weighted perplexity of the models that the cycle began with.
        stopped: why it should not go on; empty while it should.
    """

    def __init__(self) -> None:
        self.step, self.criterion, self.start = 0, math.inf, math.inf
        self.waited: int | None = None
        self.stopped = ""

    def note(self, step: int, found: Validation, patience: int) -> bool:
        """Note a validation; whether it is the best. The first always is."""
        if self.waited is None or found.criterion < self.criterion:
            self.start = found.quality.weighted_perplexity if self.waited is None else self.start
            self.step, self.criterion, self.waited = step, found.criterion, 0
            return True
        self.waited += 1
        if found.quality.weighted_perplexity > DIVERGED * self.start:
            self.stopped = (
                f"it has diverged: the weighted perplexity is {found.quality.weighted_perplexity:.2f} after "
                f"{self.start:.2f}"
            )
        elif self.waited >= patience:
            self.stopped = f"{patience} validations were not better"
        return False

    def state_dict(self) -> dict[str, Any]:
        """All of it."""
        return vars(self).copy()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put it back."""
        vars(self).update(state_dict)
