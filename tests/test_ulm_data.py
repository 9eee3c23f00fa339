"""Packed batches: every target once an epoch, the same order however the corpus is kept and spread."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from test_ulm_source import IDENTITY, write
from typer.testing import CliRunner

import ulm.data
from textless.distributed import World
from textless.errors import UserError
from ulm.cli import app
from ulm.corpus import read_corpora
from ulm.data import IGNORED, Batch, DocumentsInMemory, PackedUnits
from ulm.packing import cut, pack
from ulm.shards import TokenShards, prepare
from ulm.vocabulary import Vocabulary
from units.bpe import load_bpe, train_bpe

TEN = IDENTITY.model_copy(update={"k": 10})


def random_units(lengths: list[int], k: int = 10, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(0, k, length).tolist() for length in lengths]


def packed_data(sequences: list[list[int]], context: int) -> PackedUnits:
    return PackedUnits(DocumentsInMemory([np.array(s, dtype=np.int64) for s in sequences], Vocabulary(10)), context)


def pairs(batches: list[Batch]) -> Counter:
    """How often each token was followed by each target."""
    return Counter(
        pair
        for b in batches
        for pair in zip(b.tokens.flatten().tolist(), b.targets.flatten().tolist(), strict=True)
        if pair[1] != IGNORED
    )


def expected_pairs(sequences: list[list[int]]) -> Counter:
    return Counter(p for s in sequences if s for p in zip([10, *s], [*s, 10], strict=True))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of a few hundred tokens is a large one."""
    monkeypatch.setattr(ulm.data, "CHUNK_TOKENS", 100)
    monkeypatch.setattr(ulm.data, "BLOCK_CHUNKS", 3)


def assert_every_target_once(sequences: list[list[int]]) -> None:
    data = packed_data(sequences, context=16)
    for epoch in range(2):
        batches = [data.batch(epoch * data.n_rows + row, 1, seed=3) for row in range(data.n_rows)]
        assert pairs(batches) == expected_pairs(sequences)
    assert pairs(list(data.in_order(2))) == expected_pairs(sequences)


def test_every_target_occurs_once_an_epoch_and_follows_its_token() -> None:
    assert_every_target_once(random_units([3, 1, 40, 17, 16, 15, 9, 2, 0]))


def test_the_same_in_blocks(small_blocks: None) -> None:
    assert_every_target_once(random_units(np.random.default_rng(1).integers(0, 50, 60).tolist()))
    assert_every_target_once(random_units([3, 900, 1, 5]))  # a document of many chunks


