"""Configuration of the F0 quantizer and of its fitting. The defaults are the published ones (Polyak et al. 2021)."""

from pydantic import Field

from textless.config import Config
from textless.training.schedule import ScheduleConfig


class F0ModelConfig(Config):
    """Size of encoder and decoder. With 4 halvings pitch at 200 Hz becomes 12.5 codes a second: 54 bits."""

    codes: int = Field(default=20, ge=2)
    dimension: int = Field(default=128, ge=1)  # of a code's vector
    width: int = Field(default=32, ge=1)  # of the convolutions
    halvings: int = Field(default=4, ge=1)
    depth: int = Field(default=4, ge=1)  # residual layers after every halving
    dilation_growth: int = Field(default=3, ge=1)


class F0Config(Config):
    """Everything that determines a fit."""

    model: F0ModelConfig = F0ModelConfig()
    frame_rate: int = Field(default=200, ge=1)  # of the pitch that is read, in hertz
    decay: float = Field(default=0.99, gt=0, lt=1)  # of the codebook's moving averages
    commitment: float = 0.02  # weight of the distance between the encoder's output and its code
    lr: float = 1e-3
    schedule: ScheduleConfig = ScheduleConfig(plateau=0.5)
    steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=32, ge=1)
    segment_seconds: float = Field(default=2.56, gt=0)
    save_every: int = 500
    log_every: int = 100
    seed: int = 0
