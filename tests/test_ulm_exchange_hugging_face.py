"""Unit LMs in folders of Hugging Face give their logits here, whole, as parts, in half precision or as a trunk."""

import pytest
import torch
from foreign_unit_lms import (
    FAMILIES,
    QUANTIZER,
    TOLERANCE,
    K,
    make,
    same_everywhere,
    save_slamkit,
    symbols_of,
    tokens,
    transformers,
)

from textless.errors import UserError
from ulm.checkpoints import import_model
from ulm.checkpoints_huggingface import load_trunk
from ulm.config import TrainConfig
from ulm.export import export_model
from ulm.language_model import load_language_model
from ulm.model import UnitTransformer
from ulm.tokens import Tokenizer
from ulm.warm_start import initial_network


@pytest.mark.parametrize("family", FAMILIES)
def test_a_hugging_face_model_gives_its_logits_and_goes_back(family, tmp_path):
    theirs = make(family)
    theirs.save_pretrained(tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "ours", QUANTIZER)
    ours = load_language_model(tmp_path / "ours")
    assert (ours.context, ours.vocabulary.inert, ours.quantizer) == (64, 0, QUANTIZER)
    expected = theirs(tokens()).logits
    assert expected.std() > 0.5
    same_everywhere(ours.network, expected, tokens())

    assert export_model(tmp_path / "ours", tmp_path / "back") == type(theirs).__name__
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    assert type(back) is type(theirs)
    assert torch.equal(back(tokens()).logits, expected)
    assert back.generation_config.eos_token_id == K


def test_the_first_position_and_the_last_are_read(tmp_path):
    theirs = make("gpt2")
    theirs.save_pretrained(tmp_path / "theirs")
    network = import_model(tmp_path / "theirs", tmp_path / "ours", QUANTIZER).network
    with pytest.raises(ValueError, match="65 tokens .* only 64"):
        network(tokens(65))
    with torch.no_grad():
        assert torch.allclose(network(tokens(64)), theirs(tokens(64)).logits, atol=TOLERANCE)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_slamkit_folders_in_parts_or_pickled(file, tmp_path):
    theirs = save_slamkit(tmp_path / "theirs", file=file)
    import_model(tmp_path / "theirs", tmp_path / "ours", QUANTIZER)
    ours = load_language_model(tmp_path / "ours")
    assert ours.vocabulary.inert == 1
    order = [*range(2, K + 2), 1, 0]
    expected = theirs(symbols_of(order, tokens())).logits[..., order]
    same_everywhere(ours.network, expected, tokens())

    export_model(tmp_path / "ours", tmp_path / "back")
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back").eval()
    assert (back(tokens()).logits - expected).abs().max() < TOLERANCE
    assert back.generation_config.suppress_tokens == [K + 1]
    again = import_model(tmp_path / "back", tmp_path / "again", QUANTIZER)
    assert again.vocabulary.inert == 1


def test_a_twist_folder_with_an_offset_and_ends_that_are_not_beginnings(tmp_path):
    """The log probability of an utterance is that of the foreign model, from its `bos` to its `eos`."""
    for tied in (False, True):
        theirs = make("llama", K + 3, bos_token_id=1, eos_token_id=2, pad_token_id=0, tie_word_embeddings=tied)
        theirs.config.offset = 3
        theirs.save_pretrained(tmp_path / "theirs")
        import_model(tmp_path / "theirs", tmp_path / "ours", QUANTIZER, force=True)
        units = tokens()[0, 1:].tolist()
        symbols = torch.tensor([[1, *(unit + 3 for unit in units), 2]])
        expected = theirs(symbols[:, :-1]).logits.log_softmax(-1).gather(-1, symbols[:, 1:, None])[0, :, 0]
        (found,) = load_language_model(tmp_path / "ours").log_probs([units])
        assert (torch.from_numpy(found) - expected).abs().max() < TOLERANCE


def test_weights_in_half_precision_are_kept_and_read_as_they_are(tmp_path):
    make("qwen2.5").bfloat16().save_pretrained(tmp_path / "theirs")
    half = import_model(tmp_path / "theirs", tmp_path / "ours", QUANTIZER).network
    assert half.embedding.weight.dtype == torch.bfloat16
    with torch.no_grad():
        found = load_language_model(tmp_path / "ours").network(tokens())
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs", dtype=torch.float32).eval()
    assert (found - theirs(tokens()).logits).abs().max() < TOLERANCE


def test_the_trunk_of_a_text_model_is_all_but_its_vocabulary(tmp_path):
    theirs = make("opt-350m", vocabulary=300)
    theirs.save_pretrained(tmp_path)
    config, trunk = load_trunk(tmp_path)
    network = UnitTransformer(config, K + 1)
    missing, unexpected = network.load_state_dict(trunk, strict=False)
    assert set(missing) == {"embedding.weight", "head.weight"}
    assert not unexpected
    for ours, name in (("position.weight", "embed_positions"), ("project_in.weight", "project_in")):
        expected = theirs.get_parameter(f"model.decoder.{name}.weight")
        assert torch.equal(network.get_parameter(ours), expected[2:] if name == "embed_positions" else expected)


def test_training_from_a_text_model_stays_within_its_positions(tmp_path):
    make("gpt2").save_pretrained(tmp_path)
    values = {"data": {"train": "units.jsonl"}, "init": {"model": str(tmp_path)}, "context": 65, "batch_tokens": 65}
    with pytest.raises(UserError, match="context 65 is longer than the 64 positions"):
        initial_network(TrainConfig.parse(values, "test"), Tokenizer(QUANTIZER))
    network, _ = initial_network(TrainConfig.parse(values | {"context": 64}, "test"), Tokenizer(QUANTIZER))
    assert network(tokens(64)).shape == (2, 64, K + 1)
