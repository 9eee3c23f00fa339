"""Whether a training has numbers that are none."""

from pathlib import Path

import torch

from textless.errors import UserError


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
