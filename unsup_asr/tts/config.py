"""Configuration of a synthesizer: network, data, training."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from textless.config import Config
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig

Target = Literal["units", "frames", "states"]
Speaker = Literal["none", "table", "embedding", "mean"]


class NetworkConfig(Config):
    """Convolutions over phones, then over frames; the defaults are for an hour of speech on a CPU."""

    width: int = Field(default=192, ge=2)
    encoder_layers: int = Field(default=3, ge=0)
    decoder_layers: int = Field(default=4, ge=0)
    kernel: int = Field(default=5, ge=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    speaker: Speaker = "none"  # mean: the mean frame of the utterance itself, which needs no speaker encoder

    @model_validator(mode="after")
    def _kernel_is_odd(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel should be odd, so that a phone is in the middle of what it sees: {self.kernel}")
        return self


class DataConfig(Config):
    """Speech and what is said in it.

    A relative path in the TOML is relative to the TOML's own folder; one given with `--set` to the working directory.

    Attributes:
        target: what is made of phones: units of a quantizer (any vocoder of that quantizer speaks them), frames of an
            encoder (log-mel or any other feature store), or the states of a recogniser (Hori et al. 2019, TTE).
        speech: units file with durations for units; feature store for frames and states.
        transcripts: phones.tsv; utterances without one are left out.
        labels: whether a recogniser or a human wrote them.
        recognizer: directory of the CTC recogniser whose states are made.
        manifest: names the speakers of a table.
        embeddings: file of `textless speaker embed`, by utterance or by speaker (with a manifest).
        alignment: alignments.tsv, a reference, too; without one the synthesizer aligns phones itself as it learns.
        aligner: directory of a recogniser that aligns instead; for units it needs `aligner_speech`.
        aligner_speech: feature store that the aligner reads (None: `speech`).
    """

    target: Target = "frames"
    speech: Path
    transcripts: Path
    labels: Literal["pseudo", "reference"] = "pseudo"
    recognizer: Path | None = None
    manifest: Path | None = None
    embeddings: Path | None = None
    alignment: Path | None = None
    aligner: Path | None = None
    aligner_speech: Path | None = None
    held_out: float = Field(default=0.05, gt=0, lt=1)  # share of the utterances that validation takes

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if (self.target == "states") != (self.recognizer is not None):
            raise ValueError("target = states and recognizer come together")
        if self.alignment is not None and self.labels == "pseudo":
            raise ValueError("an alignment is a reference, but labels = pseudo: leave it out, or give an aligner")
        if self.alignment is not None and self.aligner is not None:
            raise ValueError("alignment and aligner both say when phones begin: give one")
        if self.aligner is not None and self.target == "units" and self.aligner_speech is None:
            raise ValueError("an aligner hears features, not units: give aligner_speech")
        return self


class OptimizerConfig(Config):
    """AdamW; `lr` is the peak of the schedule."""

    lr: float = Field(default=2e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)  # largest norm of the gradient
    schedule: ScheduleConfig = ScheduleConfig(warmup_steps=100, plateau=0.5)


class TtsConfig(Config):
    """One training run."""

    data: DataConfig
    network: NetworkConfig = NetworkConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    flat_steps: int = Field(default=100, ge=0)  # updates with phones of equal length, before they are aligned
    steps: int = Field(default=1500, ge=1)
    batch_seconds: float = Field(default=60.0, gt=0)  # of an update
    precision: Precision = "fp32"
    tensorboard: bool = False
    save_every: int = Field(default=200, ge=0)
    log_every: int = Field(default=50, ge=0)
    valid_every: int = Field(default=200, ge=1)
    seed: int = 0
