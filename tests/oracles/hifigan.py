"""The published unit HiFi-GAN, operation by operation over a dictionary of weights with the published names.

Batch 1, channels first, float32, no module and nothing shared with the package: the architecture of HiFi-GAN V1 (Kong
et al. 2020, appendix A) behind the embeddings of Polyak et al. 2021, and the F0 quantizer's encoder.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

State = dict[str, torch.Tensor]

CONFIG: dict[str, Any] = {
    "resblock": "1",
    "upsample_rates": [5, 4, 4, 2, 2],
    "upsample_kernel_sizes": [11, 8, 8, 4, 4],
    "upsample_initial_channel": 64,
    "resblock_kernel_sizes": [3, 7, 11],
    "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
    "num_embeddings": 12,
    "embedding_dim": 8,
    "model_in_dim": 8,
    "sampling_rate": 16000,
    "code_hop_size": 320,
}
DURATIONS = {"dur_predictor_params": {"encoder_embed_dim": 8, "var_pred_hidden_dim": 8, "var_pred_kernel_size": 3}}
F0_BINS = {"f0": True, "f0_quant_num_bin": 9}
F0_CODES = {
    "f0": True,
    "f0_normalize": True,
    "f0_quantizer": {
        "f0_vq_params": {"l_bins": 20, "emb_width": 16, "mu": 0.99, "levels": 1},
        "f0_encoder_params": {
            "input_emb_width": 1,
            "output_emb_width": 16,
            "levels": 1,
            "downs_t": [4],
            "strides_t": [2],
            "width": 8,
            "depth": 4,
            "m_conv": 1.0,
            "dilation_growth_rate": 3,
        },
    },
}


def shapes(h: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:  # noqa: C901 - a list
    """Names and shapes of all weights; a convolution under its plain name, "conv:" before it."""
    size = h["embedding_dim"]
    yield "dict.weight", (h["num_embeddings"], size)
    streams = size
    if h.get("f0"):
        table = "f0_quant_embed" if h.get("f0_quant_num_bin") else "f0_dict" if h.get("f0_quantizer") else None
        streams += size if table else 1
        if table:
            bins = h.get("f0_quant_num_bin") or h["f0_quantizer"]["f0_vq_params"]["l_bins"]
            yield f"{table}.weight", (bins, size)
    if h.get("multispkr"):
        streams += size
        if h.get("embedder_params"):
            yield "spkr.weight", (size, h.get("embedder_dim", 256))
            yield "spkr.bias", (size,)
        else:
            yield "spkr.weight", (h.get("num_speakers", 200), size)
    if h.get("multistyle"):
        streams += size
        yield "style.weight", (h.get("num_styles", 100), size)
    channels = h["upsample_initial_channel"]
    yield "conv:conv_pre", (channels, streams, 7)
    for i, kernel in enumerate(h["upsample_kernel_sizes"]):
        yield f"conv:ups.{i}", (channels, channels // 2, kernel)  # transposed: inputs first
        channels //= 2
        for j, (k, dilations) in enumerate(zip(h["resblock_kernel_sizes"], h["resblock_dilation_sizes"], strict=True)):
            for m in range(len(dilations)):
                for part in ("convs1", "convs2"):
                    yield (
                        f"conv:resblocks.{i * len(h['resblock_kernel_sizes']) + j}.{part}.{m}",
                        (channels, channels, k),
                    )
    yield "conv:conv_post", (1, channels, 7)
    if h.get("dur_predictor_params"):
        width = h["dur_predictor_params"]["var_pred_hidden_dim"]
        for n, inputs in ((1, size), (2, width)):
            yield f"dur_predictor.conv{n}.0.weight", (width, inputs, 3)
            yield f"dur_predictor.conv{n}.0.bias", (width,)
            yield f"dur_predictor.ln{n}.weight", (width,)
            yield f"dur_predictor.ln{n}.bias", (width,)
        yield "dur_predictor.proj.weight", (1, width)
        yield "dur_predictor.proj.bias", (1,)


def random_state(h: Mapping[str, Any], names: tuple[str, str] | None, seed: int = 0) -> State:
    """Random weights of a size that keeps the signal alive; `names` are weight norm's (None: without)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator)

    state: State = {}
    for name, shape in shapes(h):
        if not name.startswith("conv:"):
            state[name] = normal(*shape) + (1.0 if name == "dur_predictor.proj.bias" else 0.0)  # units last a while
            continue
        plain = name.removeprefix("conv:")
        direction = normal(*shape)
        scale = (0.5 + torch.rand(shape[0], 1, 1, generator=generator)) * (2.0 if "ups" in name else 0.8)
        if names is None:
            state[f"{plain}.weight"] = scale * direction / direction.flatten(1).norm(dim=1)[:, None, None]
        else:
            state[f"{plain}.{names[0]}"], state[f"{plain}.{names[1]}"] = scale, direction
        state[f"{plain}.bias"] = normal(shape[1] if "ups" in name else shape[0], scale=0.1)
    return state


