"""Language models in folders of Hugging Face: Llama, Qwen2, OPT and GPT-2, and the unit LMs made of them.

slamkit's folders (`speech_language_model`) hold one of these under `base_config` and the prefix `lm.`; their symbols
are 0 padding, 1 begin and end, u + 2 unit u. TWIST's are plain ones whose `offset` is added to units. In any other,
units begin at 0, as in those that `textless ulm export` writes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from textless.encoders.checkpoints_huggingface import CONFIG_NAME, read_weights
from textless.errors import UserError
from textless.files import read_json
from ulm.config import ModelConfig
from ulm.foreign import EMBEDDING, HEAD, ForeignModel, Renames, Symbols, keep_vocabulary, refuse_settings, rename

SLAMKIT = "speech_language_model"
SLAMKIT_OFFSET, SLAMKIT_BOUNDARY = 2, 1
OPT_POSITION_OFFSET = 2  # rows at the beginning of OPT's table that no position uses
ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
}
PLAIN: dict[str, Any] = {"lookback": 0, "ngram_rows": 0, "noise": 0.0}  # nothing of ours that theirs have not

_LLAMA_LAYER = r"(?:model\.)?layers\.(\d+)\."
_LLAMA: Renames = (
    (r"(?:model\.)?embed_tokens\.", "embedding."),
    (_LLAMA_LAYER + r"self_attn\.([qkv])_proj\.", r"trunk.\1.attention.\2."),
    (_LLAMA_LAYER + r"self_attn\.o_proj\.", r"trunk.\1.attention.project."),
    (_LLAMA_LAYER + r"mlp\.(gate|up)_proj\.", r"trunk.\1.ffn.\2."),
    (_LLAMA_LAYER + r"mlp\.down_proj\.", r"trunk.\1.ffn.shrink."),
    (_LLAMA_LAYER + r"input_layernorm\.", r"trunk.\1.attention_norm."),
    (_LLAMA_LAYER + r"post_attention_layernorm\.", r"trunk.\1.ffn_norm."),
    (r"(?:model\.)?norm\.", "norm."),
    (r"lm_head\.", "head."),
)
_OPT_LAYER = r"(?:model\.)?decoder\.layers\.(\d+)\."
_OPT: Renames = (
    (r"(?:model\.)?decoder\.embed_tokens\.", "embedding."),
    (r"(?:model\.)?decoder\.embed_positions\.", "position."),
    (r"(?:model\.)?decoder\.(project_in|project_out)\.", r"\1."),
    (_OPT_LAYER + r"self_attn\.([qkv])_proj\.", r"trunk.\1.attention.\2."),
    (_OPT_LAYER + r"self_attn\.out_proj\.", r"trunk.\1.attention.project."),
    (_OPT_LAYER + r"self_attn_layer_norm\.", r"trunk.\1.attention_norm."),
    (_OPT_LAYER + r"fc1\.", r"trunk.\1.ffn.widen."),
    (_OPT_LAYER + r"fc2\.", r"trunk.\1.ffn.shrink."),
    (_OPT_LAYER + r"final_layer_norm\.", r"trunk.\1.ffn_norm."),
    (r"(?:model\.)?decoder\.final_layer_norm\.", "norm."),
    (r"lm_head\.", "head."),
)
_GPT2_LAYER = r"(?:transformer\.)?h\.(\d+)\."
_GPT2: Renames = (
    (r"(?:transformer\.)?wte\.", "embedding."),
    (r"(?:transformer\.)?wpe\.", "position."),
    (_GPT2_LAYER + r"ln_1\.", r"trunk.\1.attention_norm."),
    (_GPT2_LAYER + r"attn\.c_attn\.", r"trunk.\1.attention.queries_keys_values."),
    (_GPT2_LAYER + r"attn\.c_proj\.", r"trunk.\1.attention.project."),
    (_GPT2_LAYER + r"ln_2\.", r"trunk.\1.ffn_norm."),
    (_GPT2_LAYER + r"mlp\.c_fc\.", r"trunk.\1.ffn.widen."),
    (_GPT2_LAYER + r"mlp\.c_proj\.", r"trunk.\1.ffn.shrink."),
    (r"(?:transformer\.)?ln_f\.", "norm."),
    (r"lm_head\.", "head."),
)
_BUFFERS = r"rotary_emb\.inv_freq$|\.attn\.(masked_)?bias$"  # of old versions


def load_huggingface(directory: Path) -> tuple[ForeignModel, dict[str, Any]]:
    """The language model in a folder, and its `config.json`.

    Raises:
        UserError: there is none, it is damaged, or it is of a kind that cannot be read here.
    """
    if not (directory / CONFIG_NAME).is_file():
        raise UserError(f"{directory} has no {CONFIG_NAME}: give the folder of a Hugging Face model")
    values = read_json(directory / CONFIG_NAME)
    source = str(directory)
    if not isinstance(values, dict):
        raise UserError(f"{source}/{CONFIG_NAME} holds no settings but a {type(values).__name__}")
    inner: dict[str, Any] = (values.get("base_config") or {}) if values.get("model_type") == SLAMKIT else values
    kind = inner.get("model_type")
    match kind:
        case "llama" | "qwen2":
            read, renames, signature = _read_llama, _LLAMA, r"(?:model\.)?layers\.0\.self_attn\.q_proj\.weight"
        case "opt":
            read, renames, signature = _read_opt, _OPT, r"(?:model\.)?decoder\.layers\.0\.self_attn\.q_proj\.weight"
        case "gpt2":
            read, renames, signature = _read_gpt2, _GPT2, r"(?:transformer\.)?h\.0\.attn\.c_attn\.weight"
        case _:
            raise UserError(f"{source} holds a model of type {kind!r}, not llama, qwen2, opt or gpt2")
    config, context = _parse(read, inner, source)
    state = read_weights(directory)
    if not isinstance(state, Mapping):
        raise UserError(f"{source} holds a {type(state).__name__}, not weights by name")
    weights = rename(state, signature, renames, _BUFFERS, source)
    keep_vocabulary(weights, source, tied=config.tied)
    if kind == "opt" and "position.weight" in weights:
        weights["position.weight"] = weights["position.weight"][OPT_POSITION_OFFSET:]
    if kind == "gpt2":  # whose linear layers are stored as (in, out)
        linear = ("queries_keys_values.weight", "project.weight", "widen.weight", "shrink.weight")
        weights = {name: tensor.T if name.endswith(linear) else tensor for name, tensor in weights.items()}
    return ForeignModel(config, weights, context, f"Hugging Face: {kind}"), values


def load_trunk(directory: Path) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """What a unit LM takes over from a text LM (TWIST; Hassid et al. 2023): all but the embedding and output layer.

    Returns:
        The configuration, and the weights by their names in `UnitTransformer`, checked against it.

    Raises:
        UserError: see `load_huggingface`; or the weights are not those that the configuration describes.
    """
    model, _ = load_huggingface(directory)
    state = model.network(0, str(directory)).state_dict()
    return model.config, {name: tensor for name, tensor in state.items() if name not in {EMBEDDING, HEAD}}


def find_symbols(
    values: Mapping[str, Any],
    size: int,
    k: int,
    source: str,
    *,
    offset: int | None = None,
    begin: int | None = None,
    end: int | None = None,
) -> Symbols:
    """Which symbols of a model are units and the boundary, as its `config.json` says, or as is given instead.

    Raises:
        UserError: it does not say, or the number of units is not K.
    """
    is_slamkit = values.get("model_type") == SLAMKIT
    begin = _boundary(values, "bos", is_slamkit) if begin is None else begin
    end = _boundary(values, "eos", is_slamkit) if end is None else end
    if begin is None or end is None:
        missing = "--bos" if begin is None else "--eos"
        raise UserError(f"{source}/{CONFIG_NAME} does not say what begins and ends an utterance: give {missing}")
    if offset is None:
        offset = SLAMKIT_OFFSET if is_slamkit else values.get("offset", 0)
        specials = {begin, end, *(values.get(f"{name}_token_id") for name in ("pad", "unk"))}
        others = len([special for special in specials if type(special) is int and offset + k <= special < size])
        own = values.get("textless", {}).get("inert", 0)
        if size - offset - others - own != k:
            raise UserError(
                f"{source} has {size - offset - others - own} symbols that can be units (of {size}, from {offset} on), "
                f"but the quantizer has K = {k}: give the quantizer of this model, or --offset if units begin elsewhere"
            )
    return Symbols(range(offset, offset + k), begin, end)


def _boundary(values: Mapping[str, Any], name: str, is_slamkit: bool) -> int | None:  # noqa: FBT001
    if is_slamkit:
        return SLAMKIT_BOUNDARY
    found = values.get(f"{name}_token_id")
    first = found[0] if isinstance(found, list) and found else found  # the ends of a text model may be several
    return first if isinstance(first, int) else None


def _parse(
    read: Callable[[dict[str, Any], str], tuple[dict[str, Any], int]], values: dict[str, Any], source: str
) -> tuple[ModelConfig, int]:
    """Our configuration, and the context."""
    where = f"{source}/{CONFIG_NAME}"
    try:
        ours, context = read(values, where)
    except KeyError as error:
        raise UserError(f"{where} does not say {error.args[0]}") from error
    return ModelConfig.parse(PLAIN | ours, where), context


def _read_llama(values: dict[str, Any], source: str) -> tuple[dict[str, Any], int]:
    is_qwen = values["model_type"] == "qwen2"
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    head_dim = values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"]
    biases = (values.get("attention_bias", False), values.get("mlp_bias", False))
    refuse_settings(
        values | {"rope_type": rope_type, "head_dim": head_dim, "attention_bias, mlp_bias": biases},
        {
            "hidden_act": ("silu",),
            "rope_type": ("default",),
            "use_sliding_window": (False,),
            "head_dim": (values["hidden_size"] // values["num_attention_heads"],),
            "attention_bias, mlp_bias": ((False, False), (True, True)),
        },
        source,
    )
    return {
        "dim": values["hidden_size"],
        "layers": values["num_hidden_layers"],
        "heads": values["num_attention_heads"],
        "kv_heads": values.get("num_key_value_heads") or 0,
        "ffn": values["intermediate_size"],
        "activation": "swiglu",
        "norm": "rms",
        "norm_epsilon": values.get("rms_norm_eps", 1e-6),
        "bias": "qkv" if is_qwen else "all" if all(biases) else "none",
        "rotary_base": rope.get("rope_theta", values.get("rope_theta", 10_000.0)),
        "dropout": 0.0,
        "attention_dropout": values.get("attention_dropout", 0.0),
        "tied": values.get("tie_word_embeddings", False),
    }, values.get("max_position_embeddings", 32768 if is_qwen else 2048)


def _read_opt(values: dict[str, Any], source: str) -> tuple[dict[str, Any], int]:
    refuse_settings(
        values,
        {
            "activation_function": tuple(ACTIVATIONS),
            "enable_bias": (True,),
            "layer_norm_elementwise_affine": (True,),
            "layerdrop": (0, 0.0),
        },
        source,
    )
    dim, context = values["hidden_size"], values.get("max_position_embeddings", 2048)
    width = values.get("word_embed_proj_dim") or dim
    norm_first = values.get("do_layer_norm_before", True)
    return {
        "dim": dim,
        "layers": values["num_hidden_layers"],
        "heads": values["num_attention_heads"],
        "ffn": values["ffn_dim"],
        "activation": ACTIVATIONS[values.get("activation_function", "relu")],
        "norm_first": norm_first,
        "final_norm": norm_first and not values.get("_remove_final_layer_norm", False),
        "bias": "all",
        "positions": "learned",
        "max_positions": context,
        "embedding_dim": 0 if width == dim else width,
        "dropout": values.get("dropout", 0.1),
        "attention_dropout": values.get("attention_dropout", 0.0),
        "tied": values.get("tie_word_embeddings", True),
    }, context


def _read_gpt2(values: dict[str, Any], source: str) -> tuple[dict[str, Any], int]:
    refuse_settings(
        values,
        {
            "activation_function": tuple(ACTIVATIONS),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        source,
    )
    dim, context = values["n_embd"], values.get("n_positions", 1024)
    return {
        "dim": dim,
        "layers": values["n_layer"],
        "heads": values["n_head"],
        "ffn": values.get("n_inner") or 4 * dim,
        "activation": ACTIVATIONS[values.get("activation_function", "gelu_new")],
        "norm_epsilon": values.get("layer_norm_epsilon", 1e-5),
        "bias": "all",
        "positions": "learned",
        "max_positions": context,
        "dropout": values.get("resid_pdrop", 0.1),
        "attention_dropout": values.get("attn_pdrop", 0.1),
        "tied": values.get("tie_word_embeddings", True),
    }, context
