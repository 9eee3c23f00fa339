"""Small encoders of other libraries: random weights, saved in every layout, and what features are compared with."""

import re

import pytest
import torch
import torch.nn.functional as F
import torchaudio
from torch import nn

from textless.audio.batches import pad
from textless.encoders.checkpoints import load_foreign
from textless.encoders.encoder import load_encoder

transformers = pytest.importorskip("transformers", reason="the peer library that features are compared with")

TOLERANCE = 1e-4  # of the largest feature: float32 rounding through every layer, in sums of another order
SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": (32,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
HZ25 = {"conv_dim": (32,) * 8, "conv_kernel": (10, 3, 3, 3, 3, 2, 2, 2), "conv_stride": (5, *(2,) * 7)}
BUCKETS = {"num_buckets": 32, "max_bucket_distance": 40}  # distances beyond 40 frames share one, and are reached
HUBERT, WAV2VEC2, WAVLM, DATA2VEC = "Hubert", "Wav2Vec2", "WavLM", "Data2VecAudio"
FAMILIES = {
    "hubert-base": (HUBERT, {}),
    "hubert-large": (HUBERT, LARGE),
    "wav2vec2-base": (WAV2VEC2, {}),
    "xls-r": (WAV2VEC2, LARGE | {"conv_bias": True}),
    "wavlm-base": (WAVLM, BUCKETS),
    "wavlm-large": (WAVLM, BUCKETS | LARGE),
    "data2vec-audio": (DATA2VEC, {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}),
    "distilhubert": (HUBERT, {"feat_proj_layer_norm": False, "num_hidden_layers": 2}),
    "mhubert-147": (HUBERT, {"conv_pos_batch_norm": True}),
    "mhubert-25hz": (HUBERT, HZ25),
}


def randomised(model):
    """Weights that are all away from what they begin with, norms and gates included."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 or name.endswith("gru_rel_pos_const"):
            nn.init.normal_(parameter, mean=0.5, std=0.3)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            nn.init.uniform_(buffer, 0.5, 2.0)
    return model.eval().requires_grad_(False)


def make(family, head="Model"):
    kind, differences = FAMILIES[family]
    config = getattr(transformers, f"{kind}Config")(**SMALL | differences)
    return randomised(getattr(transformers, f"{kind}{head}")(config))


def save(model, folder, *, normalises=None, **options):
    model.save_pretrained(folder, **options)
    if normalises is not None:
        transformers.Wav2Vec2FeatureExtractor(do_normalize=normalises).save_pretrained(folder)
    return folder


def assert_same_features(path, waveforms, expected, n_layers):
    """All layers of a batch of ours are those of the peer, `expected(waveform)`, for every waveform alone."""
    with torch.inference_mode():
        everything = [expected(waveform) for waveform in waveforms]
        layers, frames = load_foreign(path).encoder.all_layers(*pad(waveforms))
    assert len(layers) == n_layers + 1
    for index, (n_frames, theirs) in enumerate(zip(frames, everything, strict=True)):
        for ours, wanted in zip(layers, theirs, strict=True):
            if wanted is not None:
                assert_close(ours[index, :n_frames], wanted)
    torch.testing.assert_close(load_encoder(f"{path}:1").encode(waveforms)[0], layers[1][0, : frames[0]])


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


def torchaudio_model(*, large, kind="wav2vec2"):
    sizes = {
        "extractor_mode": "layer_norm" if large else "group_norm",
        "extractor_conv_layer_config": [(16, kernel, stride) for _, kernel, stride in [(0, 10, 5), *[(0, 3, 2)] * 4]]
        + [(16, 2, 2)] * 2,
        "extractor_conv_bias": large,
        "encoder_embed_dim": 768,
        "encoder_projection_dropout": 0.0,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 16,
        "encoder_num_layers": 2,
        "encoder_num_heads": 12,
        "encoder_attention_dropout": 0.0,
        "encoder_ff_interm_features": 64,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": 0.0,
        "encoder_layer_norm_first": large,
        "encoder_layer_drop": 0.0,
        "aux_num_out": 29,
    }
    if kind == "wavlm":
        sizes |= {"encoder_num_buckets": 320, "encoder_max_distance": 800}
    return randomised(getattr(torchaudio.models, f"{kind}_model")(**sizes))


def torchaudio_layers(model, waveform, *, large):
    if large:
        waveform = F.layer_norm(waveform, waveform.shape)
    return [None, *(x[0] for x in model.extract_features(waveform[None])[0])]


def fairseq_key(key, norm, position):
    """What fairseq calls a weight of Hugging Face's models."""
    key = key.replace("masked_spec_embed", "mask_emb").replace("encoder.pos_conv_embed.", "encoder.pos_conv.")
    key = key.replace("feature_projection.layer_norm", "layer_norm").replace(
        "feature_projection.projection", "post_extract_proj"
    )
    key = re.sub(r"(conv_layers\.\d+)\.conv\.", r"\1.0.", key)
    key = re.sub(r"(conv_layers\.\d+)\.layer_norm\.", r"\1.2.1." if norm == "layer" else r"\1.2.", key)
    match position:
        case "stack":
            key = re.sub(r"pos_conv\.layers\.(\d+)\.conv", r"pos_conv.\1.0", key)
        case "batch norm":
            key = key.replace("pos_conv.batch_norm", "pos_conv.0").replace("pos_conv.conv", "pos_conv.1")
        case _:
            key = key.replace("pos_conv.conv.parametrizations.weight.original0", "pos_conv.0.weight_g")
            key = key.replace("pos_conv.conv.parametrizations.weight.original1", "pos_conv.0.weight_v")
            key = key.replace("pos_conv.conv.", "pos_conv.0.")
    key = re.sub(r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm", key)
    key = key.replace(".attention.rel_attn_embed", ".self_attn.relative_attention_bias")
    key = key.replace(".attention.gru_rel_pos_linear", ".self_attn.grep_linear")
    key = key.replace(".attention.gru_rel_pos_const", ".self_attn.grep_a").replace(".attention.", ".self_attn.")
    return key.replace("feed_forward.intermediate_dense", "fc1").replace("feed_forward.output_dense", "fc2")


def fairseq_checkpoint(family, model):
    """State dict and settings as fairseq has them."""
    config = model.config
    norm = "layer" if family == "data2vec-audio" else config.feat_extract_norm
    position = {"data2vec-audio": "stack", "mhubert-147": "batch norm"}.get(family, "")
    state = {fairseq_key(key, norm, position): tensor for key, tensor in model.state_dict().items()}
    layers = list(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True))
    settings = {
        "_name": family,
        "extractor_mode": "layer_norm" if norm == "layer" else "default",
        "conv_feature_layers": f"{layers[:1]} + {layers[1:2]} * 4 + {layers[5:]}",
        "conv_bias": config.conv_bias,
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "activation_fn": "gelu",
        "layer_norm_first": getattr(config, "do_stable_layer_norm", False),
        "conv_pos": config.num_conv_pos_embeddings,
        "conv_pos_groups": config.num_conv_pos_embedding_groups,
    }
    if position == "stack":
        depth = config.num_conv_pos_embeddings
        settings |= {"pos_conv_depth": depth, "conv_pos": depth * config.conv_pos_kernel_size}
    if position == "batch norm":
        settings |= {"conv_pos_batch_norm": True}
    if hasattr(config, "num_buckets"):
        relative = {"num_buckets": config.num_buckets, "max_distance": config.max_bucket_distance}
        settings |= {"relative_position_embedding": True, "gru_rel_pos": True} | relative
    return state, settings
