"""Files that hold weights and nothing else: torchaudio's, and bshall's HuBERT (hubert-discrete, hubert-soft).

What shapes tell is taken from them. What they do not tell is what all published models of that size have: the strides,
the number of heads, and that the large models, whose convolutions are followed by layer norms, have the norm first and
normalise the waveform. torchaudio's `extract_features(...)[n - 1]` is our layer n; bshall's `encode(..., layer=n)` too.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from textless.encoders.checkpoints_huggingface import renames
from textless.encoders.foreign import BLOCK, Foreign, Layout, State, build
from textless.encoders.speech_transformer import WAV2VEC2_LAYERS, SpeechTransformer, SpeechTransformerConfig
from textless.errors import UserError

HEADS = {768: 12, 1024: 16, 1280: 16, 1920: 16}  # by width
WAVLM_DISTANCE = 800
BSHALL_PADDING = 40  # samples: with it, a frame is exactly every 320th
_TORCHAUDIO_WAVLM = r"encoder\.transformer\.layers\.(\d+)\.attention\.attention\."
TORCHAUDIO = Layout(
    name="torchaudio",
    signature="encoder.transformer.layer_norm.weight",
    renames=(
        (_TORCHAUDIO_WAVLM + "in_proj_", BLOCK + "qkv."),
        (_TORCHAUDIO_WAVLM + r"out_proj\.", BLOCK + "out."),
        *renames(r"encoder\.", r"encoder\.transformer\."),
    ),
    heads="aux|mask_generator|logit_generator",
)
_BSHALL_LAYER = r"encoder\.layers\.(\d+)\."
BSHALL = Layout(
    name="bshall",
    signature="positional_embedding.conv.bias",
    renames=(
        (r"feature_extractor\.conv(\d+)\.", r"front_end.convs.\1."),
        (r"feature_extractor\.norm0\.", "front_end.norms.0."),
        (r"feature_projection\.norm\.", "projection_norm."),
        (r"feature_projection\.projection\.", "projection."),
        (r"positional_embedding\.conv\.", "transformer.position.conv."),
        (r"norm\.", "transformer.norm."),
        (_BSHALL_LAYER + "self_attn.in_proj_", BLOCK + "qkv."),
        (_BSHALL_LAYER + r"self_attn\.out_proj\.", BLOCK + "out."),
        (_BSHALL_LAYER + r"linear1\.", BLOCK + "up."),
        (_BSHALL_LAYER + r"linear2\.", BLOCK + "down."),
        (_BSHALL_LAYER + r"norm1\.", BLOCK + "attention_norm."),
        (_BSHALL_LAYER + r"norm2\.", BLOCK + "ffn_norm."),
    ),
    heads=r"proj\.|masked_spec_embed|label_embedding",
)


def load_torchaudio(state: State, source: str) -> Foreign:
    """HuBERT, wav2vec 2.0 or WavLM as `torchaudio.models` names its weights.

    Raises:
        UserError: they are not those of a published size.
    """
    weights, ignored = TORCHAUDIO.translate(state)
    return Foreign(build(SpeechTransformer, read_shapes(weights, source), weights, source), TORCHAUDIO.name, ignored)


def load_bshall(state: State, source: str) -> Foreign:
    """HuBERT as github.com/bshall/hubert has it, which pads the waveform with 40 zeros on either side.

    Raises:
        UserError: the weights are not those of such a model.
    """
    weights, ignored = BSHALL.translate(state)
    config = read_shapes(weights, source).model_copy(update={"waveform_padding": BSHALL_PADDING})
    return Foreign(build(SpeechTransformer, config, weights, source), BSHALL.name, ignored)


def read_shapes(weights: Mapping[str, torch.Tensor], source: str) -> SpeechTransformerConfig:
    """The configuration that weights under our names have."""

    def shape(name: str) -> tuple[int, ...]:
        if name not in weights:
            raise UserError(f"{source}: the weights are not those of a whole model; missing: {name}")
        return tuple(weights[name].shape)

    def count(pattern: str) -> int:
        return len({match[1] for name in weights if (match := re.match(pattern, name))})

    dim = shape("projection.weight")[0]
    sizes = [shape(f"front_end.convs.{i}.weight") for i in range(count(r"front_end\.convs\.(\d+)\."))]
    kernels = tuple(kernel for _, kernel, _ in WAV2VEC2_LAYERS)
    if tuple(kernel for _, _, kernel in sizes) != kernels:
        found = [kernel for _, _, kernel in sizes]
        raise UserError(
            f"{source}: such files do not tell the strides of convolutions, which are known for kernels "
            f"{list(kernels)} only, not {found}; give the model as a Hugging Face folder"
        )
    relative = "transformer.relative.embedding.weight" in weights
    heads = shape("transformer.relative.embedding.weight")[1] if relative else HEADS.get(dim)
    if heads is None:
        raise UserError(
            f"{source}: such files do not tell the number of heads, which is known for {', '.join(map(str, HEADS))} "
            f"dimensions only, not {dim}; give the model as a Hugging Face folder"
        )
    is_large = "front_end.norms.1.weight" in weights
    _, position_group, position_kernel = shape("transformer.position.conv.weight")
    ours: dict[str, Any] = {
        "front_end": {
            "kind": "conv",
            "layers": [(size[0], *known[1:]) for size, known in zip(sizes, WAV2VEC2_LAYERS, strict=True)],
            "norm": "layer" if is_large else "group",
            "bias": "front_end.convs.0.bias" in weights,
        },
        "normalise_waveform": is_large,
        "transformer": {
            "dim": dim,
            "layers": count(r"transformer\.blocks\.(\d+)\."),
            "heads": heads,
            "ffn_dim": shape("transformer.blocks.0.up.weight")[0],
            "norm_first": is_large,
            "position_kernel": position_kernel,
            "position_groups": dim // position_group,
            "relative_buckets": shape("transformer.relative.embedding.weight")[0] if relative else 0,
            "relative_distance": WAVLM_DISTANCE,
        },
    }
    return SpeechTransformerConfig.parse(ours, source)
