"""Verbs that train speech encoders: `encoder pretrain`, `encoder hubert-iterate`."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import ConfigFile, Device, Force, Set


def pretrain(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(help="Encoder directory to write, and to continue in.")],
    *,
    set_: Set = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Train a speech encoder on raw audio; a stopped run continues where it was."""
    from textless.pipeline.pretraining import RunConfig, run_pretraining

    run_pretraining(RunConfig.load(config, set_ or ()), out, device=device, force=force)


def hubert_iterate(
    config: ConfigFile,
    out: Annotated[Path, typer.Argument(help="Folder of the iterations.")],
    *,
    set_: Set = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Alternate features, k-means and pretraining, as HuBERT is made; a stopped run continues where it was."""
    from textless.pipeline.pretraining import IterateConfig, iterate_hubert

    last = iterate_hubert(IterateConfig.load(config, set_ or ()), out, device=device, force=force)
    typer.echo(f"finished: {last}")
