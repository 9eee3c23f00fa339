"""The Transformer and its packed data: no leaks between utterances, caches, dropout."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from textless.errors import UserError
from ulm.config import ModelConfig
from ulm.data import IGNORED, PackedUnits
from ulm.model import Cache, UnitTransformer, dropout, replace_units
from ulm.vocabulary import Vocabulary

TINY = ModelConfig(dim=32, layers=2, heads=2, ffn=64, dropout=0.0)


def lively(config: ModelConfig = TINY, k: int = 10, seed: int = 0) -> UnitTransformer:
    """A model whose weights are large enough for every position to matter."""
    torch.manual_seed(seed)
    model = UnitTransformer(config, k + 1).eval()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def random_units(lengths: list[int], k: int = 10, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, k, length).tolist() for length in lengths]


def test_every_target_occurs_once_an_epoch_and_follows_its_token() -> None:
    sequences = random_units([3, 1, 40, 17, 16, 15, 9, 2, 0])
    data = PackedUnits(sequences, Vocabulary(10), context=16)
    for epoch in range(2):
        batches = [data.batch(epoch * data.n_rows + row, 1, seed=3) for row in range(data.n_rows)]
        pairs = sorted(
            (int(t), int(u)) for b in batches for t, u in zip(b.tokens[0], b.targets[0], strict=True) if u != IGNORED
        )
        expected = sorted(p for s in sequences if s for p in zip([10, *s], [*s, 10], strict=True))
        assert pairs == expected
    assert sum(b.n_targets for b in data.in_order(2)) == len(expected)


def test_utterances_that_fit_are_never_cut_and_rows_are_mostly_full() -> None:
    sequences = random_units(np.random.default_rng(0).integers(5, 60, 400).tolist())
    data = PackedUnits(sequences, Vocabulary(10), context=64)
    assert data.n_rows * 64 < 1.1 * sum(len(s) + 1 for s in sequences)
    batch = data.batch(0, data.n_rows, seed=0)
    for tokens, documents in zip(batch.tokens, batch.documents, strict=True):
        for number in range(int(documents.max()) + 1):
            assert tokens[documents == number][0] == 10  # each begins with its boundary


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    sequences = random_units([5] * 50)
    make = lambda: PackedUnits(sequences, Vocabulary(10), context=12)  # noqa: E731
    assert torch.equal(make().batch(7, 3, seed=1).tokens, make().batch(7, 3, seed=1).tokens)
    assert not torch.equal(make().batch(7, 3, seed=1).tokens, make().batch(7, 3, seed=2).tokens)
    epochs = [make().batch(epoch, make().n_rows, seed=1).tokens for epoch in range(2)]
    assert not torch.equal(*epochs)


def test_units_of_nothing_are_an_error() -> None:
    with pytest.raises(UserError, match="no units"):
        PackedUnits([[], []], Vocabulary(10), 16)


@pytest.mark.parametrize("bf16", [False, True])
def test_packed_utterances_do_not_see_one_another(bf16: bool) -> None:
    data = PackedUnits(random_units([9, 7, 8]), Vocabulary(10), context=32)
    batch = data.batch(0, 1, seed=0)
    model = lively()
    perturbed = batch.tokens.clone()
    others = batch.documents != 1
    perturbed[others] = (perturbed[others] + 3) % 10
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16), torch.no_grad():
        before, after = model(batch.tokens, batch.documents), model(perturbed, batch.documents)
    assert torch.equal(before[~others], after[~others])
    assert not torch.allclose(before[others], after[others])


def test_packed_logits_are_those_of_the_utterance_alone() -> None:
    data = PackedUnits(random_units([9, 7, 8]), Vocabulary(10), context=32)
    batch = data.batch(0, 1, seed=0)
    model = lively()
    packed = model(batch.tokens, batch.documents)
    for number in range(3):
        inside = batch.documents[0] == number
        alone = model(batch.tokens[:, inside[: batch.tokens.shape[1]]])
        # Rotations are relative, but their sines and cosines are of other angles: float32 rounding.
        assert torch.allclose(packed[0, inside], alone[0], atol=1e-4)


def test_the_future_changes_nothing() -> None:
    model, tokens = lively(), torch.tensor(random_units([12]))
    later = tokens.clone()
    later[:, 7:] = (later[:, 7:] + 1) % 10
    assert torch.allclose(model(tokens)[:, :7], model(later)[:, :7], atol=1e-6)


@pytest.mark.parametrize("lookback", [0, 2])
def test_reading_with_a_cache_is_reading_at_once(lookback: int) -> None:
    model = lively(TINY.model_copy(update={"lookback": lookback}))
    tokens, lengths = torch.tensor(random_units([12, 12, 12])), torch.tensor([5, 1, 3])
    full = model(tokens)
    cache = Cache.empty(model, 3, 12)
    logits = model.read(tokens[:, :5], lengths, cache)  # padded by what comes later: must not matter
    rows = torch.arange(3)
    assert torch.allclose(logits, full[rows, lengths - 1], atol=1e-4)
    for _ in range(6):
        logits = model.read(tokens[rows, lengths][:, None], torch.ones(3, dtype=torch.long), cache)
        lengths = lengths + 1
        assert torch.allclose(logits, full[rows, lengths - 1], atol=1e-4)


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
    data = PackedUnits(random_units([9, 7, 8, 30]), Vocabulary(10), context=16)
    batch = data.batch(0, 3, seed=0)
    part = batch.rows(1, 3, torch.device("cpu"))
    assert torch.equal(part.tokens, batch.tokens[1:3])
    assert part.n_targets == replace(batch, targets=batch.targets[1:3]).n_targets
