"""Published unit HiFi-GANs as models of ours: fairseq, textlesslib, speech-resynthesis, in one layout of weights.

A checkpoint (`g_00400000`, `generator.pt`, `model.pt`) holds the generator's weights, and `config.json` beside it
their shape; `speakers.txt` and `styles.txt`, where there are any, name the rows of the tables. What the configuration
says and the weights do not show (rates, dilations) is taken from it; everything else is compared.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from textless.audio.io import SAMPLE_RATE
from textless.errors import UserError
from textless.files import refuse_overwrite, sha256_file
from units.identity import QuantizerIdentity
from vocoder.config import ModelConfig, hop_length
from vocoder.f0_checkpoints import load_f0_quantizer
from vocoder.foreign import WEIGHT_NORMS, ForeignWeights, State, read_weights
from vocoder.foreign_config import Settings, read_settings
from vocoder.model import VocoderModel

CONFIG_NAME, SPEAKERS_NAME, STYLES_NAME = "config.json", "speakers.txt", "styles.txt"
SCALES, DIRECTIONS = WEIGHT_NORMS[1]  # our names
# Ours -> theirs
NAMES = (
    (r"^generator\.", ""),
    (r"^first\.", "conv_pre."),
    (r"^last\.", "conv_post."),
    (r"^stages\.(\d+)\.up\.", r"ups.\1."),
    (r"\.dilated\.", ".convs1."),
    (r"\.plain\.", ".convs2."),
    (r"^streams\.unit\.", "dict."),
    (r"^streams\.speaker\.(table|project)\.", "spkr."),
    (r"^streams\.style\.table\.", "style."),
    (r"^streams\.bins\.", "f0_quant_embed."),
    (r"^durations\.unit\.", "dict."),
    (r"^durations\.convolutions\.0\.", "dur_predictor.conv1.0."),
    (r"^durations\.convolutions\.1\.", "dur_predictor.conv2.0."),
    (r"^durations\.norms\.0\.", "dur_predictor.ln1."),
    (r"^durations\.norms\.1\.", "dur_predictor.ln2."),
    (r"^durations\.project\.", "dur_predictor.proj."),
)


def import_vocoder(
    checkpoint: Path, out: Path, quantizer: QuantizerIdentity, *, config: Path | None = None, force: bool = False
) -> VocoderModel:
    """Write a published generator as a model directory.

    Args:
        checkpoint: the weights.
        out: directory to write.
        quantizer: whose units it speaks.
        config: its configuration (None: `config.json` beside the weights).
        force: replace `out`.

    Raises:
        UserError: `out` exists; the file is damaged, wants to run something or is no unit HiFi-GAN; the configuration
            does not fit the weights, or the quantizer neither.
    """
    refuse_overwrite(out, force=force)
    model = load_foreign(checkpoint, quantizer, config)
    model.write(out, imported={"file": checkpoint.name, "sha256": sha256_file(checkpoint)})
    return model


def load_foreign(checkpoint: Path, quantizer: QuantizerIdentity, config: Path | None = None) -> VocoderModel:
    """Read a published generator, in evaluation mode; see `import_vocoder`."""
    state = read_weights(checkpoint)
    config = config or checkpoint.with_name(CONFIG_NAME)
    said = read_settings(config)
    shape = _model_config(said, config, state, quantizer)
    match shape.speaker:
        case "table":
            speakers = _names(config.with_name(SPEAKERS_NAME), said.num_speakers or _rows(state, "spkr.weight"))
        case "embedding":
            speakers = []  # each is somebody's embedding
        case "none":
            speakers = ["0"]
    weights = ForeignWeights(state, checkpoint, config)
    f0_quantizer = load_f0_quantizer(said, weights) if said.f0_quantizer is not None else None
    model = VocoderModel(shape, quantizer, speakers, styles=_names(config.with_name(STYLES_NAME), shape.n_styles))
    translated = dict(_translated(model, weights))
    weights.all_used()
    model.load_state_dict(translated)
    model.f0_quantizer = f0_quantizer
    return model.eval()


def _model_config(said: Settings, path: Path, state: State, quantizer: QuantizerIdentity) -> ModelConfig:
    """The shape as config.json says it; sizes of tables that it leaves open are those of the weights."""
    hop = hop_length(quantizer.frame_rate)
    made = math.prod(said.upsample_rates)
    for name, found, expected in (
        ("resblock", str(said.resblock), "1"),
        ("sampling_rate", said.sampling_rate or SAMPLE_RATE, SAMPLE_RATE),
        ("code_hop_size", said.code_hop_size or hop, hop),
        ("num_embeddings", said.num_embeddings, quantizer.k),
        ("the rest of upsample_rates", hop % made, 0),
    ):
        if found != expected:
            raise UserError(
                f"{path}: {name} is {found}, but should be {expected} for units of the quantizer {quantizer} "
                f"({hop} samples a frame): give the vocoder the quantizer it was trained for"
            )
    if not said.multispkr:
        speaker = "none"
    elif said.embedder_params:
        speaker = "embedding"
    else:
        speaker = "table"
    predictor = said.dur_predictor_params
    shape = {
        "embedding": said.embedding_dim,
        "channels": said.upsample_initial_channel,
        "rates": said.upsample_rates,
        "kernels": said.upsample_kernel_sizes,
        "block_kernels": said.resblock_kernel_sizes,
        "block_dilations": said.resblock_dilation_sizes,
        "pitch_channels": 1,
    }
    values = {
        "kind": "hifigan",
        **_pitch(said),
        "speaker": speaker,
        "speaker_size": said.embedder_dim,
        "n_styles": (said.num_styles or _rows(state, "style.weight")) if said.multistyle else 0,
        "upsample": hop // made,
        "hifigan": shape,
        "duration": "variance" if predictor else "none",
        "duration_width": predictor.var_pred_hidden_dim if predictor else 128,
        "pitch_predictor": False,
    }
    return ModelConfig.parse(values, str(path))


def _pitch(said: Settings) -> dict[str, Any]:
    if not said.f0:
        return {"pitch": "none"}
    if said.f0_quant_num_bin:
        return {"pitch": "bins", "n_pitch_bins": said.f0_quant_num_bin}
    if said.f0_quantizer is not None:
        return {"pitch": "bins", "n_pitch_bins": said.f0_quantizer.f0_vq_params.l_bins}
    return {"pitch": "raw"}


def _translated(model: VocoderModel, weights: ForeignWeights) -> Iterator[tuple[str, torch.Tensor]]:
    """Our names and the foreign weights."""
    blocks = len(model.config.hifigan.block_kernels)
    for name, expected in model.state_dict().items():
        if name in ("levels", "embeddings"):
            yield name, expected
            continue
        foreign = _foreign_name(name, blocks)
        shape = expected.shape
        if not name.endswith((SCALES, DIRECTIONS)):
            if name.startswith("durations.unit"):  # ours is a copy
                yield name, weights.state[foreign]
            else:
                yield name, weights.take(foreign, shape)
        elif name.endswith(DIRECTIONS):
            narrow = (shape[0], shape[1], shape[3])  # (O, I, 1, k) -> (O, I, k)
            scales, directions = weights.convolution(foreign.removesuffix("." + DIRECTIONS), narrow)
            yield name, directions[:, :, None]
            yield name.removesuffix(DIRECTIONS) + SCALES, scales[:, :, None]


def _foreign_name(name: str, blocks: int) -> str:
    """Name of one of our weights in published checkpoints, whose stages have `blocks` residual blocks each."""
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return re.sub(
        r"stages\.(\d+)\.blocks\.(\d+)", lambda found: f"resblocks.{int(found[1]) * blocks + int(found[2])}", name
    )


def _names(path: Path, count: int) -> list[str]:
    """Names of the rows of a table: a line each where there is such a file, then numbers."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() and count else []
    names = [line.strip() for line in lines if line.strip()]
    if len(names) > count or len(set(names)) < len(names):
        raise UserError(f"{path} names {len(names)} ({len(set(names))} different), the weights have {count} rows")
    return names + [str(index) for index in range(len(names), count)]


def _rows(state: State, name: str) -> int:
    return len(state[name]) if name in state else 0
