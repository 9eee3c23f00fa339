"""fairseq's `transformer_lm`, one token at a time, from its description: a slow reference in double precision.

Weights come by fairseq's names. The norms stand before attention and feed-forward, the activation is ReLU, embeddings
are scaled by √D, positions are sinusoids counted from 2 (the padding index, 1, plus one), the output layer is the
embedding. Nothing is batched and nothing is cached.
"""

import math

import torch


def positions(length, dim):
    """Sinusoids `(T, D)`: sines in the first half, cosines in the second."""
    table = torch.empty(length, dim, dtype=torch.float64)
    for place in range(length):
        for i in range(dim // 2):
            angle = (place + 2) * 10000.0 ** (-i / (dim // 2 - 1))
            table[place, i], table[place, dim // 2 + i] = math.sin(angle), math.cos(angle)
    return table


def logits(weights, heads, symbols):
    """Symbols `(T,)` → logits `(T, V)` of what follows each."""
    w = {name: tensor.double() for name, tensor in weights.items() if tensor.is_floating_point()}
    embedding = w["decoder.embed_tokens.weight"]
    dim = embedding.shape[1]
    x = embedding[symbols] * math.sqrt(dim) + positions(len(symbols), dim)
    layer = 0
    while f"decoder.layers.{layer}.fc1.weight" in w:
        x = one_layer(w, f"decoder.layers.{layer}.", heads, x)
        layer += 1
    return norm(w, "decoder.layer_norm.", x) @ embedding.T


def one_layer(w, name, heads, x):
    normed = norm(w, name + "self_attn_layer_norm.", x)
    q, k, v = (linear(w, f"{name}self_attn.{part}_proj.", normed) for part in "qkv")
    size = x.shape[1] // heads
    attended = torch.zeros_like(x)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for t in range(len(x)):
            shares = torch.softmax(k[: t + 1, part] @ q[t, part] / math.sqrt(size), 0)
            attended[t, part] = shares @ v[: t + 1, part]
    x = x + linear(w, name + "self_attn.out_proj.", attended)
    inner = linear(w, name + "fc1.", norm(w, name + "final_layer_norm.", x)).clamp(min=0)
    return x + linear(w, name + "fc2.", inner)


def linear(w, name, x):
    return x @ w[name + "weight"].T + w[name + "bias"]


def norm(w, name, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * w[name + "weight"] + w[name + "bias"]


def random_weights(dim, layers, ffn, symbols, generator):
    """Weights of a model by fairseq's names, large enough for every one to matter."""

    def draw(*shape, around=0.0):
        return around + 0.3 * torch.randn(*shape, generator=generator)

    weights = {"decoder.version": torch.tensor([3.0]), "decoder.embed_positions._float_tensor": torch.zeros(1)}
    weights["decoder.embed_tokens.weight"] = draw(symbols, dim) / 3
    weights["decoder.embed_tokens.weight"][1] = 0.0  # padding
    for layer in range(layers):
        name = f"decoder.layers.{layer}."
        shapes = {f"self_attn.{part}_proj": (dim, dim) for part in ("k", "v", "q", "out")}
        for part, shape in (shapes | {"fc1": (ffn, dim), "fc2": (dim, ffn)}).items():
            weights |= {f"{name}{part}.weight": draw(*shape), f"{name}{part}.bias": draw(shape[0])}
        for part in ("self_attn_layer_norm", "final_layer_norm"):
            weights |= {f"{name}{part}.weight": draw(dim, around=1.0), f"{name}{part}.bias": draw(dim)}
    weights |= {"decoder.layer_norm.weight": draw(dim, around=1.0), "decoder.layer_norm.bias": draw(dim)}
    weights["decoder.output_projection.weight"] = weights["decoder.embed_tokens.weight"]
    return weights
