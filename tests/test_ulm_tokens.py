"""Unit LMs over BPE tokens: units go in and come out, and their bits may be compared with those of plain models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_ulm_source import IDENTITY, WordSource, write

from textless.errors import UserError
from textless.training.run import read_metrics
from ulm.config import ModelConfig, TrainConfig
from ulm.language_model import TransformerLanguageModel, load_language_model
from ulm.model import UnitTransformer
from ulm.sampling import Sampling
from ulm.score import score
from ulm.shards import prepare
from ulm.tokens import Tokenizer
from ulm.train import train
from units.bpe import UnitBPE, load_bpe, train_bpe

SMALL = IDENTITY.model_copy(update={"k": 20})


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Units of words without noise, and a BPE of them."""
    folder = tmp_path_factory.mktemp("tokens")
    source = WordSource(k=20, lexicon=12, speakers=1, noise=0.0, words=6, successors=3)
    write(folder / "train.jsonl", source.sample(3000, 1), SMALL)
    write(folder / "valid.jsonl", source.sample(500, 2), SMALL)
    train_bpe(folder / "train.jsonl", folder / "bpe", 60, max_units=100_000, max_length=8)
    return folder


@pytest.fixture(scope="module")
def bpe(room: Path) -> UnitBPE:
    return load_bpe(room / "bpe")


def random_model(bpe: UnitBPE) -> TransformerLanguageModel:
    config = ModelConfig(dim=16, layers=1, heads=2, ffn=32, dropout=0.0)
    network = UnitTransformer(config, Tokenizer(SMALL, bpe).vocabulary.size)
    return TransformerLanguageModel(network, SMALL, context=32, bpe=bpe)


def test_round_trip_and_units_outside(bpe: UnitBPE) -> None:
    plain, tokenizer = Tokenizer(SMALL), Tokenizer(SMALL, bpe)
    assert (plain.vocabulary.size, tokenizer.vocabulary.size) == (21, 61)
    for units in ([], [3], list(range(20)), np.random.default_rng(0).integers(0, 20, 300).tolist()):
        for either in (plain, tokenizer):
            assert either.decode(either.encode(units).tolist()) == units
    for wrong in ([1, 20], [-1]):
        for either in (plain, tokenizer):
            with pytest.raises(UserError, match=rf"unit {wrong[-1]} is outside the vocabulary.*0\.\.19"):
                either.encode(wrong)
        with pytest.raises(UserError, match="outside the vocabulary"):
            random_model(bpe).log_probs([wrong])


def test_log_probabilities_stand_at_the_first_unit_of_each_token(bpe: UnitBPE) -> None:
    model = random_model(bpe)
    units = [*bpe.pieces[40], 3, *bpe.pieces[50]]
    tokens = model.tokenizer.encode(units).tolist()
    read = torch.tensor([[model.vocabulary.boundary, *tokens]])
    literal = model.network.eval()(read).log_softmax(-1)[0].detach()
    expected = [float(literal[i, token]) for i, token in enumerate([*tokens, model.vocabulary.boundary])]
    (found,) = model.log_probs([units])
    assert found.shape == (len(units) + 1,)
    begins = np.cumsum([0, *(len(bpe.pieces[token]) for token in tokens)])
    assert found[begins] == pytest.approx(expected, abs=1e-5)
    assert np.count_nonzero(found) == len(begins)
    assert model.score([units], eos=True)[0] == pytest.approx(sum(expected), abs=1e-5)
    assert [row.tolist() for row in model.log_probs([[]])] == [pytest.approx([float(literal[0, -1])], abs=1e-5)]


def test_a_trained_model_has_its_bpe_with_it(room: Path, bpe: UnitBPE, tmp_path: Path) -> None:
    prepare(room / "train.jsonl", tmp_path / "train", bpe=room / "bpe", shards=2)
    values = {
        "model": {"dim": 32, "layers": 1, "heads": 2, "ffn": 64},
        "optimizer": {"lr": 1e-2, "schedule": {"warmup_steps": 5}},
        "steps": 40,
        "batch_tokens": 256,
        "context": 64,
        "precision": "fp32",
        "valid_every": 20,
    }
    bits = {}
    for name, data in (
        ("file", {"train": room / "train.jsonl", "bpe": room / "bpe"}),
        ("folder", {"train": tmp_path / "train"}),
    ):
        config = TrainConfig.parse(values | {"data": data | {"valid": room / "valid.jsonl"}}, "test")
        train(config, tmp_path / name, device="cpu")
        bits[name] = read_metrics(tmp_path / name)[-1]
    assert bits["file"]["valid_bits_per_unit"] == bits["folder"]["valid_bits_per_unit"]
    model = load_language_model(tmp_path / "folder")
    assert isinstance(model, TransformerLanguageModel)
    assert model.tokenizer.bpe == bpe
    assert model.quantizer == SMALL  # it takes units, and says so
    # Validation counts units, as `ulm score` does, however many tokens they make.
    summary = score(room / "valid.jsonl", tmp_path / "s.tsv", tmp_path / "folder", device="cpu")
    assert summary.bits_per_unit == pytest.approx(bits["folder"]["valid_bits_per_unit"], rel=1e-4)
    assert summary.bits_per_second == pytest.approx(bits["folder"]["valid_bits_per_second"], rel=1e-4)
    assert summary.bits_per_unit < 0.7 * np.log2(20)
    for continuation in model.generate([[1, 2, 3], []], Sampling(max_units=9))[0]:
        assert len(continuation) <= 9
        assert all(0 <= unit < 20 for unit in continuation)
    (tmp_path / "folder/bpe/bpe.model").unlink()
    with pytest.raises(UserError, match="bpe"):
        load_language_model(tmp_path / "folder")


def test_the_bpe_of_another_model_is_refused(room: Path, bpe: UnitBPE, tmp_path: Path) -> None:
    random_model(bpe).save(tmp_path / "lm")
    train_bpe(room / "train.jsonl", tmp_path / "lm/bpe", 50, max_units=100_000, max_length=8, force=True)
    with pytest.raises(UserError, match="made with the quantizer"):
        load_language_model(tmp_path / "lm")
