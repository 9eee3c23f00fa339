"""Learning-rate schedules as plain functions of the step: a multiplier in 0..1 of the peak rate."""

import math
from typing import Literal, Self

import torch
from pydantic import model_validator

from textless.config import Config

ScheduleName = Literal["constant", "linear", "cosine", "exponential", "inverse_sqrt", "wsd"]
WSD_PLATEAU = 0.8


class ScheduleConfig(Config):
    """Linear warm-up, then a plateau, then decay towards `final` at the last step.

    `inverse_sqrt` (Vaswani et al. 2017) falls as 1/√step from the end of the warm-up and ignores plateau and final.
    `exponential` falls by equal factors to `final`, which is then not 0: with a plateau, the three stages of wav2vec
    2.0's fine-tuning (Baevski et al. 2020).
    `wsd` is warm-up, stable, decay (Hu et al. 2024, "MiniCPM"), with the decay 1 − √progress that Hägele et al. (2024,
    "Scaling laws and compute-optimal training beyond fixed training durations") found best.
    """

    name: ScheduleName = "linear"
    warmup_steps: int = 100
    plateau: float = 0.0  # share of all steps, counted from the start, at which the decay begins; in wsd, 0 means 0.8
    final: float = 0.0

    @model_validator(mode="after")
    def _has_a_factor(self) -> Self:
        if self.name == "exponential" and self.final <= 0:
            raise ValueError("an exponential schedule needs final above 0")
        return self


def multiplier(config: ScheduleConfig, step: int, steps: int) -> float:
    """Share of the peak learning rate for the update that leads from `step` to `step + 1`, of `steps` in all."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    plateau = WSD_PLATEAU if config.name == "wsd" and not config.plateau else config.plateau
    begin = max(config.warmup_steps, round(plateau * steps))
    progress = min(1.0, max(0.0, (step - begin) / max(1, steps - begin)))
    match config.name:
        case "constant":
            return 1.0
        case "linear":
            return config.final + (1 - config.final) * (1 - progress)
        case "cosine":
            return config.final + (1 - config.final) * 0.5 * (1 + math.cos(math.pi * progress))
        case "exponential":
            return config.final**progress
        case "wsd":
            return config.final + (1 - config.final) * (1 - math.sqrt(progress))
        case "inverse_sqrt":
            return math.sqrt(max(1, config.warmup_steps) / (step + 1))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate
