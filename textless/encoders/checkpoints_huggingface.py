"""Folders of Hugging Face: `config.json`, the weights in one file or several, and how the waveform is prepared.

HuBERT (also DistilHuBERT and multilingual ones), wav2vec 2.0 and XLS-R, WavLM and data2vec-audio, bare or with a head.
`hidden_states[n]` of that library is our layer n. The last one of models with `do_stable_layer_norm` is what the last
block gives in transformers 5 (as it is here), but has the final norm applied in transformers 4.
"""

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from textless.encoders.foreign import BLOCK, Foreign, Layout, State, build
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.errors import UserError
from textless.files import read_json
from textless.pickles import read_torch

CONFIG_NAME = "config.json"
WEIGHTS_NAMES = ("model.safetensors", "pytorch_model.bin")
WAVEFORM_NAMES = ("preprocessor_config.json", "processor_config.json")
MODEL_TYPES = ("hubert", "wav2vec2", "wavlm", "data2vec-audio")
# All four kinds have these defaults in common, and a config.json may leave out what equals them.
DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "feat_extract_norm": "group",
    "conv_dim": (512,) * 7,
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_bias": False,
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
    "do_stable_layer_norm": False,
}
FIXED = {  # what a model of ours cannot differ in
    "feat_extract_activation": "gelu",
    "layer_norm_eps": 1e-5,
    "adapter_attn_dim": None,  # adapters inside the blocks (MMS fine-tuned to languages)
}


def renames(outer: str, inner: str) -> tuple[tuple[str, str], ...]:
    """Our names for keys whose projection lies in `outer` and whose Transformer lies in `inner` (patterns)."""
    layer = inner + r"layers\.(\d+)\."
    return (
        (r"feature_extractor\.conv_layers\.(\d+)\.conv\.", r"front_end.convs.\1."),
        (r"feature_extractor\.conv_layers\.(\d+)\.layer_norm\.", r"front_end.norms.\1."),
        (outer + r"feature_projection\.layer_norm\.", "projection_norm."),
        (outer + r"feature_projection\.projection\.", "projection."),
        (inner + r"pos_conv_embed\.conv\.", "transformer.position.conv."),
        (inner + r"pos_conv_embed\.batch_norm\.", "transformer.position.norm."),
        (inner + r"pos_conv_embed\.layers\.(\d+)\.conv\.", r"transformer.position.convs.\1."),
        (inner + r"layer_norm\.", "transformer.norm."),
        (layer + r"attention\.([qkv])_proj\.", BLOCK + r"\2."),
        (layer + r"attention\.out_proj\.", BLOCK + "out."),
        (layer + r"attention\.gru_rel_pos_linear\.", BLOCK + "gate.project."),
        (layer + r"attention\.gru_rel_pos_const", BLOCK + "gate.constant"),
        (layer + r"attention\.rel_attn_embed\.", "transformer.relative.embedding."),  # in the first layer only
        (layer + r"layer_norm\.", BLOCK + "attention_norm."),
        (layer + r"feed_forward\.intermediate_dense\.", BLOCK + "up."),
        (layer + r"feed_forward\.output_dense\.", BLOCK + "down."),
        (layer + r"final_layer_norm\.", BLOCK + "ffn_norm."),
    )


