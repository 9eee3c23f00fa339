"""Train by either method, or by the one that this machine is fit for."""

from collections.abc import Sequence
from pathlib import Path

from textless.distributed import select_device
from textless.progress import say
from unsup_asr.bootstrap import bootstrap
from unsup_asr.gan.config import GanConfig
from unsup_asr.gan.train import train as train_gan
from unsup_asr.train_config import AutoConfig, BootstrapConfig, load_train_config


def train(path: Path, overrides: Sequence[str], out: Path, *, device_name: str = "auto", force: bool = False) -> None:
    """Train what a TOML says in `out`, continuing a run that was stopped there.

    Raises:
        UserError: see the methods.
    """
    config = load_train_config(path, overrides)
    if isinstance(config, AutoConfig):
        on_gpu = select_device(device_name).type == "cuda"
        say("method auto: wav2vec-U, on a GPU" if on_gpu else "method auto: matching, as there is no GPU")
        config = config.gan if on_gpu else config.matching
    match config:
        case BootstrapConfig():
            bootstrap(config, out, device_name=device_name, force=force)
        case GanConfig():
            train_gan(config, out, device_name=device_name, force=force)
