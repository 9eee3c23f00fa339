"""Published encoders: random weights of transformers and torchaudio, in every layout, give their features here."""

import argparse
import json
import re
import sys
import threading
import types
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
import torchaudio
from torch import nn
from torchaudio.models.wav2vec2.utils import import_fairseq
from typer.testing import CliRunner

from textless.audio.batches import pad
from textless.encoders import published
from textless.encoders.checkpoints import load_foreign
from textless.encoders.checkpoints_bare import TORCHAUDIO, read_shapes
from textless.encoders.checkpoints_fairseq import read_convolutions
from textless.encoders.cli import app
from textless.encoders.encoder import load_encoder
from textless.encoders.foreign import build
from textless.encoders.published import MODELS, Published
from textless.encoders.speech_transformer import SpeechTransformer
from textless.errors import AudioError, UserError

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


def assert_same_weights(first, second):
    torch.testing.assert_close(dict(first.state_dict()), dict(second.state_dict()), rtol=0, atol=0)
    loose = {"waveform_epsilon": 0, "normalise_waveform": False}
    assert first.config.model_copy(update=loose) == second.config.model_copy(update=loose)


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


@pytest.mark.parametrize("family", FAMILIES)
def test_hugging_face_models_give_their_features_at_every_layer(tmp_path, family):
    model = make(family)
    normalises = family in ("hubert-large", "xls-r", "wavlm-large", "data2vec-audio")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalises)
    path = save(model, tmp_path / family, normalises=normalises)
    encoder = load_foreign(path).encoder
    waveforms = [torch.randn(n) * 0.1 + 0.02 for n in (encoder.min_samples, 8001, 1283, 16_003)]

    last_block = []  # some versions give the last of `hidden_states` with the final norm, others without
    model.encoder.layers[-1].register_forward_hook(lambda _, __, out: last_block.append(out))

    def expected(waveform):
        prepared = extractor(waveform.numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        *layers, _ = model(prepared, output_hidden_states=True).hidden_states
        out = last_block.pop()
        return [x[0] for x in (*layers, out[0] if isinstance(out, tuple) else out)]

    assert_same_features(path, waveforms, expected, encoder.num_layers)
    assert encoder.frame_rate == (25 if family == "mhubert-25hz" else 50)
    with torch.inference_mode():
        last, _ = encoder(waveforms[1][None], torch.tensor([8001]), encoder.num_layers)
        prepared = extractor(waveforms[1].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
        theirs = model(prepared).last_hidden_state
    assert_close(encoder.transformer.final_norm(last), theirs)
    with pytest.raises(AudioError, match="less than one frame"):
        load_encoder(f"{path}:0").encode([torch.zeros(encoder.min_samples - 1)])


@pytest.mark.parametrize(
    ("family", "head", "prefix"),
    [
        ("hubert-base", "ForCTC", "hubert."),
        ("xls-r", "ForPreTraining", "wav2vec2."),
        ("wavlm-base", "ForSequenceClassification", "wavlm."),
        ("data2vec-audio", "ForCTC", "data2vec_audio."),
    ],
)
def test_every_way_to_save_a_hugging_face_model_is_the_same_encoder(tmp_path, family, head, prefix):
    model = make(family, head)
    bare = load_foreign(save(getattr(model, model.base_model_prefix), tmp_path / "bare"))
    with_head = load_foreign(save(model, tmp_path / "head"))
    assert with_head.source == f"Hugging Face: {model.config.model_type}"
    heads = {key for key in model.state_dict() if not key.startswith(prefix)}
    assert heads
    assert set(with_head.ignored) >= heads
    assert {key.removeprefix(prefix) for key in set(with_head.ignored) - heads} <= {"masked_spec_embed"}
    save(model, tmp_path / "parts", max_shard_size="60KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    # Files of older versions: a pickle, and weight norm under other names.
    state = {
        key.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for key, tensor in model.state_dict().items()
    }
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_bytes((tmp_path / "head" / "config.json").read_bytes())
    torch.save(state, tmp_path / "old" / "pytorch_model.bin")
    for other in ("head", "parts", "old", "old/pytorch_model.bin", "head/model.safetensors"):
        assert load_foreign(tmp_path / other).encoder.sha256() == bare.encoder.sha256(), other


def test_without_a_word_on_it_large_models_normalise_the_waveform(tmp_path):
    for family, normalises in {"hubert-base": False, "hubert-large": True, "data2vec-audio": True}.items():
        folder = save(make(family), tmp_path / family)
        assert load_foreign(folder).encoder.config.normalise_waveform == normalises
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": {"do_normalize": False}}))
    assert not load_foreign(folder).encoder.config.normalise_waveform


# torchaudio


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


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm"])
@pytest.mark.parametrize("large", [False, True])
def test_torchaudio_state_dicts_give_their_features_at_every_layer(tmp_path, kind, large):
    model = torchaudio_model(large=large, kind=kind)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    foreign = load_foreign(tmp_path / "model.pth")
    assert foreign.ignored == ("aux.weight", "aux.bias")
    assert foreign.encoder.config.normalise_waveform == large
    waveforms = [torch.randn(n) * 0.1 + 0.02 for n in (401, 9999, 400, 1283)]
    assert_same_features(tmp_path / "model.pth", waveforms, partial(torchaudio_layers, model, large=large), 2)
    wrapped = {f"wav2vec2.{key}": tensor for key, tensor in model.state_dict().items()}
    torch.save(wrapped | {"logit_generator.label_embeddings": torch.zeros(1)}, tmp_path / "pretraining.pt")
    assert load_foreign(tmp_path / "pretraining.pt").encoder.sha256() == foreign.encoder.sha256()


BUNDLES = {
    "hubert-base": "HUBERT_BASE",
    "hubert-large": "HUBERT_LARGE",
    "hubert-xlarge": "HUBERT_XLARGE",
    "wav2vec2-base": "WAV2VEC2_BASE",
    "wav2vec2-large": "WAV2VEC2_LARGE",
    "wav2vec2-large-lv60k": "WAV2VEC2_LARGE_LV60K",
    "wav2vec2-xlsr-53": "WAV2VEC2_XLSR53",
    "xls-r-300m": "WAV2VEC2_XLSR_300M",
    "xls-r-1b": "WAV2VEC2_XLSR_1B",
    "xls-r-2b": "WAV2VEC2_XLSR_2B",
    "wavlm-base": "WAVLM_BASE",
    "wavlm-base-plus": "WAVLM_BASE_PLUS",
    "wavlm-large": "WAVLM_LARGE",
}


@pytest.mark.parametrize("name", BUNDLES)
def test_the_table_and_the_shapes_agree_with_torchaudios_bundles_at_full_size(name):
    bundle, model = getattr(torchaudio.pipelines, BUNDLES[name]), MODELS[name]
    assert model.url == f"https://download.pytorch.org/torchaudio/models/{bundle._path}"
    params = bundle._params
    with torch.device("meta"):
        make_model = (
            torchaudio.models.wavlm_model if bundle._model_type == "WavLM" else torchaudio.models.wav2vec2_model
        )
        weights, ignored = TORCHAUDIO.translate(make_model(**params).state_dict())
    assert not ignored
    config = read_shapes(weights, name)
    encoder = build(SpeechTransformer, config, weights, name)
    transformer, front = config.transformer, config.front_end
    assert config.normalise_waveform == model.normalises == bundle._normalize_waveform
    assert (encoder.num_layers, encoder.dim, encoder.frame_rate) == (model.layers, model.dim, model.frame_rate)
    assert [list(layer) for layer in front.layers] == [list(layer) for layer in params["extractor_conv_layer_config"]]
    assert f"{front.norm}_norm" == params["extractor_mode"]
    assert front.bias == params["extractor_conv_bias"]
    assert transformer.heads == params["encoder_num_heads"]
    assert transformer.norm_first == params["encoder_layer_norm_first"]
    assert transformer.position_kernel == params["encoder_pos_conv_kernel"]
    assert transformer.position_groups == params["encoder_pos_conv_groups"]
    assert transformer.relative_buckets == params.get("encoder_num_buckets", 0)
    assert transformer.relative_distance == params.get("encoder_max_distance", transformer.relative_distance)


# fairseq, Spirit-LM, WavLM's own


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


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "distilhubert"])
def test_fairseq_files_hold_the_same_encoders(tmp_path, family):
    model = make(family)
    reference = load_foreign(save(model, tmp_path / "reference")).encoder
    state, settings = fairseq_checkpoint(family, model)
    heads = {"final_proj.weight": torch.zeros(2, 2), "label_embs_concat": torch.zeros(2), "_ema": {"a": torch.zeros(1)}}
    content = {"args": None, "cfg": {"model": settings, "task": {"normalize": True}}, "model": state | heads}
    torch.save(content, tmp_path / "model.pt")
    foreign = load_foreign(tmp_path / "model.pt")
    assert_same_weights(foreign.encoder, reference)
    assert set(foreign.ignored) == heads.keys() | ({"mask_emb"} & state.keys())
    assert foreign.source == f"fairseq: {family}"
    assert foreign.encoder.config.normalise_waveform
    assert foreign.encoder.config.waveform_epsilon == 1e-5


def test_settings_come_as_namespaces_omegaconf_groups_or_flat_and_may_lie_within_others(tmp_path, monkeypatch):
    model = make("hubert-base")
    reference = load_foreign(save(model, tmp_path / "reference")).encoder
    state, settings = fairseq_checkpoint("hubert-base", model)
    fakes = {}
    packages = ("omegaconf", "omegaconf.dictconfig", "omegaconf.nodes", "fairseq", "fairseq.data")
    for module, name in zip(packages, ("", "DictConfig", "AnyNode", "", "Dictionary"), strict=True):
        fakes[name] = type(name, (), {"__module__": module})
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: fakes[name]}))

    def node(value):
        made = fakes["DictConfig" if isinstance(value, dict) else "AnyNode"]()
        if isinstance(value, dict):
            made._content = {key: node(item) for key, item in value.items()}
        else:
            made._val = value
        return made

    task = {"normalize": False}
    both = {"model": settings, "task": task}
    tuned = {f"w2v_encoder.w2v_model.{key}": tensor for key, tensor in state.items()}
    tuned["w2v_encoder.proj.weight"] = torch.zeros(1)
    files = {
        "namespace": {"args": argparse.Namespace(**settings, **task), "cfg": {"model": {}}, "model": state},
        "omegaconf": {"cfg": node(both), "model": state, "task_state": {"dictionaries": [fakes["Dictionary"]()]}},
        "spirit-lm": {"model_cfg": settings, "task_cfg": task, "model_weight": state, "dictionaries_symbols": []},
        "flat": {"cfg": settings | task, "model": state},
        "tuned": {"cfg": {"model": {"_name": "ctc", "w2v_args": both}, "task": task}, "model": tuned},
        "tuned long ago": {"args": argparse.Namespace(w2v_args=argparse.Namespace(**settings)), "model": tuned},
        "half": {"cfg": both, "model": {key: tensor.half() for key, tensor in state.items()}},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=name != "tuned long ago")
    for module in packages:
        monkeypatch.delitem(sys.modules, module)
    for name in files:
        foreign = load_foreign(tmp_path / name)
        if name == "half":
            assert foreign.encoder.projection.weight.dtype == torch.float32
        else:
            assert foreign.encoder.sha256() == reference.sha256(), name
        assert ("w2v_encoder.proj.weight" in foreign.ignored) == name.startswith("tuned")


