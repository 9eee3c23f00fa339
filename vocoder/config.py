"""Configuration of a vocoder and of its training. The defaults are the recipe: minutes on two CPU cores."""

from pathlib import Path

from pydantic import Field, model_validator

from textless.audio.io import SAMPLE_RATE
from textless.config import Config
from textless.errors import UserError
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig


class DataConfig(Config):
    """Units and the recordings they were made from, matched by utterance id.

    A relative path in the TOML is relative to the TOML's own folder; one given with `--set` to the working directory.
    """

    units: Path
    manifest: Path
    valid_units: Path | None = None
    valid_manifest: Path | None = None  # default: the training manifest, which may list more than it trains on


class ModelConfig(Config):
    """Size of the generator and of the duration predictor."""

    width: int = Field(default=256, ge=8)
    hidden: int = Field(default=512, ge=8)
    dilations: tuple[int, ...] = (1, 2, 4)  # one block each; together they see ±7 frames
    residual_scale: float = 0.3  # initial value of the learned scale of every block
    upsample: int = Field(default=1, ge=1)  # frames of the generator a frame of units, for units slower than 50 Hz
    duration_width: int = Field(default=128, ge=8)
    duration_layers: int = Field(default=3, ge=1)


class LossConfig(Config):
    """Weights of the terms; see `losses.py`."""

    mel: float = 2.0
    stft: float = 0.3
    duration: float = 1.0
    fft_sizes: tuple[int, ...] = (1024, 512, 256)  # the log-mel term uses the first
    n_mels: int = 80


class VocoderSchedule(ScheduleConfig):
    """Short warm-up, flat to 40 % of the steps, then a straight line down to zero."""

    warmup_steps: int = 50
    plateau: float = 0.4


class OptimizerConfig(Config):
    """AdamW."""

    lr: float = 1.5e-3
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    clip: float = 5.0  # norm of the gradient
    schedule: VocoderSchedule = VocoderSchedule()


class AdversarialConfig(Config):
    """The second phase, with discriminators; off unless `start_step` says when it begins."""

    start_step: int | None = Field(default=None, ge=0)
    weight: float = 1.0
    feature_matching: float = 2.0
    lr: float = 5e-4
    channels: int = 32


class VocoderConfig(Config):
    """Everything that determines a training run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=8, ge=1)  # segments a step, over all processes
    segment_seconds: float = Field(default=1.28, gt=0)
    precision: Precision = "auto"
    memory_gb: float = 2.0  # recordings are kept in memory up to this size, beyond it read when needed
    save_every: int = 500
    log_every: int = 50
    valid_every: int = 500
    seed: int = 0

    @model_validator(mode="after")
    def _segments_hold_a_window(self) -> "VocoderConfig":
        if self.segment_seconds * SAMPLE_RATE < max(self.loss.fft_sizes):
            raise ValueError(f"segment_seconds = {self.segment_seconds} is shorter than the longest FFT of the loss")
        return self


def hop_length(frame_rate: float, upsample: int = 1) -> int:
    """Samples a frame of the generator.

    Raises:
        UserError: frames of this rate are not a whole, even number of samples at 16 kHz.
    """
    hop = SAMPLE_RATE / (frame_rate * upsample)
    if hop < 2 or abs(hop - round(hop)) > 1e-6 or round(hop) % 2:
        raise UserError(
            f"units at {frame_rate:g} Hz (upsampled {upsample}×) last {hop:g} samples a frame at {SAMPLE_RATE} Hz; the "
            "vocoder needs an even whole number: use units of another rate or set model.upsample"
        )
    return round(hop)
