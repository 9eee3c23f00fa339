"""Quality as SQUIM estimates it without a reference (Kumar et al. 2023), through torchaudio: STOI, PESQ, SI-SDR.

The weights are torchaudio's own file `squim_objective_dns2020.pth`; nothing is downloaded here.
"""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from torchaudio.models import SquimObjective, squim_objective_base

from textless.errors import UserError
from textless.files import require

FILE_NAME = "squim_objective_dns2020.pth"
URL = f"https://download.pytorch.org/torchaudio/models/{FILE_NAME}"


@dataclass(frozen=True)
class Quality:
    """Estimates of one recording: intelligibility 0 to 1, PESQ 1 to 4.5, signal-to-distortion ratio in dB."""

    stoi: float
    pesq: float
    si_sdr: float


def cached_weights() -> Path | None:
    """Where torchaudio keeps the weights, if it has them."""
    path = Path(torch.hub.get_dir()) / "torchaudio" / "models" / FILE_NAME
    return path if path.is_file() else None


class Squim:
    """The estimator.

    Raises:
        UserError: the file does not hold its weights.
    """

    def __init__(self, weights: Path, device: torch.device) -> None:
        model: SquimObjective = squim_objective_base()
        try:
            model.load_state_dict(torch.load(require(weights, "SQUIM weights"), map_location="cpu", weights_only=True))
        except (RuntimeError, UnpicklingError, EOFError, AttributeError) as error:
            problem = " ".join(str(error).split())[:200]
            raise UserError(f"{weights} does not hold the weights of SQUIM, {FILE_NAME}: {problem}") from error
        self._model, self._device = model.eval().to(device), device

    @torch.inference_mode()
    def __call__(self, waveform: torch.Tensor) -> Quality:
        """Estimates of a waveform `(S,)` at 16 kHz."""
        return Quality(*(float(value) for value in self._model(waveform[None].to(self._device))))