def test_fairseq_features_are_those_of_torchaudios_own_conversion(tmp_path):
    model = make("xls-r")
    state, settings = fairseq_checkpoint("xls-r", model)
    torch.save({"args": argparse.Namespace(**settings, normalize=True), "model": state}, tmp_path / "model.pt")
    converted = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tensor
        for key, tensor in import_fairseq._convert_state_dict(state).items()
    }
    names = {
        "extractor_conv_layer_config": list(
            zip(model.config.conv_dim, model.config.conv_kernel, model.config.conv_stride, strict=True)
        ),
        "extractor_mode": "layer_norm",
        "extractor_conv_bias": True,
        "encoder_embed_dim": 48,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": 3,
        "encoder_num_heads": 4,
        "encoder_ff_interm_features": 96,
        "encoder_layer_norm_first": True,
        "aux_num_out": None,
    }
    drops = ("projection_dropout", "attention_dropout", "ff_interm_dropout", "dropout", "layer_drop")
    peer = torchaudio.models.wav2vec2_model(**names, **{f"encoder_{name}": 0.0 for name in drops}).eval()
    peer.load_state_dict(converted)
    peer.requires_grad_(False)
    waveforms = [torch.randn(n) * 0.1 + 0.02 for n in (4001, 400)]
    assert_same_features(tmp_path / "model.pt", waveforms, partial(torchaudio_layers, peer, large=True), 3)


