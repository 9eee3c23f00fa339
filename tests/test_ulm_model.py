"""The Transformer in all its shapes: no leaks between utterances, caches, dropout."""

from dataclasses import replace
from itertools import chain

import pytest
import torch
from test_ulm_data import packed_data, random_units

from textless.errors import UserError
from ulm.attention import attend
from ulm.cache import Cache
from ulm.config import ModelConfig, TrainConfig
from ulm.dropout import dropout, replace_units
from ulm.model import UnitTransformer
from ulm.norms import RMSNorm
from ulm.positions import document_positions

TINY = ModelConfig(dim=32, layers=2, heads=2, ffn=64, dropout=0.0)
PLAIN = {"lookback": 0, "heads": 4}
SHAPES = {
    "ours": {},
    "modern": PLAIN | {"norm": "rms", "activation": "swiglu", "kv_heads": 2},
    "one key for all": PLAIN | {"kv_heads": 1, "bias": "qkv"},
    "gslm": PLAIN | {"positions": "sinusoidal", "embedding_scale": True, "activation": "relu", "bias": "all"},
    "learned": PLAIN | {"positions": "learned", "max_positions": 40, "activation": "gelu-tanh", "tied": False},
    "norms after": PLAIN | {"norm_first": False, "final_norm": False, "embedding_dim": 16, "positions": "sinusoidal"},
    "lookback beside positions": {"positions": "sinusoidal", "lookback": 2},
}
shapes = pytest.mark.parametrize("shape", SHAPES)


def lively(config: ModelConfig = TINY, k: int = 10, seed: int = 0) -> UnitTransformer:
    """A model whose weights are large enough for every position to matter."""
    torch.manual_seed(seed)
    model = UnitTransformer(config, k + 1).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def shaped(shape: str, **more: object) -> UnitTransformer:
    return lively(TINY.model_copy(update=SHAPES[shape] | more))


