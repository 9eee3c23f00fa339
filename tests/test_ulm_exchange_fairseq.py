"""Unit LMs in checkpoints of fairseq give the logits of a literal implementation here."""

import pytest
import torch
from foreign_unit_lms import (
    QUANTIZER,
    TOLERANCE,
    same_everywhere,
    save_fairseq,
    save_gslm,
    symbols_of,
    tokens,
    transformers,
)
from oracles import fairseq_lm

from ulm.checkpoints import import_model
from ulm.export import export_model
from ulm.language_model import load_language_model


@pytest.mark.parametrize("hydra", [False, True])
def test_a_gslm_checkpoint_gives_its_logits_by_the_oracle(hydra, tmp_path):
    weights, order = save_gslm(tmp_path / "lm", hydra=hydra)
    import_model(tmp_path / "lm/checkpoint_best.pt", tmp_path / "ours", QUANTIZER)
    ours = load_language_model(tmp_path / "ours")
    assert (ours.context, ours.vocabulary.inert) == (64, 7)
    rows = [fairseq_lm.logits(weights, 4, symbols_of(order, row))[:, order] for row in tokens()]
    expected = torch.stack(rows).float()
    assert expected.std() > 0.5
    same_everywhere(ours.network, expected, tokens())

    assert export_model(tmp_path / "ours", tmp_path / "back") == "OPTForCausalLM"  # sinusoids as a table
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    assert (back(tokens()).logits - expected).abs().max() < TOLERANCE


def test_old_names_and_projections_in_one_piece(tmp_path):
    weights, _ = save_gslm(tmp_path / "new")
    old = {}
    for name, tensor in weights.items():
        older = name.replace("self_attn_layer_norm", "layer_norms.0").replace("final_layer_norm", "layer_norms.2")
        old["module." + older] = tensor
    for layer in range(3):
        for kind in ("weight", "bias"):
            attention = f"module.decoder.layers.{layer}.self_attn."
            parts = [old.pop(f"{attention}{part}_proj.{kind}") for part in "qkv"]
            old[f"{attention}in_proj_{kind}"] = torch.cat(parts)
    save_fairseq(tmp_path / "old/model.pt", old)
    arguments = {"dictionary": tmp_path / "new/dict.txt"}
    before = import_model(tmp_path / "new/checkpoint_best.pt", tmp_path / "a", QUANTIZER).network(tokens())
    assert torch.equal(
        import_model(tmp_path / "old/model.pt", tmp_path / "b", QUANTIZER, **arguments).network(tokens()), before
    )