HUGGING_FACE = Layout(
    name="Hugging Face",
    signature="encoder.layers.0.attention.q_proj.weight",
    renames=renames("", r"encoder\."),
    heads="masked_spec_embed|adapter|lm_head|quantizer|project(_|or)|classifier|layer_weights",
)


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Weights of a folder, of whatever file or files it keeps them in.

    Raises:
        UserError: there are none, a part of them is missing, or a file is damaged.
    """
    for name in WEIGHTS_NAMES:
        if (folder / name).is_file():
            return read_file(folder / name)
        index = folder / f"{name}.index.json"
        if index.is_file():
            weights: dict[str, torch.Tensor] = {}
            for part in sorted(set(read_json(index)["weight_map"].values())):
                weights |= read_file(folder / part)
            return weights
    raise UserError(f"{folder} holds no weights: {' or '.join(WEIGHTS_NAMES)}, whole or with an index, is expected")


def read_file(path: Path) -> Any:  # noqa: ANN401
    """Content of a checkpoint file: safetensors, or of `torch.save` through the restricted unpickler."""
    if path.suffix != ".safetensors":
        return read_torch(path)
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"file not found: {path}") from error
    except safetensors.SafetensorError as error:
        raise UserError(f"{path} is damaged or not a safetensors file: {error}") from error


def load_huggingface(state: State, folder: Path) -> Foreign:
    """The encoder whose weights are `state` and whose configuration lies in `folder`.

    Raises:
        UserError: there is no configuration, it describes something that is no model of this family, or the weights are
            not those of that model.
    """
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise UserError(f"{folder} has no {CONFIG_NAME}, which says what model its weights are of: put it beside them")
    values = read_json(path)
    config = read_config(values, str(path), normalises=_normalises(folder))
    weights, ignored = HUGGING_FACE.translate(state)
    encoder = build(SpeechTransformer, config, weights, str(folder))
    return Foreign(encoder, f"{HUGGING_FACE.name}: {values['model_type']}", ignored)


def read_config(values: dict[str, Any], source: str, *, normalises: bool | None = None) -> SpeechTransformerConfig:
    """Our configuration of what a `config.json` holds.

    Args:
        values: of the file.
        source: what messages call the file.
        normalises: whether the waveform is normalised; None, where nothing says so: if the convolutions are followed by
            layer norms, as in every published model.
    """
    kind = values.get("model_type")
    if kind not in MODEL_TYPES:
        raise UserError(f"{source}: a model of type {kind!r} cannot be read, only {', '.join(MODEL_TYPES)}")
    for name, only in FIXED.items():
        if values.get(name, only) != only:
            raise UserError(f"{source}: {name} {values[name]!r} is not supported, only {only!r}")
    values = DEFAULTS | values
    is_data2vec, is_wavlm = kind == "data2vec-audio", kind == "wavlm"
    convolutions = [values[f"conv_{what}"] for what in ("dim", "kernel", "stride")]
    counts = {len(sizes) if isinstance(sizes, list | tuple) else None for sizes in convolutions}
    if len(counts) > 1 or None in counts:
        raise UserError(f"{source}: conv_dim, conv_kernel and conv_stride differ in length or are no lists")
    norm = "layer" if is_data2vec else values["feat_extract_norm"]
    transformer = {
        "dim": values["hidden_size"],
        "layers": values["num_hidden_layers"],
        "heads": values["num_attention_heads"],
        "ffn_dim": values["intermediate_size"],
        "norm_first": values["do_stable_layer_norm"] and not is_data2vec,
        "activation": values["hidden_act"],
        "position_groups": values["num_conv_pos_embedding_groups"],
    }
    if is_data2vec:
        stack = {"position": "conv-stack", "position_depth": values["num_conv_pos_embeddings"]}
        transformer |= stack | {"position_kernel": values.get("conv_pos_kernel_size", 19)}
    else:
        batch_norm = values.get("conv_pos_batch_norm", False)
        transformer |= {"position_kernel": values["num_conv_pos_embeddings"], "position_batch_norm": batch_norm}
    if is_wavlm:
        transformer["relative_buckets"] = values.get("num_buckets", 320)
        transformer["relative_distance"] = values.get("max_bucket_distance", 800)
    ours: dict[str, Any] = {
        "front_end": {
            "kind": "conv",
            "layers": list(zip(*convolutions, strict=True)),
            "norm": norm,
            "bias": values["conv_bias"],
        },
        "projection_norm": values.get("feat_proj_layer_norm", True),
        "transformer": transformer,
    }
    if norm == "layer" if normalises is None else normalises:
        ours |= {"normalise_waveform": True, "waveform_epsilon": 1e-7}
    return SpeechTransformerConfig.parse(ours, source)


def _normalises(folder: Path) -> bool | None:
    """What the folder says about normalisation of the waveform; None: nothing."""
    for name in WAVEFORM_NAMES:
        if (folder / name).is_file():
            values = read_json(folder / name)
            values = values.get("feature_extractor", values)
            if values.get("sampling_rate", SpeechTransformer.sample_rate) != SpeechTransformer.sample_rate:
                raise UserError(f"{folder / name}: sampling_rate {values['sampling_rate']}, only 16000 is supported")
            if "do_normalize" in values:
                return bool(values["do_normalize"])
    return None