def test_rows_of_an_update_come_from_all_over_a_large_corpus(small_blocks: None) -> None:
    sequences = [[i // 100] * 9 for i in range(1000)]  # units tell where in the corpus
    data = packed_data(sequences, context=10)
    units = data.batch(0, 30, seed=0).tokens[:, 1].unique()
    assert len(units) >= 3
    assert len(data._chunk_rows) == 100


def test_utterances_that_fit_are_never_cut_and_rows_are_mostly_full() -> None:
    sequences = random_units(np.random.default_rng(0).integers(5, 60, 400).tolist())
    data = packed_data(sequences, context=64)
    assert data.n_rows * 64 < 1.1 * sum(len(s) + 1 for s in sequences)
    batch = data.batch(0, data.n_rows, seed=0)
    for tokens, documents in zip(batch.tokens, batch.documents, strict=True):
        for number in range(int(documents.max()) + 1):
            assert tokens[documents == number][0] == 10  # each begins with its boundary


def test_packing_is_best_fit_decreasing() -> None:
    lengths = np.random.default_rng(0).integers(1, 200, 500)
    packing = pack(lengths, 64)
    _, pieces = cut(lengths, 64)
    rooms: list[int] = []  # the literal algorithm: the longest piece first, into the row that it fills best
    for length in sorted(pieces, reverse=True):
        fitting = [row for row, room in enumerate(rooms) if room >= length]
        row = min(fitting, key=lambda row: rooms[row], default=None)
        if row is None:
            rooms.append(64 - length)
        else:
            rooms[row] -= length
    filled = [64 - int(packing.lengths[packing.pieces(row)].sum()) for row in range(packing.n_rows)]
    assert sorted(filled) == sorted(rooms)


def test_the_order_depends_on_seed_and_step_alone(small_blocks: None) -> None:
    sequences = random_units([5] * 200)
    make = lambda: packed_data(sequences, context=12)  # noqa: E731
    walked = make()
    batches = [walked.batch(step, 30, seed=1) for step in range(12)]  # past two epochs, and past many blocks
    for step in (11, 0, 7):
        assert torch.equal(make().batch(step, 30, seed=1).tokens, batches[step].tokens)
    assert not torch.equal(make().batch(7, 3, seed=1).tokens, make().batch(7, 3, seed=2).tokens)
    epochs = [make().batch(epoch, make().n_rows, seed=1).tokens for epoch in range(2)]
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("size", [2, 3, 5])
def test_processes_share_the_rows_of_one(size: int) -> None:
    data = packed_data(random_units([7] * 50), context=16)
    whole = data.batch(2, 7, seed=0)
    shares = [data.batch(2, 7, 0, World(rank, size)) for rank in range(size)]
    assert len({len(share.tokens) for share in shares}) == 1  # all take part in every exchange
    assert pairs(shares) == pairs([whole])
    assert {share.n_targets for share in shares} == {whole.n_targets} == {sum(pairs([whole]).values())}
    validation = [batch for rank in range(size) for batch in data.in_order(7, World(rank, size))]
    assert pairs(validation) == pairs(list(data.in_order(7)))


def test_a_prepared_folder_is_the_units_file(tmp_path: Path, small_blocks: None) -> None:
    sequences = random_units(np.random.default_rng(2).integers(0, 60, 120).tolist())
    units = write(tmp_path / "units.jsonl", sequences, TEN)
    from_file = PackedUnits(read_corpora(units, None, None)[0].documents, 32)
    for shards in (1, 2, 7):
        counts = prepare(units, tmp_path / f"tokens{shards}", shards=shards)
        assert (counts.units, counts.empty) == (sum(map(len, sequences)), sum(not s for s in sequences))
        corpus, _ = read_corpora(tmp_path / f"tokens{shards}", None, None)
        assert corpus.counts == read_corpora(units, None, None)[0].counts
        assert corpus.units_per_second == pytest.approx(25.0)  # two frames a unit, at 50 Hz
        prepared = PackedUnits(corpus.documents, 32)
        for step in (0, 3, 9):
            assert torch.equal(prepared.batch(step, 8, 0).targets, from_file.batch(step, 8, 0).targets)
        assert pairs(list(prepared.in_order(5))) == expected_pairs(sequences)


def test_more_shards_than_utterances(tmp_path: Path) -> None:
    units = write(tmp_path / "units.jsonl", [[1, 2, 3], [4]], TEN)
    prepare(units, tmp_path / "tokens", shards=9)
    data = PackedUnits(TokenShards(tmp_path / "tokens"), 8)
    assert pairs(list(data.in_order(1))) == expected_pairs([[1, 2, 3], [4]])


def test_preparing_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    units = write(tmp_path / "units.jsonl", random_units([20] * 50), TEN)
    out = tmp_path / "tokens"
    prepare(units, out, shards=4)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "shard-00002-of-00004.json").unlink()
    with pytest.raises(UserError, match=r"shard-00002-of-00004\.npy is missing or not finished"):
        TokenShards(out)
    kept = (out / "shard-00001-of-00004.npy").stat().st_mtime_ns
    prepare(units, out, shards=4)
    assert capsys.readouterr().err.count("is finished") == 3
    assert (out / "shard-00001-of-00004.npy").stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_prepare_on_the_command_line(tmp_path: Path) -> None:
    units = write(tmp_path / "units.jsonl", [*random_units([20] * 50), []], TEN)
    train_bpe(units, tmp_path / "bpe", 14, max_units=10_000, max_length=4)
    run = lambda *options: CliRunner().invoke(app, ["prepare", str(units), str(tmp_path / "out"), *options])  # noqa: E731
    assert "50 utterances (1 empty ones left out), 1000 units -> " in run().stdout
    assert "is finished" in run().stderr
    options = ("--bpe", str(tmp_path / "bpe"), "--shards", "2", "--json")
    assert isinstance(run(*options).exception, UserError)
    counts = json.loads(run(*options, "--force").stdout)
    assert counts["units"] == 1000 > counts["tokens"] - counts["documents"]
    assert TokenShards(tmp_path / "out").tokenizer.bpe == load_bpe(tmp_path / "bpe")
    assert "BPE tokens" in run(*options[:-1]).stdout


def test_array_jobs_write_a_shard_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = write(tmp_path / "units.jsonl", random_units([20] * 50), TEN)
    prepare(units, tmp_path / "whole", shards=3)
    for task in range(3):
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "3")
        prepare(units, tmp_path / "parts")
    same = lambda name: (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()  # noqa: E731
    assert all(same(path.name) for path in (tmp_path / "whole").iterdir())


def test_what_is_wrong_with_a_prepared_folder_is_said(tmp_path: Path) -> None:
    units = write(tmp_path / "units.jsonl", random_units([20] * 50), TEN)
    out = tmp_path / "tokens"
    prepare(units, out, shards=2)
    with pytest.raises(UserError, match=r"n_shards differ.*--force"):
        prepare(units, out, shards=3)
    longer = write(tmp_path / "longer.jsonl", random_units([20] * 60), TEN)
    with pytest.raises(UserError, match="units_bytes differ"):
        prepare(longer, out, shards=2)
    assert prepare(longer, out, shards=2, force=True).documents == 60
    with pytest.raises(UserError, match="is no folder of tokens"):
        prepare(units, tmp_path)
    tokens = out / "shard-00001-of-00002.npy"
    whole = tokens.read_bytes()
    tokens.write_bytes(whole[:-5])
    with pytest.raises(UserError, match="missing or damaged"):
        TokenShards(out)
    tokens.unlink()
    with pytest.raises(UserError, match=r"shard-00001-of-00002\.npy is missing"):
        TokenShards(out)
    tokens.write_bytes((out / "shard-00000-of-00002.npy").read_bytes())
    with pytest.raises(UserError, match=r"is not what shard-00001-of-00002\.json describes"):
        TokenShards(out)
    with pytest.raises(UserError, match="give a units file, or what `ulm prepare` wrote"):
        read_corpora(tmp_path, None, None)
    nothing = write(tmp_path / "nothing.jsonl", [[], []], TEN)
    prepare(nothing, tmp_path / "empty")
    for source in (nothing, tmp_path / "empty"):
        with pytest.raises(UserError, match="holds no units"):
            read_corpora(source, None, None)


def test_quantizer_and_bpe_of_training_and_validation_are_one(tmp_path: Path) -> None:
    units = write(tmp_path / "units.jsonl", random_units([20] * 50), TEN)
    other = write(tmp_path / "other.jsonl", random_units([20] * 50), TEN.model_copy(update={"sha256": "f" * 64}))
    with pytest.raises(UserError, match="made with the quantizer"):
        read_corpora(units, other, None)
    bpe, other_bpe = tmp_path / "bpe", tmp_path / "other_bpe"
    train_bpe(units, bpe, 14, max_units=10_000, max_length=4)
    train_bpe(units, other_bpe, 16, max_units=10_000, max_length=4)
    prepare(units, tmp_path / "tokens", bpe=bpe)
    training, validation = read_corpora(tmp_path / "tokens", units, None)  # a units file is read with the folder's BPE
    assert validation is not None
    assert training.counts == validation.counts
    assert training.counts.tokens < training.counts.units
    prepare(units, tmp_path / "plain")
    for train, valid, given in (
        (tmp_path / "tokens", tmp_path / "plain", None),
        (tmp_path / "plain", units, bpe),
        (tmp_path / "tokens", units, other_bpe),
        (other, None, bpe),
    ):
        with pytest.raises(UserError, match="made with the quantizer"):
            read_corpora(train, valid, given)
    with pytest.raises(UserError, match="made with the quantizer"):
        prepare(other, tmp_path / "refused", bpe=bpe)