def random_f0_quantizer(h: Mapping[str, Any], seed: int = 0) -> State:
    """Weights of the F0 quantizer that such a checkpoint carries: encoder, codebook, and something of a decoder."""
    generator = torch.Generator().manual_seed(seed)
    encoder, codes = h["f0_quantizer"]["f0_encoder_params"], h["f0_quantizer"]["f0_vq_params"]
    width, prefix, found = encoder["width"], "quantizer.encoder.level_blocks.0.model", {}

    def convolution(name: str, outputs: int, inputs: int, kernel: int) -> None:
        found[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, generator=generator) / (inputs * kernel) ** 0.5
        found[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1

    for i in range(encoder["downs_t"][0]):
        convolution(f"{prefix}.{i}.0", width, width if i else 1, 4)
        for d in range(encoder["depth"]):
            convolution(f"{prefix}.{i}.1.model.{d}.model.1", width, width, 3)
            convolution(f"{prefix}.{i}.1.model.{d}.model.3", width, width, 1)
    convolution(f"{prefix}.{encoder['downs_t'][0]}", encoder["output_emb_width"], width, 3)
    found["quantizer.vq.level_blocks.0.k"] = 0.3 * torch.randn(codes["l_bins"], codes["emb_width"], generator=generator)
    convolution("quantizer.decoder.out", 1, codes["emb_width"], 3)
    return found


def f0_codes(state: State, h: Mapping[str, Any], f0: torch.Tensor) -> torch.Tensor:
    """F0 less its mean over its deviation, 0 where unvoiced `(T,)` → codes `(T / 16,)`."""
    encoder, prefix = h["f0_quantizer"]["f0_encoder_params"], "quantizer.encoder.level_blocks.0.model"
    x = f0[None, None]
    for i in range(encoder["downs_t"][0]):
        x = F.conv1d(x, state[f"{prefix}.{i}.0.weight"], state[f"{prefix}.{i}.0.bias"], stride=2, padding=1)
        for d in range(encoder["depth"]):
            name, dilation = f"{prefix}.{i}.1.model.{d}.model", encoder["dilation_growth_rate"] ** d
            w, b = state[f"{name}.1.weight"], state[f"{name}.1.bias"]
            y = F.conv1d(F.relu(x), w, b, padding=dilation, dilation=dilation)
            x = x + F.conv1d(F.relu(y), state[f"{name}.3.weight"], state[f"{name}.3.bias"])
    last = f"{prefix}.{encoder['downs_t'][0]}"
    x = F.conv1d(x, state[f"{last}.weight"], state[f"{last}.bias"], padding=1)[0].T
    return (x[:, None] - state["quantizer.vq.level_blocks.0.k"]).square().sum(dim=2).argmin(dim=1)


def weight(state: State, name: str) -> torch.Tensor:
    if f"{name}.weight" in state:
        return state[f"{name}.weight"]
    for g, v in (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")):
        if f"{name}.{g}" in state:
            direction = state[f"{name}.{v}"]
            return state[f"{name}.{g}"] * direction / direction.square().sum(dim=(1, 2), keepdim=True).sqrt()
    raise KeyError(name)


def convolve(state: State, name: str, x: torch.Tensor, dilation: int = 1) -> torch.Tensor:
    w = weight(state, name)
    return F.conv1d(x, w, state[f"{name}.bias"], dilation=dilation, padding=(w.shape[2] - 1) // 2 * dilation)


def repeated(x: torch.Tensor, n: int) -> torch.Tensor:
    """`(1, D, T)` → `(1, D, n)`, each frame `n / T` times."""
    assert n % x.shape[2] == 0
    return x[:, :, torch.arange(n) // (n // x.shape[2])]


def synthesize(
    state: State,
    h: Mapping[str, Any],
    units: torch.Tensor,
    f0: torch.Tensor | None = None,
    speaker: torch.Tensor | int | None = None,
    style: int | None = None,
) -> torch.Tensor:
    """Units `(T,)`, F0 bins or values `(T or more,)`, a speaker (row or embedding), a style → waveform `(S,)`."""
    x = state["dict.weight"][units].T[None]  # (1, D, T)
    if f0 is not None:
        table = next((state[name] for name in ("f0_quant_embed.weight", "f0_dict.weight") if name in state), None)
        pitch = f0[None, None] if table is None else table[f0].T[None]
        n = max(x.shape[2], pitch.shape[2])
        x = torch.cat([repeated(x, n), repeated(pitch, n)], dim=1)
    if speaker is not None:
        row = state["spkr.weight"][speaker] if isinstance(speaker, int) else None
        vector = F.linear(speaker, state["spkr.weight"], state["spkr.bias"]) if row is None else row
        x = torch.cat([x, repeated(vector[None, :, None], x.shape[2])], dim=1)
    if style is not None:
        x = torch.cat([x, repeated(state["style.weight"][style][None, :, None], x.shape[2])], dim=1)
    x = convolve(state, "conv_pre", x)
    n_kernels = len(h["resblock_kernel_sizes"])
    for i, (rate, kernel) in enumerate(zip(h["upsample_rates"], h["upsample_kernel_sizes"], strict=True)):
        name = f"ups.{i}"
        x = F.leaky_relu(x, 0.1)
        x = F.conv_transpose1d(x, weight(state, name), state[f"{name}.bias"], stride=rate, padding=(kernel - rate) // 2)
        total = torch.zeros_like(x)
        for j in range(n_kernels):
            y = x
            for m, dilation in enumerate(h["resblock_dilation_sizes"][j]):
                z = convolve(state, f"resblocks.{i * n_kernels + j}.convs1.{m}", F.leaky_relu(y, 0.1), dilation)
                y = y + convolve(state, f"resblocks.{i * n_kernels + j}.convs2.{m}", F.leaky_relu(z, 0.1))
            total = total + y
        x = total / n_kernels
    return torch.tanh(convolve(state, "conv_post", F.leaky_relu(x, 0.01)))[0, 0]


def durations(state: State, units: torch.Tensor) -> torch.Tensor:
    """Deduplicated units `(N,)` → durations `(N,)`."""
    x = state["dict.weight"][units].T[None]
    for n in (1, 2):
        conv, norm = f"dur_predictor.conv{n}.0", f"dur_predictor.ln{n}"
        x = F.relu(F.conv1d(x, state[f"{conv}.weight"], state[f"{conv}.bias"], padding=1))[0].T
        x = F.layer_norm(x, x.shape[1:], state[f"{norm}.weight"], state[f"{norm}.bias"]).T[None]
    logs = x[0].T @ state["dur_predictor.proj.weight"].T + state["dur_predictor.proj.bias"]
    return torch.clamp(torch.round(torch.exp(logs[:, 0]) - 1), min=1).long()
