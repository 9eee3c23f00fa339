"""Configuration of a speaker encoder and of its training."""

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from textless.config import Config
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig


class SpeakerEncoderConfig(Config):
    """Shape of the network."""

    width: int = Field(default=256, ge=1)  # channels of the blocks
    dilations: tuple[int, ...] = (1, 2, 3, 4)  # of the blocks, in frames of 20 ms
    pooled: int = Field(default=512, ge=1)  # channels whose statistics over time are taken
    attention: int = Field(default=128, ge=1)  # hidden units of the attention that weighs frames
    dim: int = Field(default=192, ge=1)  # of an embedding


def _one_or_more(value: Any) -> Any:  # noqa: ANN401
    return (value,) if isinstance(value, str | Path) else value


class DataConfig(Config):
    """Recordings of known speakers; a speaker named in several manifests is one."""

    manifest: Annotated[tuple[Path, ...], BeforeValidator(_one_or_more)]  # one, or a list of them
    valid_manifest: Path | None = None  # speakers to tell apart while training, better others than those trained on
    seconds: tuple[float, float] = (1.0, 3.0)  # shortest and longest crop; one length for a batch
    min_seconds: float = Field(default=0.3, ge=0.1)  # shorter recordings are left out
    speeds: tuple[float, ...] = (1.0,)  # a speaker at another speed is another speaker
    noise_db: tuple[float, float] = (5.0, 40.0)  # signal-to-noise ratio of the white noise added to half of the crops
    frequency_mask: int = Field(default=10, ge=0)  # widest band that is hidden, of 80
    time_mask: int = Field(default=20, ge=0)  # longest stretch that is hidden, in frames of 10 ms
    cache_gb: float = Field(default=4.0, ge=0)  # decoded recordings kept in memory, a process

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.seconds[0] <= self.seconds[1] or self.noise_db[0] > self.noise_db[1]:
            raise ValueError("seconds and noise_db are a lower and an upper end")
        if not self.speeds or min(self.speeds) <= 0:
            raise ValueError("speeds are positive numbers, 1.0 for the recording as it is")
        return self


class MarginConfig(Config):
    """Additive-margin softmax (Wang et al. 2018)."""

    scale: float = Field(default=30.0, gt=0)
    margin: float = Field(default=0.2, ge=0)
    warmup: float = Field(default=0.3, ge=0, le=1)  # share of the steps in which the margin grows from 0


class OptimizerConfig(Config):
    """AdamW; `lr` is the peak of the schedule."""

    lr: float = Field(default=2e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(default=0.05, ge=0)
    clip: float = Field(default=5.0, gt=0)
    schedule: ScheduleConfig = ScheduleConfig(warmup_steps=50)


class SpeakerTrainingConfig(Config):
    """One training run."""

    data: DataConfig
    model: SpeakerEncoderConfig = SpeakerEncoderConfig()
    loss: MarginConfig = MarginConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(default=800, ge=1)
    batch_size: int = Field(default=48, ge=2)  # crops of a step, over all processes
    precision: Precision = "auto"
    save_every: int = Field(default=200, ge=0)  # steps; 0: only at the end
    log_every: int = Field(default=20, ge=0)
    valid_every: int = Field(default=200, ge=0)
    tensorboard: bool = False  # event files besides metrics.jsonl
    seed: int = 0
