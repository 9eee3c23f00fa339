"""Configuration of a unit LM: the network, its data, its optimizer and its training run."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from textless.config import Config
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig


class ModelConfig(Config):
    """Size of the Transformer; the defaults train in minutes on a CPU.

    GSLM's unit LM (Lakhotia et al. 2021) is dim 1024, 12 layers, 16 heads, ffn 4096.
    """

    dim: int = Field(default=192, ge=2)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=3, ge=1)
    ffn: int = Field(default=768, ge=1)
    lookback: int = Field(default=3, ge=0)  # tokens before each that are embedded with it; 0: the plain Transformer
    ngram_rows: int = Field(default=16384, ge=0)  # of each table of embedded n-grams; 0: none
    noise: float = Field(default=0.1, ge=0.0, lt=1.0)  # share of the units read in training replaced by random ones
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    tied: bool = True  # one matrix for the embedding and the output layer

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} should be an even multiple of heads {self.heads}")
        return self


class DataConfig(Config):
    """Units files; in a TOML file, relative to the folder of that file; on the command line, to the current one."""

    train: Path
    valid: Path | None = None


class OptimizerConfig(Config):
    """AdamW; `lr` is the peak of the schedule, and the weight decay spares norms."""

    lr: float = Field(default=4e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, ge=0)  # largest norm of the whole gradient; 0: no clipping
    schedule: ScheduleConfig = ScheduleConfig()


class TrainConfig(Config):
    """One training run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(default=1000, ge=1)
    batch_tokens: int = Field(default=1024, ge=1)  # of an update, over all processes
    micro_batch_tokens: int = Field(default=0, ge=0)  # through the network at once, on a process; 0: its whole share
    context: int = Field(default=256, ge=4)
    precision: Precision = "auto"
    keep: Literal["best", "last"] = "best"  # which weights model.safetensors holds; best: on the validation set
    save_every: int = Field(default=200, ge=0)  # steps; 0: only at the end
    log_every: int = Field(default=50, ge=0)
    valid_every: int = Field(default=200, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _batch_holds_a_row(self) -> Self:
        if self.batch_tokens < self.context:
            raise ValueError(f"batch_tokens {self.batch_tokens} should be at least context {self.context}")
        return self
