"""Unit LMs of other libraries give their logits here, and ours give theirs in transformers."""

import argparse
import json
import pickle
from pathlib import Path

import pytest
import torch
from oracles import fairseq_lm
from typer.testing import CliRunner

from textless.errors import UserError
from textless.training.checkpoint import save_model
from ulm.cache import Cache
from ulm.checkpoints import import_model
from ulm.checkpoints_huggingface import load_trunk
from ulm.cli import app
from ulm.config import ModelConfig, TrainConfig
from ulm.export import export_model
from ulm.language_model import TransformerLanguageModel, load_language_model
from ulm.model import UnitTransformer
from ulm.tokens import Tokenizer
from ulm.warm_start import initial_network
from units.identity import QuantizerIdentity, stated_identity
from units.quantizer import Quantizer, save_quantizer

transformers = pytest.importorskip("transformers", reason="the peer library that logits are compared with")

# Logits of these models spread over several units; float32 sums in another order move them by some 1e-6 of that.
TOLERANCE = 1e-4
K = 20
QUANTIZER = stated_identity("mfcc@50", K, 50.0)
LLAMA = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
OPT = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "ffn_dim": 48,
    "max_position_embeddings": 64,
    "word_embed_proj_dim": 32,
}
GPT2 = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
FAMILIES = {
    "llama": ("Llama", LLAMA),
    "llama-7b-like": ("Llama", LLAMA | {"num_key_value_heads": 4, "rms_norm_eps": 1e-5, "tie_word_embeddings": False}),
    "llama-biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "qwen2.5": ("Qwen2", LLAMA | {"tie_word_embeddings": True, "rope_parameters": {"rope_theta": 1e6}}),
    "opt-125m": ("OPT", OPT),
    "opt-350m": ("OPT", OPT | {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "gpt2": ("GPT2", GPT2),
}


def make(family, vocabulary=K + 1, seed=0, **symbols):
    """A model whose weights are large enough for every one of them to matter."""
    torch.manual_seed(seed)
    name, settings = FAMILIES[family]
    symbols = {"bos_token_id": K, "eos_token_id": K, "pad_token_id": None} | symbols
    config = getattr(transformers, f"{name}Config")(vocab_size=vocabulary, **settings, **symbols)
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    model = getattr(transformers, head)(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=1.0 if parameter.dim() == 1 else 0.0, std=0.25)
    return model.eval().requires_grad_(False)


def symbols_of(order, units):
    """What a foreign model reads for our tokens; `order` is its number of each of ours."""
    return torch.tensor(order)[units]


def tokens(length=30, rows=2, seed=0):
    drawn = torch.randint(0, K, (rows, length), generator=torch.Generator().manual_seed(seed))
    drawn[:, 0] = K
    return drawn


def same_everywhere(network, expected, read):
    """Logits of `read` `(B, T)` at once, and one by one with a cache, are the expected ones."""
    with torch.no_grad():
        assert (network(read) - expected).abs().max() < TOLERANCE
        cache = Cache.empty(network, len(read), read.shape[1])
        ones = torch.ones(len(read), dtype=torch.long)
        lengths = 5 * ones
        logits = network.read(read[:, :5], lengths, cache)
        for place in range(5, read.shape[1]):
            assert (logits - expected[:, place - 1]).abs().max() < TOLERANCE
            logits = network.read(read[:, place : place + 1], ones, cache)


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


def save_slamkit(folder, family="opt-125m", *, file="model.safetensors"):
    """What slamkit's `save_pretrained` writes: the text model inside, under `lm.`."""
    theirs = make(family, K + 2, bos_token_id=1, eos_token_id=1, pad_token_id=0)
    theirs.save_pretrained(folder)
    inner = json.loads((folder / "config.json").read_text())
    outer = {"model_type": "speech_language_model", "vocab_size": K + 2, "base_config": inner}
    (folder / "config.json").write_text(json.dumps(outer))
    state = {f"lm.{name}": tensor.clone() for name, tensor in theirs.state_dict().items()}
    (folder / "model.safetensors").unlink()
    if file.endswith(".bin"):
        torch.save(state, folder / file)
    else:
        state.pop("lm.lm_head.weight")
        halves = [dict(list(state.items())[:20]), dict(list(state.items())[20:])]
        from safetensors.torch import save_file

        names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
        for name, half in zip(names, halves, strict=True):
            save_file(half, folder / name)
        weight_map = {key: name for name, half in zip(names, halves, strict=True) for key in half}
        (folder / f"{file}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return theirs


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


def save_fairseq(path, weights, *, hydra=False, heads=4, **settings):
    values = {
        "arch": "transformer_lm_big",
        "decoder_embed_dim": 32,
        "decoder_ffn_embed_dim": 48,
        "decoder_layers": 3,
        "decoder_attention_heads": heads,
        "activation_fn": "relu",
        "share_decoder_input_output_embed": True,
        "tokens_per_sample": 64,
        "dropout": 0.1,
        **settings,
    }
    path.parent.mkdir(exist_ok=True)
    if hydra:
        task = {"tokens_per_sample": values.pop("tokens_per_sample")}
        torch.save({"args": None, "cfg": {"model": values, "task": task}, "model": weights}, path)
    else:
        torch.save({"args": argparse.Namespace(**values), "model": weights}, path)


UNTIED = {"share_decoder_input_output_embed": False}
UNIT_ORDER = torch.randperm(K, generator=torch.Generator().manual_seed(3)).tolist()


def save_gslm(folder, **settings):
    """A checkpoint with 4 special symbols, units by frequency and 4 madeupwords; its weights, and its order."""
    weights = fairseq_lm.random_weights(32, 3, 48, K + 8, torch.Generator().manual_seed(0))
    save_fairseq(folder / "checkpoint_best.pt", weights, **settings)
    lines = [f"{unit} {1000 - place}" for place, unit in enumerate(UNIT_ORDER)]
    lines += [f"madeupword{n:04d} 0" for n in range(4)]
    (folder / "dict.txt").write_text("\n".join(lines) + "\n")
    return weights, [*(4 + UNIT_ORDER.index(unit) for unit in range(K)), 2, 0, 1, 3, *range(K + 4, K + 8)]


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


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("scale", [False, True])
def test_our_own_models_with_added_positions_load_in_transformers(positions, activation, scale, tmp_path):
    config = ModelConfig(
        dim=32,
        layers=2,
        heads=4,
        ffn=48,
        lookback=0,
        bias="all",
        activation=activation,
        positions=positions,
        max_positions=40,
        embedding_scale=scale,
    )
    torch.manual_seed(0)
    network = UnitTransformer(config, K + 1).eval()
    TransformerLanguageModel(network, QUANTIZER, context=40).save(tmp_path / "ours")
    export_model(tmp_path / "ours", tmp_path / "theirs")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    with torch.no_grad():
        assert (theirs(tokens()).logits - network(tokens())).abs().max() < TOLERANCE


def test_the_modern_example_loads_in_transformers(tmp_path):
    config = TrainConfig.load(Path(__file__).parents[1] / "examples/configs/ulm-modern-5m.toml")
    torch.manual_seed(0)
    network = UnitTransformer(config.model, K + 1).eval()
    TransformerLanguageModel(network, QUANTIZER, config.context).save(tmp_path / "ours")
    assert export_model(tmp_path / "ours", tmp_path / "theirs") == "LlamaForCausalLM"
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "theirs").eval()
    with torch.no_grad():
        assert (theirs(tokens(300)).logits - network(tokens(300))).abs().max() < TOLERANCE


def test_what_hugging_face_cannot_hold_is_named(tmp_path):
    TransformerLanguageModel(UnitTransformer(ModelConfig(dim=24), K + 1), QUANTIZER, 64).save(tmp_path / "ours")
    with pytest.raises(UserError, match=r"lookback = 3.*norm = 'layer'.*activation = 'gelu'"):
        export_model(tmp_path / "ours", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


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


def save_quantizer_of(folder, k=K):
    quantizer = Quantizer(torch.arange(k * 39.0).view(k, 39), "mfcc@50", "0" * 64, 50.0)
    save_quantizer(folder, quantizer, {})
    return quantizer.identity


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_verbs_go_there_and_back(tmp_path):
    identity = save_quantizer_of(tmp_path / "q")
    theirs = make("llama", K + 2, bos_token_id=None, eos_token_id=None)
    theirs.save_pretrained(tmp_path / "theirs")
    places = (tmp_path / "theirs", tmp_path / "ours", "--quantizer", tmp_path / "q")
    assert "give --bos" in str(run("import", *places).exception)
    result = run("import", *places, "--bos", 0, "--eos", 0, "--offset", 2, "--context", 32, "--json")
    assert result.exit_code == 0, result.exception
    said = json.loads(result.stdout)
    assert (said["k"], said["inert"], said["context"]) == (K, 1, 32)
    assert said["parameters"] == sum(parameter.numel() for parameter in theirs.parameters())
    assert load_language_model(tmp_path / "ours").quantizer == identity
    assert "exists already" in str(run("import", *places, "--bos", 0, "--eos", 0).exception)
    result = run("import", *places, "--bos", 0, "--eos", 0, "--offset", 2, "--force")
    assert f"{K} units, 1 inert" in result.stdout

    result = run("export", tmp_path / "ours", tmp_path / "back")
    assert result.stdout.startswith("LlamaForCausalLM")
    assert "exists already" in str(run("export", tmp_path / "ours", tmp_path / "back").exception)
    assert run("export", tmp_path / "ours", tmp_path / "back", "--force").exit_code == 0
    other = tmp_path / "other"
    save_quantizer(other, Quantizer(torch.ones(K, 39), "mfcc@50", "0" * 64, 50.0), {})
    result = run("import", tmp_path / "back", tmp_path / "wrong", "--quantizer", other)
    assert "was made with the quantizer" in str(result.exception)


def test_a_dictionary_elsewhere(tmp_path):
    save_quantizer_of(tmp_path / "q")
    save_gslm(tmp_path / "lm")
    (tmp_path / "lm/dict.txt").rename(tmp_path / "symbols.txt")
    places = (tmp_path / "lm/checkpoint_best.pt", tmp_path / "ours", "--quantizer", tmp_path / "q")
    assert "not found" in str(run("import", *places).exception)
    assert run("import", *places, "--dictionary", tmp_path / "symbols.txt").exit_code == 0


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


def test_an_ngram_model_has_no_folder(tmp_path):
    save_model(tmp_path / "m", "textless-unit-lm", 1, {}, kind="ngram", quantizer=QUANTIZER.model_dump(), order=0)
    with pytest.raises(UserError, match="is an n-gram model"):
        export_model(tmp_path / "m", tmp_path / "theirs")
