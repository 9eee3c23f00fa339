"""Configuration of a pretraining run: encoder, objective, data, optimizer."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from textless.config import Config
from textless.encoders.cpc import CpcConfig
from textless.encoders.speech_transformer import SpeechTransformerConfig
from textless.pretraining.cpc import CpcObjectiveConfig
from textless.pretraining.data import CropConfig
from textless.pretraining.data2vec import Data2VecConfig
from textless.pretraining.hubert import HubertConfig
from textless.pretraining.wav2vec2 import Wav2Vec2Config
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
    objective: Annotated[
        HubertConfig | Wav2Vec2Config | CpcObjectiveConfig | Data2VecConfig, Field(discriminator="kind")
    ] = HubertConfig()
    encoder: SpeechTransformerConfig = SpeechTransformerConfig()  # of all objectives but cpc
    cpc: CpcConfig = CpcConfig()  # the encoder of objective.kind = "cpc"
    start: Path | None = None  # encoder directory whose weights training begins with (heads are made anew)
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(default=250_000, ge=1)
    precision: Precision = "auto"
    save_every: int = Field(default=1000, ge=0)  # steps; 0: only at the end
    log_every: int = Field(default=100, ge=0)
    evaluate_every: int = Field(default=0, ge=0)  # ABX and PNMI on a labelled set, where one is given
    tensorboard: bool = False  # event files besides metrics.jsonl
    seed: int = 0
