"""Our models as folders of Hugging Face, so that everything which runs those can run them.

| ours | theirs |
|---|---|
| rotary positions, RMS norms, SwiGLU | Llama; with `bias = "qkv"` Qwen2 |
| learned or sinusoidal positions, layer norms and biases, ReLU (GSLM) | OPT |
| learned or sinusoidal positions, layer norms and biases, GELU | GPT-2 |

Sinusoids become a table as long as the context, and a scale of the embedding is multiplied out; logits stay what they
were. Symbols are as here: unit u is u, and the boundary K begins and ends an utterance.
"""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from textless.errors import UserError
from textless.files import atomic_directory, refuse_overwrite, write_json
from textless.provenance import make_header
from textless.training.checkpoint import CONFIG_NAME, WEIGHTS_NAME
from ulm.checkpoints_huggingface import OPT_POSITION_OFFSET
from ulm.config import ModelConfig
from ulm.foreign import EMBEDDING, HEAD
from ulm.language_model import TransformerLanguageModel, load_language_model
from ulm.positions import sinusoidal

FORMAT, VERSION = "textless-unit-lm-export", 1
Weights = dict[str, torch.Tensor]
# What every model of a family has: names of settings, and the values that can be written.
_NORM_FIRST: dict[str, tuple[Any, ...]] = {"norm_first": (True,), "final_norm": (True,), "embedding_dim": (0,)}
_LAYER_NORMS: dict[str, tuple[Any, ...]] = {"norm": ("layer",), "bias": ("all",), "kv_heads": (0,)}
NEEDS: dict[str, dict[str, tuple[Any, ...]]] = {
    "llama": _NORM_FIRST | {"norm": ("rms",), "activation": ("swiglu",), "embedding_scale": (False,)},
    "opt": _LAYER_NORMS | {"norm_epsilon": (1e-5,)},
    "gpt2": _LAYER_NORMS | _NORM_FIRST | {"activation": ("gelu", "gelu-tanh")},
}
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu-tanh": "gelu_new"}


def export_model(model: Path, output: Path, *, force: bool = False) -> str:
    """Write a model directory as a folder that `transformers` loads with equal logits; which class it is of.

    Raises:
        UserError: no class of theirs has the settings of the model, naming those; or the output exists.
    """
    refuse_overwrite(output, force=force)
    loaded = load_language_model(model)
    if not isinstance(loaded, TransformerLanguageModel):
        raise UserError(f"{model} is an n-gram model, which Hugging Face does not know")
    config, weights = loaded.network.config, dict(loaded.network.state_dict())
    family = _family(config, str(model))
    if config.embedding_scale and family != "llama":
        weights[HEAD] = weights[EMBEDDING] if config.tied else weights[HEAD]
        weights[EMBEDDING] = weights[EMBEDDING] * config.dim**0.5
        config = config.model_copy(update={"embedding_scale": False, "tied": False})
    if config.positions == "sinusoidal":
        weights["position.weight"] = sinusoidal(torch.arange(loaded.context), config.dim)
        config = config.model_copy(update={"positions": "learned", "max_positions": loaded.context})
    match family:
        case "llama":
            name, values, named = _llama(config, weights, loaded.context)
        case "opt":
            name, values, named = _opt(config, weights)
        case _:
            name, values, named = _gpt2(config, weights)
    if config.tied:
        del named["lm_head.weight"]
    _write(output, loaded, name, values | {"tie_word_embeddings": config.tied}, named)
    return name


def _family(config: ModelConfig, source: str) -> str:
    """The family of Hugging Face that can hold a configuration, most like it."""
    if config.positions == "rotary":
        family = "llama"
    elif config.activation in NEEDS["gpt2"]["activation"]:
        family = "gpt2"
    else:
        family = "opt"
    wrong = [
        f"{name} = {value!r} (not {' or '.join(map(repr, allowed))})"
        for name, allowed in ({"lookback": (0,)} | NEEDS[family]).items()
        if (value := getattr(config, name)) not in allowed
    ]
    if family == "opt" and config.final_norm and not config.norm_first:
        wrong.append("final_norm = True with norm_first = False")
    if wrong:
        raise UserError(f"{source} cannot be a {family} model of Hugging Face: {'; '.join(wrong)}")
    return family


def _llama(config: ModelConfig, weights: Weights, context: int) -> tuple[str, dict[str, Any], Weights]:
    """Llama, or Qwen2, which has biases where queries, keys and values are made."""
    name = "Qwen2ForCausalLM" if config.bias == "qkv" else "LlamaForCausalLM"
    named = {"model.embed_tokens.weight": weights[EMBEDDING], "model.norm.weight": weights["norm.weight"]}
    named["lm_head.weight"] = weights[HEAD]
    for layer in range(config.layers):
        ours, theirs = f"trunk.{layer}.", f"model.layers.{layer}."
        named |= _split_projections(config, weights, ours + "attention.queries_keys_values.", theirs + "self_attn.")
        named |= _renamed(weights, ours + "attention.project.", theirs + "self_attn.o_proj.")
        for kind in _kinds(weights, ours + "ffn.widen."):
            gate, up = weights[f"{ours}ffn.widen.{kind}"].chunk(2)
            named |= {f"{theirs}mlp.gate_proj.{kind}": gate, f"{theirs}mlp.up_proj.{kind}": up}
        named |= _renamed(weights, ours + "ffn.shrink.", theirs + "mlp.down_proj.")
        named |= _renamed(weights, ours + "attention_norm.", theirs + "input_layernorm.")
        named |= _renamed(weights, ours + "ffn_norm.", theirs + "post_attention_layernorm.")
    values: dict[str, Any] = {
        "model_type": "qwen2" if config.bias == "qkv" else "llama",
        "hidden_size": config.dim,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "max_position_embeddings": context,
        "rope_theta": config.rotary_base,  # where transformers 4 looks; the next is for 5
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rotary_base},
        "attention_dropout": config.attention_dropout,
    }
    if config.bias != "qkv":
        values |= {"attention_bias": config.bias == "all", "mlp_bias": config.bias == "all"}
    return name, values, named


