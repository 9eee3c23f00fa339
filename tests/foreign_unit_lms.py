"""Small unit LMs of other libraries: random weights, saved in every layout, and what their logits are compared with."""

import argparse
import json

import pytest
import torch
from oracles import fairseq_lm

from ulm.cache import Cache
from units.identity import stated_identity

transformers = pytest.importorskip("transformers", reason="the peer library that logits are compared with")

# Logits of these models spread over several units; float32 sums in another order move them by some 1e-6 of that.
TOLERANCE = 1e-4
K = 20
QUANTIZER = stated_identity("mfcc@50", K, 50.0)
LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
OPT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 32,
}
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
FAMILIES = {
    "llama": ("Llama", LLAMA),
    "llama-7b-like": ("Llama", LLAMA | {"num_key_value_heads": 4, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}),
    "llama-biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "qwen2.5": ("Qwen2", LLAMA | {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e6}}),
    "opt-125m": ("OPT", OPT),
    "opt-350m": ("OPT", OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "gpt2": ("GPT2", GPT2),
}


def make(family, vocabulary=K + 1, seed=0, **symbols):
    """A model whose weights are large enough for every one of them to matter."""
    torch.manual_seed(seed)
    name, settings = FAMILIES[family]
    symbols = {"bos_token_id": K, "eos_token_id": K, "pad_token_id": None} | symbols
    config = getattr(transformers, f"{name}Config")(vocab_size=vocabulary, **settings, **symbols)
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    model = getattr(transformers, head)(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.25)
    return model.eval().requires_grad_(False)


def symbols_of(order, units):
    """What a foreign model reads for our tokens; `order` is its number of each of ours."""
    return torch.tensor(order)[units]


def tokens(length=30, rows=2, seed=0):
    drawn = torch.randint(0, K, (rows, length), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = K
    return drawn


def same_everywhere(network, expected, read):
    """Logits of `read` `(B, T)` at once, and one by one with a cache, are the expected ones."""
    with torch.no_grad():
        assert (network(read) - expected).abs().max() < TOLERANCE
        cache = Cache.empty(network, len(read), read.shape[1])
        ones = torch.ones(len(read), dtype=torch.long)
        lengths = 5 * ones
        logits = network.read(read[:, :5], lengths, cache)
        for place in range(5, read.shape[1]):
            assert (logits - expected[:, place - 1]).abs().max() < TOLERANCE
            logits = network.read(read[:, place : place + 1], ones, cache)


def save_slamkit(folder, family="opt-125m", *, file="model.safetensors"):
    """What slamkit's `save_pretrained` writes: the text model inside, under `lm.`."""
    theirs = make(family, K + 2, bos_token_id=1, eos_token_id=1, pad_token_id=0)
    theirs.save_pretrained(folder)
    inner = json.loads((folder / "config.json").read_text())
    outer = {"model_type": "speech_language_model", "vocab_size": K + 2, "base_config": inner}
    (folder / "config.json").write_text(json.dumps(outer))
    state = {f"lm.{name}": tensor.clone() for name, tensor in theirs.state_dict().items()}
    (folder / "model.safetensors").unlink()
    if file.endswith(".bin"):
        torch.save(state, folder / file)
    else:
        state.pop("lm.lm_head.weight")
        halves = [dict(list(state.items())[:20]), dict(list(state.items())[20:])]
        from safetensors.torch import save_file

        names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        for name, half in zip(names, halves, strict=True):
            save_file(half, folder / name)
        weight_map = {key: name for name, half in zip(names, halves, strict=True) for key in half}
        (folder / f"{file}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return theirs


def save_fairseq(path, weights, *, hydra=False, heads=4, **settings):
    values = {
        "arch": "transformer_lm_big",
        "decoder_embed_dim": 32,
        "decoder_ffn_embed_dim": 48,
        "decoder_layers": 3,
        "decoder_attention_heads": heads,
        "activation_fn": "relu",
        "share_decoder_input_output_embed": True,
        "tokens_per_sample": 64,
        "dropout": 0.1,
        **settings,
    }
    path.parent.mkdir(exist_ok=True)
    if hydra:
        task = {"tokens_per_sample": values.pop("tokens_per_sample")}
        torch.save({"args": None, "cfg": {"model": values, "task": task}, "model": weights}, path)
    else:
        torch.save({"args": argparse.Namespace(**values), "model": weights}, path)


UNIT_ORDER = torch.randperm(K, generator=torch.Generator().manual_seed(3)).tolist()


def save_gslm(folder, **settings):
    """A checkpoint with 4 special symbols, units by frequency and 4 madeupwords; its weights, and its order."""
    weights = fairseq_lm.random_weights(32, 3, 48, K + 8, torch.Generator().manual_seed(0))
    save_fairseq(folder / "checkpoint_best.pt", weights, **settings)
    lines = [f"{unit} {1000 - place}" for place, unit in enumerate(UNIT_ORDER)]
    lines += [f"madeupword{n:04d} 0" for n in range(4)]
    (folder / "dict.txt").write_text("\n".join(lines) + "\n")
    return weights, [*(4 + UNIT_ORDER.index(unit) for unit in range(K)), 2, 0, 1, 3, *range(K + 4, K + 8)]
