"""`textless asr train`: a recogniser of phones from speech and text that do not belong together."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import ConfigFile, Device, Force, Set


def train(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run and of the model.")],
    overrides: Set = None,
    device: Device = "auto",
    *,
    force: Force = False,
) -> None:
    """Train a recogniser without labels; a stopped run continues.

    `method` in CONFIG.toml is "matching" (statistics and self-training: minutes on a CPU), "gan" (wav2vec-U) or "auto".
    """
    from unsup_asr.train import train as run

    run(config, overrides or [], out, device_name=device, force=force)
