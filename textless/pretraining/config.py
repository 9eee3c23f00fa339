"""Configuration of a pretraining run: encoder, objective, data, optimizer."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from textless.config import Config
from textless.encoders.speech_transformer import SpeechTransformerConfig
from textless.pretraining.data import CropConfig
from textless.pretraining.hubert import HubertConfig
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig


class DataConfig(CropConfig):
    """Manifest and labels; in a TOML file, relative to the folder of that file."""

    manifest: Path
    targets: tuple[Path, ...] = ()  # units files that predictive objectives are taught with


class OptimizerConfig(Config):
    """AdamW; `lr` is the peak of the schedule."""

    lr: float = Field(default=5e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, ge=0)  # largest norm of the whole gradient; 0: no clipping
    schedule: ScheduleConfig = ScheduleConfig()


class PretrainConfig(Config):
    """One pretraining run."""

    data: DataConfig
    objective: Annotated[HubertConfig, Field(discriminator="kind")] = HubertConfig()
    encoder: SpeechTransformerConfig = SpeechTransformerConfig()
    start: Path | None = None  # encoder directory whose weights training begins with
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(default=250_000, ge=1)
    precision: Precision = "auto"
    save_every: int = Field(default=1000, ge=0)  # steps; 0: only at the end
    log_every: int = Field(default=100, ge=0)
    evaluate_every: int = Field(default=0, ge=0)  # ABX and PNMI on a labelled set, where one is given
    seed: int = 0
