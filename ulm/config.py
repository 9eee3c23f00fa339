"""Configuration of a unit LM: the network, its data, its optimizer and its training run."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from textless.config import Config
from textless.training.precision import Precision
from textless.training.schedule import ScheduleConfig


class ModelConfig(Config):
    """Shape of the Transformer; the defaults train in minutes on a CPU.

    GSLM's unit LM (Lakhotia et al. 2021) is `examples/configs/ulm-gslm.toml`; what today's text models have (RMS norms,
    SwiGLU, grouped-query attention) is in `examples/configs/ulm-modern-*.toml`.
    """

    dim: int = Field(default=192, ge=2)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=3, ge=1)
    kv_heads: int = Field(default=0, ge=0)  # heads of keys and values, shared by groups of queries; 0: as many
    ffn: int = Field(default=768, ge=1)
    activation: Literal["gelu", "gelu-tanh", "relu", "swiglu"] = "gelu"
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = Field(default=1e-5, gt=0)
    norm_first: bool = True  # before attention and feed-forward; false: after they were added to what came in
    final_norm: bool = True
    bias: Literal["none", "qkv", "all"] = "none"  # of linear layers and layer norms; of queries, keys, values
    positions: Literal["rotary", "sinusoidal", "learned"] = "rotary"
    rotary_base: float = Field(default=10_000.0, gt=0)
    max_positions: int = Field(default=0, ge=0)  # learned ones, and so the longest context
    embedding_dim: int = Field(default=0, ge=0)  # of tokens, projected to dim and back; 0: dim
    embedding_scale: bool = False  # embeddings times √dim
    lookback: int = Field(default=3, ge=0)  # tokens before each that are embedded with it; 0: the plain Transformer
    ngram_rows: int = Field(default=16384, ge=0)  # of each table of embedded n-grams; 0: none
    noise: float = Field(default=0.1, ge=0.0, lt=1.0)  # share of the units read in training replaced by random ones
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    attention_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    tied: bool = True  # one matrix for the embedding and the output layer
    checkpoint_activations: bool = False  # blocks are computed again in the backward pass: less memory, a third slower

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} should be an even multiple of heads {self.heads}")
        if self.kv_heads and self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} should be a multiple of kv_heads {self.kv_heads}")
        if self.positions == "learned" and not self.max_positions:
            raise ValueError('positions "learned" need max_positions, the longest context')
        return self


class DataConfig(Config):
    """Units files, or folders of `ulm prepare`.

    In a TOML file, they are relative to the folder of that file; on the command line, to the current one.
    """

    train: Path
    valid: Path | None = None
    bpe: Path | None = None  # of `units bpe`: its tokens are what the model reads; a prepared folder has its own


class InitConfig(Config):
    """Weights to start from; none: random ones."""

    # A directory of ours, or a text LM of Hugging Face's (TWIST, Hassid et al. 2023). What a text model or one of other
    # units knows of its tokens is left behind; its shape replaces that of `model`.
    model: Path | None = None


class OptimizerConfig(Config):
    """`lr` is the peak of the schedule, and the weight decay spares norms and biases.

    fairseq's "adam" with weight decay is `adamw`; `adam` is Kingma and Ba's, where the decay adds to the gradient.
    """

    name: Literal["adamw", "adam"] = "adamw"
    lr: float = Field(default=4e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float = Field(default=1.0, ge=0)  # largest norm of the whole gradient; 0: no clipping
    schedule: ScheduleConfig = ScheduleConfig()


class TrainConfig(Config):
    """One training run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    init: InitConfig = InitConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    steps: int = Field(default=1000, ge=1)
    epochs: float = Field(default=0, ge=0)  # through the training data, instead of steps; 0: steps
    batch_tokens: int = Field(default=1024, ge=1)  # of an update, over all processes
    micro_batch_tokens: int = Field(default=0, ge=0)  # through the network at once, on a process; 0: its whole share
    context: int = Field(default=256, ge=4)
    precision: Precision = "auto"
    parallel: Literal["ddp", "fully_shard"] = "ddp"  # fully_shard: each process holds a part of weights and optimizer
    compile: bool = False  # by torch.compile: slow to begin, then faster, most of all on GPUs
    tensorboard: bool = False
    patience: int = Field(default=0, ge=0)  # validations without improvement before training ends; 0: it goes on
    keep: Literal["best", "last"] = "best"  # which weights model.safetensors holds; best: on the validation set
    save_every: int = Field(default=200, ge=0)  # steps; 0: only at the end
    log_every: int = Field(default=50, ge=0)
    valid_every: int = Field(default=200, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.batch_tokens < self.context:
            raise ValueError(f"batch_tokens {self.batch_tokens} should be at least context {self.context}")
        if self.model.positions == "learned" and self.context > self.model.max_positions:
            raise ValueError(f"context {self.context} is longer than model.max_positions {self.model.max_positions}")
        if self.epochs and "steps" in self.model_fields_set:
            raise ValueError("steps and epochs are two ways to say how long: give one")
        if self.patience and (self.data.valid is None or not self.valid_every):
            raise ValueError("patience needs data.valid and valid_every")
        return self
