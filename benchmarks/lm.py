"""Speed of the unit LM, training and scoring, beside GPT-NeoX of transformers with the same weights, and how far apart.

    python benchmarks/lm.py [--threads 2] [--dim 256 --layers 6 --heads 4 --ffn 1024]

Without transformers the comparison is left out. GPT-NeoX is the model there with the same parts (rotary positions,
layer norm, GELU); our lookback is set to 0 for it, since it has none.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from ulm.config import ModelConfig
from ulm.data import IGNORED, PackedUnits
from ulm.likelihood import window_log_probs
from ulm.model import UnitTransformer
from ulm.ngram import NgramModel
from ulm.vocabulary import Vocabulary

K, CONTEXT, ROWS = 100, 256, 8


def main() -> None:
    parser = argparse.ArgumentParser()
    for name, default in (("threads", 2), ("dim", 256), ("layers", 6), ("heads", 4), ("ffn", 1024), ("steps", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    random = np.random.default_rng(0)
    sequences = [random.integers(0, K, length).tolist() for length in random.integers(20, 200, 200)]
    n_tokens = sum(map(len, sequences))
    size = {"dim": options.dim, "layers": options.layers, "heads": options.heads, "ffn": options.ffn}
    plain = UnitTransformer(ModelConfig(**size, lookback=0, dropout=0.0, tied=False), K + 1)
    print(f"{options.threads} threads, {torch.get_num_interop_threads()} inter-op; torch {torch.__version__}")

    for name, model in (("ours", UnitTransformer(ModelConfig(**size), K + 1)), ("ours, lookback 0", plain)):
        n_parameters = sum(p.numel() for p in model.parameters()) / 1e6
        for bf16 in (False, True):
            rate = training_rate(model, sequences, options.steps, bf16=bf16)
            print(f"train  {name:18} {n_parameters:5.2f} M  {'bf16' if bf16 else 'fp32'}  {rate:8.0f} tokens/s")
    rate = n_tokens / seconds(lambda: window_log_probs(plain, Vocabulary(K), CONTEXT, sequences, 8192))
    print(f"score  ours, fp32: {rate:8.0f} tokens/s")
    ngrams = NgramModel.fit(sequences, K, 5)
    print(f"score  5-gram:     {n_tokens / seconds(lambda: ngrams.log_probs(sequences)):8.0f} tokens/s")
    compare_with_neox(plain, sequences)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def training_rate(model: torch.nn.Module, sequences: list[list[int]], steps: int, *, bf16: bool) -> float:
    """Tokens a second of forward, backward and update on packed rows."""
    data = PackedUnits(sequences, Vocabulary(K), CONTEXT)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)

    def update(step: int) -> None:
        batch = data.batch(step, ROWS, seed=0)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(batch.tokens, batch.documents).flatten(0, 1).float()
            loss = F.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    model.train()
    update(0)
    return steps * ROWS * CONTEXT / seconds(lambda: [update(step) for step in range(steps)])


def compare_with_neox(model: UnitTransformer, sequences: list[list[int]]) -> None:
    try:
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM
    except ImportError:
        print("transformers is not installed: no comparison")
        return
    config = model.config
    other = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=K + 1,
            hidden_size=config.dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            intermediate_size=config.ffn,
            rotary_pct=1.0,
            use_parallel_residual=False,
            attention_bias=False,
            hidden_act="gelu",
        )
    )
    other.load_state_dict(neox_weights(model, dict(other.state_dict())))
    tokens = torch.tensor([(sequence * 20)[:CONTEXT] for sequence in sequences[:ROWS]])
    with torch.no_grad():
        deviation = (other.eval()(tokens).logits - model.eval()(tokens)).abs().max()
    print(f"largest deviation of a logit from GPT-NeoX with the same weights: {float(deviation):.1e}")
    optimizer = torch.optim.AdamW(other.parameters(), fused=True)

    def update(bf16: bool) -> None:  # noqa: FBT001
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = other(tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    other.train()
    for bf16 in (False, True):
        update(bf16)
        rate = 3 * tokens.numel() / seconds(lambda bf16=bf16: [update(bf16) for _ in range(3)])
        print(f"train  GPT-NeoX, no packing           {'bf16' if bf16 else 'fp32'}  {rate:8.0f} tokens/s")

    def score() -> None:
        with torch.inference_mode():
            other.eval()(tokens)

    print(f"score  GPT-NeoX, fp32: {tokens.numel() / seconds(score):8.0f} tokens/s")


def neox_weights(model: UnitTransformer, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our weights under GPT-NeoX's names; its biases are zero."""
    state = {name: torch.zeros_like(tensor) if name.endswith("bias") else tensor for name, tensor in state.items()}
    state["gpt_neox.embed_in.weight"] = model.embedding.weight
    state["gpt_neox.final_layer_norm.weight"] = model.norm.weight
    state["embed_out.weight"] = model.head.weight
    heads, dim = model.config.heads, model.config.dim
    for layer, block in enumerate(model.trunk):
        prefix = f"gpt_neox.layers.{layer}"
        qkv = block.attention.queries_keys_values.weight.view(3, heads, dim // heads, dim)
        # Ours holds queries, keys, values of all heads; theirs, the three of one head after another.
        state[f"{prefix}.attention.query_key_value.weight"] = qkv.transpose(0, 1).reshape(3 * dim, dim)
        state[f"{prefix}.attention.dense.weight"] = block.attention.project.weight
        state[f"{prefix}.input_layernorm.weight"] = block.attention_norm.weight
        state[f"{prefix}.post_attention_layernorm.weight"] = block.ffn_norm.weight
        state[f"{prefix}.mlp.dense_h_to_4h.weight"] = block.ffn.widen.weight
        state[f"{prefix}.mlp.dense_4h_to_h.weight"] = block.ffn.shrink.weight
    return state


if __name__ == "__main__":
    main()
