"""What training looks out for: the best weights so far, and numbers that are none."""

import math
from pathlib import Path
from typing import Any

import torch

from textless.errors import UserError


class Best:
    """The lowest validation bits so far, when, and how often since they were not reached; part of a run's state."""

    def __init__(self) -> None:
        self.step, self.bits, self.since = 0, math.inf, 0

    def improve(self, step: int, bits: float) -> bool:
        """Note a new value; whether it is the lowest."""
        if bits >= self.bits:
            self.since += 1
            return False
        self.step, self.bits, self.since = step, bits, 0
        return True

    def is_past(self, patience: int) -> bool:
        """Whether so many values in a row were no improvement; 0: never."""
        return 0 < patience <= self.since

    def state_dict(self) -> dict[str, Any]:
        """Everything."""
        return dict(vars(self))

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put it back."""
        vars(self).update(state_dict)


class Divergence:
    """Whether loss or gradient are finite, noted where they were computed: looking would make a GPU wait."""

    def __init__(self, device: torch.device) -> None:
        self._update = torch.zeros((), dtype=torch.long, device=device)  # the first that was not; 0: none
        self._rates: dict[int, float] = {}  # of the updates since the last look

    def note(self, update: int, rate: float, nats: torch.Tensor, norm: torch.Tensor) -> None:
        """Learning rate, loss and norm of the gradient of update `update`, counted from 1."""
        self._rates[update] = rate
        bad = ~(torch.isfinite(nats) & torch.isfinite(norm))
        self._update = torch.where((self._update == 0) & bad, update, self._update)

    def check(self, directory: Path, saved: int) -> None:
        """Stop a run that has diverged, before its weights are written anywhere.

        Raises:
            UserError: the update, its learning rate, and which step the run's directory still holds.
        """
        if update := int(self._update):
            kept = f"the checkpoint of step {saved} stays in {directory}" if saved else "no checkpoint was written yet"
            raise UserError(
                f"loss or gradient are not finite at step {update} (learning rate {self._rates[update]:.3g}); {kept}; "
                "train again with a lower optimizer.lr, a longer warm-up or precision=fp32"
            )
        self._rates.clear()
