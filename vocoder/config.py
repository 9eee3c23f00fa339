"""Configuration of a vocoder and of its training. The defaults are the recipe: minutes on two CPU cores."""

from pathlib import Path
from typing import Literal

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
    pitch: Path | None = None  # store of `units prosody pitch`; without one, pitch is tracked when training begins
    valid_pitch: Path | None = None  # default: that of the training recordings
    f0_quantizer: Path | None = None  # of `vocoder fit-f0`, for model.pitch = "bins"; default: the units' stream `f0`
    embeddings: Path | None = None  # of `speaker embed`, for model.speaker = "embedding"


class HifiganConfig(Config):
    """Shape of the unit HiFi-GAN; the defaults are the published one (V1, 50 Hz units), see `hifigan.py`."""

    embedding: int = Field(default=128, ge=1)  # of units, bins of pitch, speakers and styles, each
    channels: int = Field(default=512, ge=2)  # of the first layer, halved by every upsampling
    rates: tuple[int, ...] = (5, 4, 4, 2, 2)  # upsampling; the product is the hop
    kernels: tuple[int, ...] = (11, 8, 8, 4, 4)  # of the upsampling
    block_kernels: tuple[int, ...] = (3, 7, 11)  # one residual block each after every upsampling, averaged
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    pitch_channels: int = Field(default=2, ge=1, le=2)  # of raw pitch: log F0 and voicing, or log F0 alone

    @model_validator(mode="after")
    def _shapes_fit(self) -> "HifiganConfig":
        if len(self.rates) != len(self.kernels) or len(self.block_kernels) != len(self.block_dilations):
            raise ValueError("rates and kernels, block_kernels and block_dilations come in pairs")
        if any(kernel < rate or (kernel - rate) % 2 for rate, kernel in zip(self.rates, self.kernels, strict=True)):
            raise ValueError(f"kernels {self.kernels} should exceed the rates {self.rates} by even numbers")
        if any(kernel % 2 == 0 for kernel in self.block_kernels):
            raise ValueError(f"block_kernels {self.block_kernels} should be odd")
        if self.channels % 2 ** len(self.rates):
            raise ValueError(f"channels = {self.channels} cannot be halved {len(self.rates)} times")
        return self


class ModelConfig(Config):
    """Kind and size of the generator and of the predictors, and what the generator is told beside units."""

    kind: Literal["istft", "hifigan"] = "istft"
    # What the generator is told; see `frames.Frames` and `voices.Voices`.
    pitch: Literal["none", "raw", "bins"] = "none"
    n_pitch_bins: int = Field(default=0, ge=0)  # values of `pitch = "bins"`, that of unvoiced frames included
    speaker: Literal["table", "embedding", "none"] = "table"  # "none": a single voice
    speaker_size: int = Field(default=192, ge=1)  # of an embedding
    n_styles: int = Field(default=0, ge=0)
    upsample: int = Field(default=1, ge=1)  # frames of the generator a frame of units, for units slower than 50 Hz
    # kind = "istft"
    width: int = Field(default=256, ge=8)
    hidden: int = Field(default=512, ge=8)
    dilations: tuple[int, ...] = (1, 2, 4)  # one block each; together they see ±7 frames
    residual_scale: float = 0.3  # initial value of the learned scale of every block
    # kind = "hifigan"
    hifigan: HifiganConfig = HifiganConfig()
    # "variance": the predictor of imported models; "none": they had no predictor
    duration: Literal["residual", "variance", "none"] = "residual"
    duration_width: int = Field(default=128, ge=8)
    duration_layers: int = Field(default=3, ge=1)
    # For models with pitch: predicts it for units that come without.
    pitch_predictor: bool = True
    pitch_width: int = Field(default=128, ge=8)
    pitch_dilations: tuple[int, ...] = (1, 2, 4, 8)

    @model_validator(mode="after")
    def _bins_are_counted(self) -> "ModelConfig":
        if (self.pitch == "bins") != (self.n_pitch_bins > 0):
            raise ValueError(f'n_pitch_bins = {self.n_pitch_bins} does not go with pitch = "{self.pitch}"')
        return self


class LossConfig(Config):
    """Weights of the terms; see `losses.py`."""

    mel: float = 2.0
    stft: float = 0.3
    duration: float = 1.0
    pitch: float = 1.0
    fft_sizes: tuple[int, ...] = Field(default=(1024, 512, 256), min_length=1)  # the log-mel term uses the first
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
    clip: float = Field(default=5.0, ge=0)  # norm of the gradient; 0: not clipped
    # Multiplies the schedule once an epoch, as in HiFi-GAN, whose epochs show one segment of every recording.
    epoch_decay: float = Field(default=1.0, gt=0, le=1)
    schedule: VocoderSchedule = VocoderSchedule()


class AdversarialConfig(Config):
    """The second phase, with discriminators; off unless `start_step` says when it begins.

    The weights are of sums over discriminators and their layers. The defaults suit "spectrogram", which has 3 of 4
    layers; those of HiFi-GAN are 1 and 2.
    """

    kind: Literal["spectrogram", "hifigan"] = "spectrogram"
    start_step: int | None = Field(default=None, ge=0)
    weight: float = 1 / 3
    feature_matching: float = 1 / 6
    lr: float = 5e-4
    channels: int = Field(default=32, ge=4, multiple_of=4)  # of the first layers


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
    tensorboard: bool = False
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
