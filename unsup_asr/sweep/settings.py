"""What a sweep has to know of the configuration that it varies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textless.errors import UserError
from unsup_asr.gan.config import GanConfig
from unsup_asr.train_config import AutoConfig, BootstrapConfig, load_train_config


@dataclass(frozen=True)
class Swept:
    """Of a configuration of either method.

    Attributes:
        text: prepared text, by which runs are chosen.
        updates: that a run takes; None where runs are of no fixed length, and not given up.
        gan: the configuration, if it is of the adversarial method.
    """

    text: Path
    updates: int | None
    gan: GanConfig | None


def read_swept(config: Path, settings: Sequence[str]) -> Swept:
    """Read a TOML with what all runs set beside it.

    Raises:
        UserError: it is no configuration of `textless asr train`, or leaves the method open.
    """
    read = load_train_config(config, settings)
    match read:
        case GanConfig():
            return Swept(read.data.text, read.updates, read)
        case BootstrapConfig():
            return Swept(read.data.text, None, None)
        case AutoConfig():
            raise UserError(f'{config} leaves the method open; a sweep is of one: method = "gan" or "matching"')
