"""Encoders of torchaudio: features of its state dicts, and the table of published ones against its bundles."""

from functools import partial

import pytest
import torch
import torchaudio
from foreign_encoders import assert_same_features, torchaudio_layers, torchaudio_model

from textless.encoders.checkpoints import load_foreign
from textless.encoders.checkpoints_bare import TORCHAUDIO, read_shapes
from textless.encoders.foreign import build
from textless.encoders.published import MODELS
from textless.encoders.speech_transformer import SpeechTransformer


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
