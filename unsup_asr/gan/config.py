"""Configuration of the networks and losses of wav2vec-U 1.0 and 2.0."""

from typing import Literal, Self

from pydantic import Field, model_validator

from textless.config import Config


class GeneratorConfig(Config):
    """The defaults are wav2vec-U 1.0's (Baevski et al. 2021); `GeneratorConfig.second` has those of 2.0."""

    kernel: int = Field(default=4, ge=1)
    stride: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    batch_norm: float = 0.0  # initial gain of a normalisation of the input; 0: none
    residual: bool = False  # a linear layer added to its own input
    auxiliary_targets: int = Field(default=0, ge=0)  # clusters that the residual branch predicts; 0: none

    @model_validator(mode="after")
    def _auxiliary_needs_a_branch(self) -> Self:
        if self.auxiliary_targets and not self.residual:
            raise ValueError("auxiliary_targets are predicted from the residual branch: set residual = true")
        return self

    @classmethod
    def second(cls) -> "GeneratorConfig":
        """wav2vec-U 2.0 (Liu et al. 2022): raw frames in, a third of them out."""
        return cls(kernel=9, stride=3, batch_norm=30.0, residual=True, auxiliary_targets=64)


class DiscriminatorConfig(Config):
    """Causal convolutions over distributions of phones; kernel 6 in 1.0, 8 in 2.0."""

    dim: int = Field(default=384, ge=1)
    kernel: int = Field(default=6, ge=1)
    hidden_layers: int = Field(default=1, ge=0)


class LossConfig(Config):
    """Weights, and whose definitions: the released code's or the paper's, which differ (see `losses.py`)."""

    semantics: Literal["code", "paper"] = "code"
    gradient_penalty: float = Field(default=1.5, ge=0)
    smoothness: float = Field(default=0.5, ge=0)
    diversity: float = Field(default=4.0, ge=0)
    auxiliary: float = Field(default=0.0, ge=0)

    @classmethod
    def second(cls) -> "LossConfig":
        """wav2vec-U 2.0's."""
        return cls(gradient_penalty=1.0, smoothness=1.5, diversity=3.0, auxiliary=0.5)