def packed(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Utterances in one row, and their numbers."""
    rows = [[10, *units] for units in random_units(lengths)]
    numbers = [number for number, row in enumerate(rows) for _ in row]
    return torch.tensor([list(chain(*rows))]), torch.tensor([numbers])


@shapes
@pytest.mark.parametrize("bf16", [False, True])
def test_packed_utterances_do_not_see_one_another(shape: str, bf16: bool) -> None:
    tokens, documents = packed([9, 7, 8])
    model = shaped(shape)
    perturbed = tokens.clone()
    others = documents != 1
    perturbed[others] = (perturbed[others] + 3) % 10
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.no_grad():
        before, after = model(tokens, documents), model(perturbed, documents)
    assert torch.equal(before[~others], after[~others])
    assert not torch.allclose(before[others], after[others])


@shapes
def test_packed_logits_are_those_of_the_utterance_alone(shape: str) -> None:
    tokens, documents = packed([9, 7, 8])
    model = shaped(shape)
    together = model(tokens, documents)
    for number in range(3):
        inside = documents[0] == number
        # Rotations are relative, but their sines and cosines are of other angles: float32 rounding.
        assert torch.allclose(together[0, inside], model(tokens[:, inside])[0], atol=1e-4)


def test_positions_begin_again_in_every_document() -> None:
    documents = torch.tensor([[0, 0, 0, 1, 2, 2], [5, 5, 5, 5, 5, 5]])
    assert document_positions(documents).tolist() == [[0, 1, 2, 0, 0, 1], [0, 1, 2, 3, 4, 5]]


@shapes
def test_the_future_changes_nothing(shape: str) -> None:
    model, tokens = shaped(shape), torch.tensor(random_units([12]))
    later = tokens.clone()
    later[:, 7:] = (later[:, 7:] + 1) % 10
    assert torch.allclose(model(tokens)[:, :7], model(later)[:, :7], atol=1e-6)


@shapes
def test_the_past_and_its_order_matter(shape: str) -> None:
    model, tokens = shaped(shape), torch.tensor(random_units([12]))
    swapped = tokens[:, [1, 0, *range(2, 12)]]
    assert tokens[0, 0] != tokens[0, 1]
    assert (model(tokens)[:, -1] - model(swapped)[:, -1]).abs().max() > 1e-3


@shapes
def test_reading_with_a_cache_is_reading_at_once(shape: str) -> None:
    model = shaped(shape)
    tokens, lengths = torch.tensor(random_units([12, 12, 12])), torch.tensor([5, 1, 3])
    full = model(tokens)
    cache = Cache.empty(model, 3, 12)
    logits = model.read(tokens[:, :5], lengths, cache)  # padded by what comes later: must not matter
    rows = torch.arange(3)
    # Sums in another order: float32 rounding of logits of several units.
    assert torch.allclose(logits, full[rows, lengths - 1], atol=1e-4)
    for _ in range(4):
        logits = model.read(tokens[rows, lengths][:, None], torch.ones(3, dtype=torch.long), cache)
        lengths = lengths + 1
        assert torch.allclose(logits, full[rows, lengths - 1], atol=1e-4)
    logits = model.read(tokens[rows[:, None], lengths[:, None] + torch.arange(3)], torch.tensor([3, 2, 3]), cache)
    assert torch.allclose(logits, full[rows, lengths + torch.tensor([2, 1, 2])], atol=1e-4)


def test_rows_of_a_cache_are_copied_and_replaced() -> None:
    model = shaped("modern")
    tokens, ones = torch.tensor(random_units([6, 6])), torch.ones(2, dtype=torch.long)
    full = model(tokens)
    cache = Cache.empty(model, 2, 6)
    model.read(tokens[:, :5], 5 * ones, cache)
    twice = cache.select(torch.tensor([1, 1]))
    assert torch.allclose(model.read(tokens[[1, 1], 5:], ones, twice), full[[1, 1], 5], atol=1e-4)
    cache.put(torch.tensor([0]), cache.select(torch.tensor([1])))
    assert torch.allclose(model.read(tokens[[1, 1], 5:], ones, cache), full[[1, 1], 5], atol=1e-4)


def test_a_row_beyond_the_learned_positions_is_carried_along() -> None:
    model = shaped("learned")
    tokens = torch.tensor(random_units([41, 41]))
    cache = Cache.empty(model, 2, 41)
    logits = model.read(tokens[:, :40], torch.tensor([40, 8]), cache)
    assert torch.allclose(logits, model(tokens[:, :40])[[0, 1], [39, 7]], atol=1e-4)
    logits = model.read(tokens[[0, 1], [40, 8]][:, None], torch.ones(2, dtype=torch.long), cache)
    assert torch.allclose(logits[1], model(tokens[1:, :9])[0, 8], atol=1e-4)
    with pytest.raises(ValueError, match=r"41 tokens .* only 40"):
        model(tokens)


def test_a_cache_in_half_precision_is_close() -> None:
    model = shaped("modern")
    tokens = torch.tensor(random_units([12]))
    cache = Cache.empty(model, 1, 12, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        logits = model.read(tokens, torch.tensor([12]), cache)
    exact = model(tokens)[:, -1]
    assert (logits - exact).abs().max() < 0.03 * exact.abs().max()  # bfloat16 rounds to 1/256, some ten times over


def test_heads_that_share_keys_are_heads_with_equal_keys() -> None:
    torch.manual_seed(0)
    for time in (1, 6):
        queries, keys, values = torch.randn(2, 6, time, 4), torch.randn(2, 2, 6, 4), torch.randn(2, 2, 6, 4)
        repeated = [x.repeat_interleave(3, dim=1) for x in (keys, values)]
        assert torch.allclose(attend(queries, keys, values, None), attend(queries, *repeated, None), atol=1e-6)


@shapes
def test_gradients_with_checkpoints_are_the_gradients(shape: str) -> None:
    tokens, documents = packed([9, 7, 8])
    found = []
    for checkpoints in (False, True):
        model = shaped(shape, checkpoint_activations=checkpoints, dropout=0.2, attention_dropout=0.2, noise=0.1)
        model.train()
        torch.manual_seed(1)
        model(tokens, documents).square().mean().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_inert_symbols_are_neither_read_nor_drawn_as_noise() -> None:
    torch.manual_seed(0)
    model = UnitTransformer(TINY.model_copy(update={"noise": 0.5, "tied": False}), 20, inert=9).train()
    model.embedding.weight.data[11:] = torch.nan
    assert not model(torch.randint(0, 11, (8, 30))).isnan().any()


@pytest.mark.parametrize("shape", ["ours", "modern"])
def test_training_compiles_as_one_graph(shape: str) -> None:
    """What torch.compile would break at costs what it gains; the graphs run as they are, without generated code."""
    model = shaped(shape, layers=1, dropout=0.1, attention_dropout=0.1, noise=0.1).train()
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    tokens, documents = packed([9, 7, 8])
    compiled(tokens, documents).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    assert torch.allclose(compiled(tokens, documents), model(tokens, documents), atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("dim = 32\nheads = 4\nkv_heads = 3", "heads 4 should be a multiple of kv_heads 3"),
        ("dim = 36\nheads = 4", "dim 36 should be an even multiple of heads 4"),
        ('positions = "learned"', "need max_positions"),
        ('positions = "learned"\nmax_positions = 100', "context 256 .*max_positions 100"),
        ('activation = "tanh"', r"model\.activation"),
    ],
)
def test_shapes_that_do_not_fit_are_errors(settings: str, message: str, tmp_path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'[data]\ntrain = "units.jsonl"\n[model]\n{settings}\n')
    with pytest.raises(UserError, match=message):
        TrainConfig.load(path)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(1000, 1001)
    y = dropout(x, 0.1, True)
    assert float((y == 0).float().mean()) == pytest.approx(0.1, abs=0.003)  # 26/256
    assert float(y.mean()) == pytest.approx(1.0, abs=0.002)
    assert dropout(x, 0.1, False) is x


def test_noise_replaces_its_share_of_the_units_and_no_boundary() -> None:
    torch.manual_seed(0)
    tokens = torch.randint(0, 11, (400, 500))
    noisy = replace_units(tokens, 0.2, boundary=10)
    assert torch.equal(noisy == 10, tokens == 10)
    assert float((noisy != tokens)[tokens != 10].float().mean()) == pytest.approx(0.2 * 0.9, abs=0.005)
    model = lively(TINY.model_copy(update={"noise": 0.9}))
    assert torch.equal(model(tokens[:2, :9]), model(tokens[:2, :9]))  # in training only


def test_fields_of_a_batch_stay_aligned_when_sliced() -> None:
    data = packed_data(random_units([9, 7, 8, 30]), context=16)
    batch = data.batch(0, 3, seed=0)
    part = batch.rows(1, 3, torch.device("cpu"))
    assert torch.equal(part.tokens, batch.tokens[1:3])
    assert part.n_targets == replace(batch, targets=batch.targets[1:3]).n_targets


def test_the_norm_of_llama_and_its_gradients_are_torchs() -> None:
    torch.manual_seed(0)
    x, gradient = torch.randn(2, 5, 7, 16, dtype=torch.float64).mul(3).unbind()
    found = []
    for kind in (RMSNorm, torch.nn.RMSNorm):
        norm = kind(16, 1e-2).double()
        norm.weight.data = torch.linspace(-1, 2, 16, dtype=torch.float64)
        copy = x.clone().requires_grad_()
        norm(copy).backward(gradient)
        found.append((norm(copy), copy.grad, norm.weight.grad))
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-12)  # float64
