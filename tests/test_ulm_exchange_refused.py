"""Foreign unit LMs that cannot be used: of another K or architecture, damaged, malicious; options that do not fit."""

import json
import pickle

import pytest
import torch
from foreign_unit_lms import QUANTIZER, make, save_fairseq, save_gslm, save_slamkit

from textless.errors import UserError
from ulm.checkpoints import import_model
from units.identity import QuantizerIdentity

UNTIED = {"share_decoder_input_output_embed": False}


def test_another_k_is_an_error_that_says_both(tmp_path):
    other = QuantizerIdentity(encoder="mfcc@50", k=10, frame_rate=50.0, sha256="0")
    save_slamkit(tmp_path / "slamkit")
    with pytest.raises(UserError, match=r"has 20 symbols that can be units.*K = 10"):
        import_model(tmp_path / "slamkit", tmp_path / "ours", other)
    save_gslm(tmp_path / "lm")
    with pytest.raises(UserError, match=r"holds unit 19 \(20 units in all\).*K = 10"):
        import_model(tmp_path / "lm/checkpoint_best.pt", tmp_path / "ours", other)
    more = QuantizerIdentity(encoder="mfcc@50", k=30, frame_rate=50.0, sha256="0")
    with pytest.raises(UserError, match=r"lacks unit 20 .*K = 30"):
        import_model(tmp_path / "lm/checkpoint_best.pt", tmp_path / "ours", more)
    (tmp_path / "lm/dict.txt").write_text("0 1\n")
    with pytest.raises(UserError, match=r"makes 5 symbols.*model has 28"):
        import_model(tmp_path / "lm/checkpoint_best.pt", tmp_path / "ours", QUANTIZER)
    make("llama").save_pretrained(tmp_path / "llama")
    with pytest.raises(UserError, match="symbol 20 is both the boundary and unit 19"):
        import_model(tmp_path / "llama", tmp_path / "ours", QUANTIZER, offset=1)


def test_another_architecture_is_an_error_that_names_its_keys(tmp_path):
    weights = {"encoder.layers.0.fc1.weight": torch.zeros(2, 2), "mask_emb": torch.zeros(2)}
    save_fairseq(tmp_path / "hubert.pt", weights)
    with pytest.raises(
        UserError, match=r"no decoder-only language model.*unexpected: encoder.layers.0.fc1.weight, mask_emb"
    ):
        import_model(tmp_path / "hubert.pt", tmp_path / "ours", QUANTIZER)

    weights, _ = save_gslm(tmp_path / "lm")
    prosody = weights | {"decoder.embed_other_list.0.weight": torch.zeros(2, 2)}
    save_fairseq(tmp_path / "lm/pgslm.pt", prosody)
    with pytest.raises(UserError, match=r"unexpected: decoder.embed_other_list.0.weight"):
        import_model(tmp_path / "lm/pgslm.pt", tmp_path / "ours", QUANTIZER)
    save_fairseq(tmp_path / "lm/wide.pt", weights, decoder_ffn_embed_dim=64)
    with pytest.raises(UserError, match=r"of another shape: trunk.0.ffn.widen.weight \(48, 32\) instead of \(64, 32\)"):
        import_model(tmp_path / "lm/wide.pt", tmp_path / "ours", QUANTIZER)
    save_fairseq(tmp_path / "lm/untied.pt", {k: w for k, w in weights.items() if "output" not in k}, **UNTIED)
    with pytest.raises(UserError, match="no language model: it has no head.weight"):
        import_model(tmp_path / "lm/untied.pt", tmp_path / "ours", QUANTIZER)
    save_fairseq(tmp_path / "lm/adaptive.pt", weights, adaptive_input=True)
    with pytest.raises(UserError, match="adaptive_input = True is not supported"):
        import_model(tmp_path / "lm/adaptive.pt", tmp_path / "ours", QUANTIZER)
    torch.save({"model": weights}, tmp_path / "lm/bare.pt")
    with pytest.raises(UserError, match="no args or cfg"):
        import_model(tmp_path / "lm/bare.pt", tmp_path / "ours", QUANTIZER)

    make("llama").save_pretrained(tmp_path / "folder")
    path = tmp_path / "folder/config.json"
    config = json.loads(path.read_text())
    for change, message in (
        ({"model_type": "mamba"}, "type 'mamba', not llama"),
        ({"model_type": "gpt2"}, "does not say n_embd"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type = 'yarn' is not supported"),
        ({"head_dim": 16}, "head_dim = 16 is not supported"),
    ):
        path.write_text(json.dumps(config | change))
        with pytest.raises(UserError, match=message):
            import_model(tmp_path / "folder", tmp_path / "ours", QUANTIZER)
    path.write_text("[]")
    with pytest.raises(UserError, match="no settings but a list"):
        import_model(tmp_path / "folder", tmp_path / "ours", QUANTIZER)
    assert not (tmp_path / "ours").exists()


class Malicious:
    def __reduce__(self):
        return exec, ("raise SystemExit('executed')",)


def test_damaged_and_malicious_files_are_refused(tmp_path):
    save_gslm(tmp_path / "lm")
    path = tmp_path / "lm/checkpoint_best.pt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match="damaged or not a checkpoint"):
        import_model(path, tmp_path / "ours", QUANTIZER)
    path.write_bytes(pickle.dumps({"model": Malicious()}, protocol=2))
    with pytest.raises(UserError, match=r"damaged|asks to import"):
        import_model(path, tmp_path / "ours", QUANTIZER)
    torch.save({"model": {"a": Malicious()}}, path)
    with pytest.raises(UserError, match="asks to import .*exec"):
        import_model(path, tmp_path / "ours", QUANTIZER)
    torch.save([1], path)
    with pytest.raises(UserError, match="no checkpoint of fairseq"):
        import_model(path, tmp_path / "ours", QUANTIZER)

    make("llama").save_pretrained(tmp_path / "folder")
    weights = tmp_path / "folder/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="damaged"):
        import_model(tmp_path / "folder", tmp_path / "ours", QUANTIZER)
    weights.unlink()
    with pytest.raises(UserError, match="holds no weights"):
        import_model(tmp_path / "folder", tmp_path / "ours", QUANTIZER)
    (tmp_path / "folder/config.json").unlink()
    with pytest.raises(UserError, match=r"has no config.json"):
        import_model(tmp_path / "folder", tmp_path / "ours", QUANTIZER)
    assert not (tmp_path / "ours").exists()


def test_options_of_the_other_layout_are_refused(tmp_path):
    save_gslm(tmp_path / "lm")
    with pytest.raises(UserError, match="--offset, --bos and --eos are for folders"):
        import_model(tmp_path / "lm/checkpoint_best.pt", tmp_path / "ours", QUANTIZER, offset=2)
    with pytest.raises(UserError, match="--dictionary is for checkpoint files"):
        import_model(tmp_path / "lm", tmp_path / "ours", QUANTIZER, dictionary=tmp_path / "lm/dict.txt")
    make("gpt2").save_pretrained(tmp_path / "gpt2")
    with pytest.raises(UserError, match="beyond the 64 positions"):
        import_model(tmp_path / "gpt2", tmp_path / "ours", QUANTIZER, context=65)
