"""What the config.json of a published unit HiFi-GAN says, as far as it is read here; the rest is about its training."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from textless.errors import UserError
from textless.files import read_json, require

EMBEDDER_SIZE = 256  # of speaker embeddings, where config.json states none


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class DurationSettings(_Group):
    """`dur_predictor_params`."""

    var_pred_hidden_dim: PositiveInt


class CodebookSettings(_Group):
    """`f0_vq_params`."""

    l_bins: PositiveInt
    emb_width: PositiveInt


class F0EncoderSettings(_Group):
    """`f0_encoder_params`, in the words of Jukebox."""

    downs_t: tuple[int, ...] = Field(min_length=1)
    strides_t: tuple[int, ...] = Field(min_length=1)
    width: PositiveInt
    depth: PositiveInt
    m_conv: float = 1.0
    dilation_growth_rate: PositiveInt


class F0QuantizerSettings(_Group):
    """`f0_quantizer`."""

    f0_vq_params: CodebookSettings
    f0_encoder_params: F0EncoderSettings


class Settings(_Group):
    """A whole config.json. A stream that it does not name is not there."""

    num_embeddings: PositiveInt
    embedding_dim: PositiveInt
    upsample_initial_channel: PositiveInt
    upsample_rates: tuple[PositiveInt, ...] = Field(min_length=1)
    upsample_kernel_sizes: tuple[PositiveInt, ...]
    resblock_kernel_sizes: tuple[PositiveInt, ...]
    resblock_dilation_sizes: tuple[tuple[PositiveInt, ...], ...]
    resblock: str | int = "1"
    sampling_rate: int | None = None
    code_hop_size: int | None = None
    multispkr: Any = None  # how training found the speaker in a path; any means that there are several
    num_speakers: int | None = None
    embedder_params: Any = None  # of the speaker encoder; any means that speakers are embeddings
    embedder_dim: PositiveInt = EMBEDDER_SIZE
    multistyle: Any = None
    num_styles: int | None = None
    f0: bool | None = None
    f0_normalize: bool | None = None
    f0_quant_num_bin: int | None = None
    f0_quantizer: F0QuantizerSettings | None = None
    dur_predictor_params: DurationSettings | None = None


def read_settings(path: Path) -> Settings:
    """Read a config.json.

    Raises:
        UserError: it is none, lacks a setting, or has one of another type; all of them are named.
    """
    values = read_json(require(path, "configuration of the checkpoint"))
    if not isinstance(values, dict):
        raise UserError(f"{path} is no object of settings: give the checkpoint's own config.json")
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        mistakes = "; ".join(_explained(mistake) for mistake in error.errors())
        raise UserError(f"{path} {mistakes}: give the checkpoint's own config.json") from error


def _explained(mistake: Any) -> str:  # noqa: ANN401
    name = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "missing":
        return f"does not say {name}"
    return f"says that {name} is {mistake['input']!r} ({mistake['msg'].lower()})"