def _opt(config: ModelConfig, weights: Weights) -> tuple[str, dict[str, Any], Weights]:
    unused = weights["position.weight"].new_zeros(OPT_POSITION_OFFSET, config.dim)
    named = {
        "model.decoder.embed_tokens.weight": weights[EMBEDDING],
        "model.decoder.embed_positions.weight": torch.cat([unused, weights["position.weight"]]),
        "lm_head.weight": weights[HEAD],
    }
    named |= _renamed(weights, "project_in.", "model.decoder.project_in.")
    named |= _renamed(weights, "project_out.", "model.decoder.project_out.")
    named |= _renamed(weights, "norm.", "model.decoder.final_layer_norm.")
    for layer in range(config.layers):
        ours, theirs = f"trunk.{layer}.", f"model.decoder.layers.{layer}."
        named |= _split_projections(config, weights, ours + "attention.queries_keys_values.", theirs + "self_attn.")
        named |= _renamed(weights, ours + "attention.project.", theirs + "self_attn.out_proj.")
        named |= _renamed(weights, ours + "attention_norm.", theirs + "self_attn_layer_norm.")
        named |= _renamed(weights, ours + "ffn.widen.", theirs + "fc1.")
        named |= _renamed(weights, ours + "ffn.shrink.", theirs + "fc2.")
        named |= _renamed(weights, ours + "ffn_norm.", theirs + "final_layer_norm.")
    values = {
        "model_type": "opt",
        "hidden_size": config.dim,
        "ffn_dim": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "max_position_embeddings": config.max_positions,
        "word_embed_proj_dim": config.embedding_dim or config.dim,
        "do_layer_norm_before": config.norm_first,
        "_remove_final_layer_norm": config.norm_first and not config.final_norm,
        "activation_function": ACTIVATIONS[config.activation],
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
    }
    return "OPTForCausalLM", values, named


def _gpt2(config: ModelConfig, weights: Weights) -> tuple[str, dict[str, Any], Weights]:
    named = {
        "transformer.wte.weight": weights[EMBEDDING],
        "transformer.wpe.weight": weights["position.weight"],
        "lm_head.weight": weights[HEAD],
    }
    named |= _renamed(weights, "norm.", "transformer.ln_f.")
    linear = {
        "attention.queries_keys_values.": "attn.c_attn.",
        "attention.project.": "attn.c_proj.",
        "ffn.widen.": "mlp.c_fc.",
        "ffn.shrink.": "mlp.c_proj.",
    }
    for layer in range(config.layers):
        ours, theirs = f"trunk.{layer}.", f"transformer.h.{layer}."
        for part, name in linear.items():  # stored as (in, out)
            named |= {key: tensor.t() for key, tensor in _renamed(weights, ours + part, theirs + name).items()}
        named |= _renamed(weights, ours + "attention_norm.", theirs + "ln_1.")
        named |= _renamed(weights, ours + "ffn_norm.", theirs + "ln_2.")
    values = {
        "model_type": "gpt2",
        "n_embd": config.dim,
        "n_inner": config.ffn,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_positions": config.max_positions,
        "activation_function": ACTIVATIONS[config.activation],
        "layer_norm_epsilon": config.norm_epsilon,
        "embd_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "attn_pdrop": config.attention_dropout,
    }
    return "GPT2LMHeadModel", values, named


def _kinds(weights: Weights, ours: str) -> list[str]:
    """Which of weight and bias a part has."""
    return [kind for kind in ("weight", "bias") if ours + kind in weights]


def _renamed(weights: Weights, ours: str, theirs: str) -> Weights:
    return {theirs + kind: weights[ours + kind] for kind in _kinds(weights, ours)}


def _split_projections(config: ModelConfig, weights: Weights, ours: str, theirs: str) -> Weights:
    """The joined projections `(D + 2 G D/H, D)` as three."""
    shared = config.dim // config.heads * (config.kv_heads or config.heads)
    return {
        f"{theirs}{name}_proj.{kind}": part
        for kind in _kinds(weights, ours)
        for name, part in zip("qkv", weights[ours + kind].split([config.dim, shared, shared]), strict=True)
    }


def _write(output: Path, model: TransformerLanguageModel, name: str, values: dict[str, Any], weights: Weights) -> None:
    vocabulary = model.vocabulary
    boundary = {f"{token}_token_id": vocabulary.boundary for token in ("bos", "eos", "pad")}
    generation: dict[str, Any] = dict(boundary)
    if vocabulary.inert:
        generation["suppress_tokens"] = list(range(vocabulary.boundary + 1, vocabulary.size))
    header = make_header(FORMAT, VERSION, quantizer=model.tokenizer.identity.model_dump(), inert=vocabulary.inert)
    described = {"architectures": [name], "vocab_size": vocabulary.size, "torch_dtype": "float32", "textless": header}
    with atomic_directory(output) as temporary:
        # Tied and sliced weights share memory, which safetensors refuses.
        tensors = {key: tensor.detach().clone().contiguous() for key, tensor in weights.items()}
        safetensors.torch.save_file(tensors, temporary / WEIGHTS_NAME, {"format": "pt"})
        write_json(temporary / "generation_config.json", generation)
        write_json(temporary / CONFIG_NAME, described | boundary | values)
