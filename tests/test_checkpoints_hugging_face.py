"""Encoders of transformers give their features here, in every way that they are saved."""

import json

import pytest
import torch
from foreign_encoders import FAMILIES, assert_close, assert_same_features, make, save, transformers

from textless.encoders.checkpoints import load_foreign
from textless.encoders.encoder import load_encoder
from textless.errors import AudioError


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
