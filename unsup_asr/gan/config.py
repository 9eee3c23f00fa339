"""Configuration of wav2vec-U 1.0 and 2.0: networks, losses, training."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from textless.config import Config
from textless.training.precision import Precision


class GeneratorConfig(Config):
    """The defaults are wav2vec-U 1.0's (Baevski et al. 2021); `GeneratorConfig.second` has those of 2.0."""

    kernel: int = Field(default=4, ge=1)
    stride: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    initial_scale: float = Field(default=1.0, gt=0)  # of the random weights: with little, all phones are alike at first
    batch_norm: float = 0.0  # initial gain of a normalisation of the input; 0: none
    residual: bool = False  # a linear layer added to its own input
    auxiliary: int = Field(default=0, ge=0)  # clusters that are told from the residual branch; 0: none

    @model_validator(mode="after")
    def _has_a_branch(self) -> Self:
        if self.auxiliary and not self.residual:
            raise ValueError("generator.auxiliary tells clusters from the residual branch: set generator.residual too")
        return self

    @classmethod
    def second(cls) -> "GeneratorConfig":
        """wav2vec-U 2.0 (Liu et al. 2022): raw frames in, a third of them out."""
        return cls(kernel=9, stride=3, batch_norm=30.0, residual=True, auxiliary=64)


class DiscriminatorConfig(Config):
    """Causal convolutions over distributions of phones; kernel 6 in 1.0, 8 in 2.0."""

    dim: int = Field(default=384, ge=1)
    kernel: int = Field(default=6, ge=1)
    hidden_layers: int = Field(default=1, ge=1)


class LossConfig(Config):
    """Weights, and whose definitions: the released code's or the paper's, which differ (see `losses.py`)."""

    semantics: Literal["code", "paper"] = "code"
    penalty_semantics: Literal["code", "paper"] | None = None  # of the gradient penalty alone; None: as the others
    gradient_penalty: float = Field(default=1.5, ge=0)
    smoothness: float = Field(default=0.5, ge=0)
    diversity: float = Field(default=4.0, ge=0)
    auxiliary: float = Field(default=0.0, ge=0)

    @classmethod
    def second(cls) -> "LossConfig":
        """wav2vec-U 2.0's."""
        return cls(gradient_penalty=1.0, smoothness=1.5, diversity=3.0, auxiliary=0.5)


class DataConfig(Config):
    """What is trained on, prepared by `textless asr prepare`.

    A relative path in the TOML is relative to the TOML's own folder; one given with `--set` to the working directory.
    """

    speech: Path  # prepared speech (1.0), or a feature store, whose frames are read as they are (2.0)
    text: Path
    valid_speech: Path | None = None  # default: the training speech, of which nothing is known either
    auxiliary: Path | None = None  # clusters of the frames, for loss.auxiliary
    pool: int = Field(default=2, ge=1)  # neighbouring segments that become one (1.0: 2; 2.0, on frames: 1)
    crop: int | None = Field(default=None, ge=8)  # longest sequences of phones, cut at random; None: whole ones
    silence: bool = True  # keep the silences of the text
    join_text: bool = False  # equal neighbours in text become one, as they do in what is generated


class OptimizerConfig(Config):
    """Adam with a fixed rate."""

    lr: float = Field(gt=0)
    betas: tuple[float, float] = (0.5, 0.98)
    eps: float = 1e-6
    weight_decay: float = 0.0


class GanConfig(Config):
    """One run of training; the defaults are those of wav2vec-U 1.0's released configuration."""

    method: Literal["gan"] = "gan"
    data: DataConfig
    generator: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    loss: LossConfig = LossConfig()
    instance_noise: float = Field(default=0.0, ge=0)  # deviation, in all that the discriminator sees (see `losses.py`)
    instance_noise_updates: int | None = Field(default=None, ge=1)  # falls to 0 until then; None: it stays
    initial: Literal["random", "matching"] = "random"  # the generator, or what skip-gram matching found of segments
    generator_optimizer: OptimizerConfig = OptimizerConfig(lr=4e-4)
    discriminator_optimizer: OptimizerConfig = OptimizerConfig(lr=5e-4, weight_decay=1e-4)
    clip: float = Field(default=5.0, gt=0)  # norm of the gradient
    updates: int = Field(default=150_000, ge=2)  # of both networks together, in turns
    batch_size: int = Field(default=160, ge=1)
    penalty_every: int = Field(default=1, ge=1)  # of the discriminator's updates, with so many times the weight
    precision: Precision = "fp32"
    save_every: int = Field(default=1000, ge=0)
    log_every: int = Field(default=200, ge=0)
    valid_every: int = Field(default=1000, ge=1)
    tensorboard: bool = False
    seed: int = 0

    def noise_at(self, update: int) -> float:
        """Deviation of the instance noise."""
        if self.instance_noise_updates is None:
            return self.instance_noise
        return self.instance_noise * max(0.0, 1 - update / self.instance_noise_updates)

    @model_validator(mode="after")
    def _has_clusters(self) -> Self:
        if self.loss.auxiliary and not (self.generator.auxiliary and self.data.auxiliary):
            raise ValueError("loss.auxiliary needs a head (generator.auxiliary) and clusters (data.auxiliary)")
        return self
