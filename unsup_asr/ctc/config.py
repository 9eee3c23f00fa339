"""Configuration of a CTC recogniser: the network, its data, its optimizer and its training run."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from textless.config import Config
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig


class NetworkConfig(Config):
    """Shape; the defaults train in minutes on a CPU.

    Without blocks and convolutions there are a norm, a projection and the output layer: enough on an encoder that is
    trained along.
    """

    dim: int = Field(default=128, ge=8)
    strides: tuple[int, ...] = (1, 2)  # of each convolution; their product divides the frame rate
    kernel: int = Field(default=5, ge=1)  # odd
    blocks: int = Field(default=2, ge=0)  # of self-attention, after the convolutions
    heads: int = Field(default=4, ge=1)
    ffn: int = Field(default=512, ge=1)
    decoder_blocks: int = Field(default=0, ge=0)  # of the attention decoder; 0: CTC alone
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} should be an even multiple of heads {self.heads}")
        if self.kernel % 2 == 0 or any(not 1 <= stride <= self.kernel for stride in self.strides):
            raise ValueError(f"kernel {self.kernel} should be odd, and every stride of {self.strides} in 1..kernel")
        return self


class MaskConfig(Config):
    """What is hidden in training (SpecAugment, Park et al. 2019; the shares are those of wav2vec 2.0's fine-tuning)."""

    time: float = Field(default=0.25, ge=0, le=1)  # share of frames, if spans did not overlap
    time_span: int = Field(default=10, ge=1)
    channel: float = Field(default=0.1, ge=0, le=1)
    channel_span: int = Field(default=16, ge=1)


class TunedEncoderConfig(Config):
    """An encoder that is trained along, from waveforms; its front end never is."""

    finetune: bool = False
    spec: str = ""  # DIR:LAYER or a published model; what lies above the layer is left away
    freeze_steps: int = Field(default=0, ge=0)  # updates before the encoder moves, too
    dropout: float = Field(default=0.0, ge=0, lt=1)
    layer_drop: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _is_named(self) -> Self:
        if self.finetune and not self.spec:
            raise ValueError("finetune needs spec, the encoder to begin with")
        return self


class DataConfig(Config):
    """Speech and what is said in it.

    A relative path in the TOML is relative to the TOML's own folder; one given with `--set` to the working directory.
    """

    speech: Path  # feature store; with encoder.finetune, a manifest
    transcripts: Path  # phones.tsv
    labels: Literal["pseudo", "reference"] = "pseudo"  # whether a recogniser or a human wrote the transcripts
    text: Path | None = None  # folder of `asr prepare-text`: its phones, and the language model of selection
    valid_speech: Path | None = None  # default: some of the training utterances are held out
    valid_transcripts: Path | None = None
    held_out: float = Field(default=0.05, gt=0, lt=1)  # share of the utterances, where there is no valid_speech

    @model_validator(mode="after")
    def _validation_is_whole(self) -> Self:
        if (self.valid_speech is None) != (self.valid_transcripts is None):
            raise ValueError("valid_speech and valid_transcripts come together")
        return self


class OptimizerConfig(Config):
    """AdamW; `lr` is the peak of the schedule, and the decay of weights spares norms and biases."""

    lr: float = Field(default=2e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, ge=0)  # largest norm of the gradient; 0: none
    schedule: ScheduleConfig = ScheduleConfig(warmup_steps=150, plateau=0.4)


class CtcConfig(Config):
    """One training run."""

    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    mask: MaskConfig = MaskConfig()
    encoder: TunedEncoderConfig = TunedEncoderConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    ctc_weight: float = Field(default=0.3, ge=0, le=1)  # of the CTC loss beside the decoder's (Watanabe et al. 2017)
    smoothing: float = Field(default=0.1, ge=0, lt=1)  # of the decoder's targets
    steps: int = Field(default=1000, ge=1)
    batch_seconds: float = Field(default=60.0, gt=0)  # of an update, over all processes
    precision: Precision = "auto"
    tensorboard: bool = False
    save_every: int = Field(default=200, ge=0)  # steps; 0: only at the end
    log_every: int = Field(default=50, ge=0)
    valid_every: int = Field(default=100, ge=1)
    seed: int = 0


class RelabelConfig(Config):
    """How the transcripts are made that the next student learns: beam search with an n-gram model of `data.text`."""

    order: int = Field(default=4, ge=1)
    lm_weight: float = Field(default=0.5, ge=0)
    insertion: float = 0.5  # score of every phone
    beam: int = Field(default=50, ge=1)


class StudentConfig(CtcConfig):
    """Students one after the other, each of the transcripts of the one before."""

    rounds: int = Field(default=1, ge=1)
    relabel: RelabelConfig = RelabelConfig()

    @model_validator(mode="after")
    def _rounds_have_text(self) -> Self:
        if self.rounds > 1 and self.data.text is None:
            raise ValueError("rounds need data.text, prepared text, whose language model relabels the speech")
        if self.rounds > 1 and self.data.labels == "reference":
            raise ValueError("rounds are for pseudo labels: references are not to be relabelled")
        return self

    def of_round(self, transcripts: Path) -> CtcConfig:
        """What one student is trained with."""
        values = self.model_dump(exclude={"rounds", "relabel"})
        return CtcConfig.model_validate(values | {"data": values["data"] | {"transcripts": transcripts}})
