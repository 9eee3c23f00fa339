"""TensorBoard on request; `metrics.jsonl` is always written, and stays the truth."""

from collections.abc import Mapping
from pathlib import Path

from textless.errors import UserError

FOLDER = "tensorboard"


class Board:
    """Event files in a run's own folder; what was logged after the step that a run resumes from is hidden.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, directory: Path, resumed_from: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("tensorboard = true needs TensorBoard: pip install 'textless[tracking]'") from error
        self._writer = SummaryWriter(directory / FOLDER, purge_step=resumed_from + 1)

    def add(self, step: int, metrics: Mapping[str, float]) -> None:
        """One point on every curve."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """Write out what is left."""
        self._writer.close()