def test_convolutions_are_read_from_an_expression_that_is_not_run(tmp_path):
    expression = "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]"
    assert read_convolutions(expression, "x") == [(512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2]
    assert read_convolutions([[8, 10, 5], [8, 3, 2]], "x") == [(8, 10, 5), (8, 3, 2)]
    touched = tmp_path / "touched"
    for text in (
        f"__import__('os').system('touch {touched}')",
        f"[open({str(touched)!r}, 'w')]",
        "[(1, 2, 3)] * 10 ** 9",
        "[(1, 2, 3)] * 64 * 64",
        "[(1, 2)]",
        "[]",
        "(1, 2",
        "3",
        None,
    ):
        with pytest.raises(UserError, match="conv_feature_layers"):
            read_convolutions(text, "x")
    assert not touched.exists()


# bshall


class BshallHubert(nn.Module):
    """The facts of github.com/bshall/hubert, in torch's own modules."""

    def __init__(self):
        super().__init__()
        kernels = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))
        convs = {f"conv{i}": nn.Conv1d(16 if i else 1, 16, k, s, bias=False) for i, (k, s) in enumerate(kernels)}
        self.feature_extractor = nn.ModuleDict(convs | {"norm0": nn.GroupNorm(16, 16)})
        self.feature_projection = nn.ModuleDict({"norm": nn.LayerNorm(16), "projection": nn.Linear(16, 768)})
        conv = nn.Conv1d(768, 768, 128, padding=64, groups=16)
        self.positional_embedding = nn.ModuleDict({"conv": nn.utils.parametrizations.weight_norm(conv, dim=2)})
        self.norm = nn.LayerNorm(768)
        layer = nn.TransformerEncoderLayer(768, 12, 64, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.proj = nn.Linear(768, 256)
        self.masked_spec_embed = nn.Parameter(torch.rand(768))
        self.label_embedding = nn.Embedding(100, 256)

    def layers(self, waveform):
        x = F.pad(waveform[None, None], (40, 40))
        for i in range(7):
            x = self.feature_extractor[f"conv{i}"](x)
            x = F.gelu(self.feature_extractor["norm0"](x) if i == 0 else x)
        x = self.feature_projection["projection"](self.feature_projection["norm"](x.mT))
        x = self.norm(x + F.gelu(self.positional_embedding["conv"](x.mT)[..., :-1]).mT)
        result = [x[0]]
        for layer in self.encoder.layers:
            x = layer(x)
            result.append(x[0])
        return result


def test_bshalls_hubert_gives_its_features_at_every_layer(tmp_path):
    model = randomised(BshallHubert())
    path = tmp_path / "hubert-discrete.pt"
    torch.save({"hubert": {f"module.{key}": tensor for key, tensor in model.state_dict().items()}, "step": 3}, path)
    foreign = load_foreign(path)
    assert {key.removeprefix("module.") for key in foreign.ignored} == {
        "proj.weight",
        "proj.bias",
        "masked_spec_embed",
        "label_embedding.weight",
    }
    waveforms = [torch.randn(n) * 0.1 for n in (320, 16_000, 5001)]
    assert_same_features(path, waveforms, model.layers, 2)
    assert len(load_encoder(f"{path}:2").encode(waveforms)[1]) == 50, "samples / 320"


# What cannot be used


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def test_files_that_would_run_something_are_refused(tmp_path):
    touched, path = tmp_path / "touched", tmp_path / "evil.pt"
    for is_zip in (True, False):
        torch.save({"args": Evil(f"touch {touched}"), "model": {}}, path, _use_new_zipfile_serialization=is_zip)
        with pytest.raises(UserError, match=r"asks to import (posix|os)\.system"):
            load_foreign(path)
        assert not touched.exists()
    torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(UserError, match="TorchScript"):
        load_foreign(path)


def test_damaged_and_unknown_files(tmp_path):
    folder = save(make("hubert-base"), tmp_path / "hubert")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    torch.save(state, tmp_path / "whole.pt")
    for name, whole in (("model.safetensors", folder / "model.safetensors"), ("part.pt", tmp_path / "whole.pt")):
        (tmp_path / name).write_bytes(whole.read_bytes()[:-9000])
        with pytest.raises(UserError, match="damaged"):
            load_foreign(tmp_path / name)
    contents = {
        "holds a list": [1, 2],
        "holds a dict": {1: torch.zeros(1)},
        r"unexpected: a\.weight, b\.bias; missing: one of": {"a.weight": torch.zeros(1), "b.bias": torch.zeros(1)},
        "no args or cfg": {"model": fairseq_checkpoint("hubert-base", make("hubert-base"))[0]},
        r"has no config\.json": state,
    }
    for message, content in contents.items():
        torch.save(content, tmp_path / "file.pt")
        with pytest.raises(UserError, match=message):
            load_foreign(tmp_path / "file.pt")
    with pytest.raises(UserError, match="checkpoint not found"):
        load_foreign(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no weights"):
        load_foreign(tmp_path / "empty")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 96}, r"of another shape: .*\(48,\) instead of \(96,\)"),
        ({"num_hidden_layers": 2}, r"unexpected: transformer\.blocks\.2\."),
        ({"num_hidden_layers": 4}, r"missing: transformer\.blocks\.3\."),
        ({"conv_bias": True}, r"missing: front_end\.convs\.0\.bias"),
        ({"conv_kernel": (10, 3)}, "differ in length"),
        ({"conv_kernel": 3}, "are no lists"),
        ({"model_type": "whisper"}, "'whisper' cannot be read, only hubert"),
        ({"hidden_act": "swish"}, "hidden_act|activation"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim 16 is not supported"),
        ({"layer_norm_eps": 1e-3}, "layer_norm_eps"),
    ],
)
def test_a_configuration_that_the_weights_do_not_fit(tmp_path, change, message):
    folder = save(make("hubert-base"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        load_foreign(folder)


def test_layers_parts_and_rates_that_are_not_there(tmp_path):
    folder = save(make("hubert-base"), tmp_path / "a", normalises=False, max_shard_size="60KB")
    with pytest.raises(UserError, match="asks for layer 4: .* has layers 0 to 3"):
        load_encoder(f"{folder}:4")
    with pytest.raises(UserError, match="names no layer"):
        load_encoder(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 24_000}))
    with pytest.raises(UserError, match="sampling_rate 24000"):
        load_foreign(folder)
    next(iter(folder.glob("model-00002*"))).unlink()
    with pytest.raises(UserError, match="file not found: .*model-00002"):
        load_foreign(folder)


def test_bare_weights_of_sizes_that_they_do_not_tell(tmp_path):
    state = torchaudio_model(large=False).state_dict()
    other = {key: tensor[..., :512] if key.endswith("projection.bias") else tensor for key, tensor in state.items()}
    other["encoder.feature_projection.projection.weight"] = torch.zeros(512, 16)
    kernels = state | {"feature_extractor.conv_layers.6.conv.weight": torch.zeros(16, 16, 4)}
    missing = {key: tensor for key, tensor in state.items() if "feature_projection.projection.weight" not in key}
    for content, message in (
        (other, "number of heads"),
        (kernels, "strides of convolutions"),
        (missing, r"missing: projection\.weight"),
    ):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(UserError, match=message):
            load_foreign(tmp_path / "x.pt")


# Names, downloads and the command line


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of this machine that stands for those of the table, and an empty cache; yields its folder."""
    folder = tmp_path / "server"
    folder.mkdir()
    handler = type("Handler", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("TEXTLESS_CACHE", str(tmp_path / "cache"))
    address = f"http://127.0.0.1:{httpd.server_address[1]}/"
    monkeypatch.setattr(published, "_HUGGING_FACE", address + "hf/")
    monkeypatch.setitem(MODELS, "one-file", Published(address + "model.pth", layers=2))
    monkeypatch.setitem(MODELS, "other-file", Published(address + "model.pth", layers=2, sha256="00"))
    monkeypatch.setitem(MODELS, "other-size", Published(address + "model.pth", layers=3))
    monkeypatch.setitem(MODELS, "folder", Published(address + "hf/someone/hubert", layers=3, dim=48))
    yield folder
    httpd.shutdown()
    httpd.server_close()


def test_names_are_downloaded_once_and_verified(server, tmp_path):
    model = torchaudio_model(large=False)
    torch.save(model.state_dict(), server / "model.pth")
    assert not published.is_cached("one-file")
    encoder = load_encoder("one-file:2")
    assert encoder.sha256 == load_foreign(server / "model.pth").encoder.sha256()
    path = published.cached_path("one-file")
    (server / "model.pth").write_bytes(b"another file now")
    assert load_encoder("one-file:1").sha256 == encoder.sha256, "from the cache"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match="was removed: its SHA-256 is"):
        load_encoder("one-file:1")
    with pytest.raises(UserError, match="SHA-256"):  # fetched again, but it is not what it was at first
        load_encoder("one-file:1")
    with pytest.raises(UserError, match="but 00 is expected"):
        load_encoder("other-file:1")
    assert not published.is_cached("other-file")
    torch.save(model.state_dict(), server / "model.pth")
    with pytest.raises(UserError, match="'layers': 2.*but other-size has .*'layers': 3"):
        load_encoder("other-size:1")


def test_folders_of_hugging_face_are_downloaded_with_what_they_have(server):
    source = save(make("hubert-base"), server / "hf" / "someone" / "hubert" / "resolve" / "main", normalises=True)
    torch.save(safetensors.torch.load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    encoder = load_encoder("folder:3")
    assert encoder.sha256 == load_foreign(source).encoder.sha256()
    (source / "config.json").unlink()
    assert load_encoder("folder:3").sha256 == encoder.sha256
    for file in published.cached_path("folder").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"folder is not in the cache and http.*config\.json cannot be fetched .*404"):
        load_encoder("folder:3")


def test_without_a_network_the_message_says_what_to_do(server, monkeypatch):
    monkeypatch.setitem(MODELS, "far-away", Published("http://127.0.0.1:9/model.pth"))
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/model.pth cannot be fetched .*textless encoder import"):
        load_encoder("far-away:1")
    with pytest.raises(UserError, match="did you mean hubert-base"):
        load_encoder("hubert-bsae:1")


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_names_every_encoder(server):
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert rows["hubert-large"] == {
        "name": "hubert-large",
        "frame_rate": 50.0,
        "layers": 24,
        "dim": 1024,
        "normalises": True,
        "source": "torchaudio hubert_fairseq_large_ll60k.pth",
        "cached": False,
    }
    assert rows["logmel"]["dim"] == 80
    assert rows["folder"]["source"] == "Hugging Face someone/hubert"
    lines = run("list").splitlines()
    assert len(lines) == 1 + len(rows)
    assert all(name in text for name, text in zip(rows, lines[1:], strict=True))


def test_import_and_describe(server, tmp_path):
    folder = save(make("hubert-base", "ForCTC"), tmp_path / "hubert")
    out = tmp_path / "ours"
    imported = json.loads(run("import", folder, out, "--json"))
    assert imported["layout"] == "Hugging Face: hubert"
    assert "lm_head.weight" in imported["ignored"]
    described = json.loads(run("describe", out, "--json"))
    assert described == {key: imported[key] for key in imported if key != "ignored"} | {"checkpoint": "hubert"}
    assert (described["layers"], described["dim"], described["min_samples"]) == (3, 48, 400)
    assert load_encoder(f"{out}:2").sha256 == load_encoder(f"{folder}:2").sha256 == described["sha256"]
    assert f"{'parameters':18} {described['parameters']}" in run("describe", folder)
    assert json.loads(run("describe", "wavlm-large", "--json"))["cached"] is False
    assert "computed" in run("describe", "mfcc")

    again = CliRunner().invoke(app, ["import", str(folder), str(out)])
    assert isinstance(again.exception, UserError)
    assert f"-> {out}" in run("import", folder, out, "--force")
    with pytest.raises(UserError, match="already"):
        CliRunner().invoke(app, ["import", str(out), str(tmp_path / "x")], catch_exceptions=False)


def test_names_can_be_imported_and_described_once_they_are_there(server, tmp_path):
    torch.save(torchaudio_model(large=False).state_dict(), server / "model.pth")
    imported = json.loads(run("import", "one-file", tmp_path / "ours", "--json"))
    assert json.loads(run("describe", "one-file", "--json")) == imported
    with pytest.raises(UserError, match="'nothing-of-the-kind' is no file"):
        CliRunner().invoke(app, ["describe", "nothing-of-the-kind"], catch_exceptions=False)
