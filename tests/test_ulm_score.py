"""Scoring: batches and windows change nothing; the scores file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_ulm_model import TINY, lively, random_units
from test_ulm_source import IDENTITY, write

from textless.errors import UserError
from textless.files import shard_paths
from ulm.files import Score, read_scores, write_scores
from ulm.language_model import TransformerLanguageModel
from ulm.score import score


def tiny_lm(context: int = 64, k: int = 10) -> TransformerLanguageModel:
    identity = IDENTITY.model_copy(update={"k": k})
    return TransformerLanguageModel(lively(k=k), identity, context, units_per_second=25.0)


def test_batched_scores_are_those_of_each_utterance_alone() -> None:
    model, sequences = tiny_lm(), random_units([5, 40, 1, 17, 0, 33])
    together = model.score(sequences, batch_tokens=100)
    alone = [float(model.score([sequence])[0]) for sequence in sequences]
    assert together == pytest.approx(alone, abs=1e-4)
    assert together[4] == 0.0  # the probability of no units is 1 where the end is not counted


def test_the_sum_over_all_utterances_of_two_units_is_the_chance_of_having_two() -> None:
    model = tiny_lm(k=4)
    pairs = [[a, b] for a in range(4) for b in range(4)]
    assert np.exp(model.score(pairs)).sum() <= 1.0
    ended = [*pairs, *[[a] for a in range(4)], []]
    longer = [[a, b, c] for a in range(4) for b in range(4) for c in range(4)]
    mass = np.exp(model.score(ended, eos=True)).sum() + np.exp(model.score(longer)).sum()
    assert mass == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("stride", [None, 1, 3, 8])
def test_long_utterances_are_read_in_windows_that_overlap(stride: int | None) -> None:
    model, units = tiny_lm(context=8), random_units([21])[0]
    model.stride = stride
    step = stride or 4
    logs = model.log_probs([units], batch_tokens=16)[0]
    tokens = [10, *units, 10]
    for place in range(1, len(tokens)):
        start = 0 if place <= 8 else step * -(-(place - 8) // step)
        with torch.no_grad():
            expected = model.network(torch.tensor([tokens[start:place]])).log_softmax(-1)[0, -1, tokens[place]]
        assert logs[place - 1] == pytest.approx(float(expected), abs=1e-4)


def test_scores_in_shards_are_the_scores(tmp_path: Path) -> None:
    model = tiny_lm(k=100)
    model.save(tmp_path / "lm")
    units = write(tmp_path / "u.jsonl", random_units([5, 9, 2, 7, 3], k=100))
    whole = score(units, tmp_path / "a.tsv", tmp_path / "lm", device="cpu")
    score(units, tmp_path / "b.tsv", tmp_path / "lm", shards=2, device="cpu")
    parts = shard_paths(tmp_path / "b.tsv")
    assert [s for part in parts for s in read_scores(part)] == read_scores(tmp_path / "a.tsv")
    before = parts[0].stat().st_mtime_ns
    parts[1].unlink()
    again = score(units, tmp_path / "b.tsv", tmp_path / "lm", shards=2, device="cpu")
    assert parts[0].stat().st_mtime_ns == before  # the finished one was kept
    assert again.bits_per_unit == pytest.approx(whole.bits_per_unit, abs=1e-6)
    # Two frames a unit at 50 Hz: 25 units a second.
    assert whole.bits_per_second == pytest.approx(25 * whole.bits_per_unit)
    with pytest.raises(UserError, match="exists already"):
        score(units, tmp_path / "a.tsv", tmp_path / "lm", device="cpu")
    other = write(tmp_path / "other.jsonl", random_units([5], k=100))
    with pytest.raises(UserError, match="other utterances"):
        score(other, tmp_path / "b.tsv", tmp_path / "lm", shards=2, device="cpu")


def test_the_scores_file_round_trips_and_refuses_others(tmp_path: Path) -> None:
    scores = [Score("a/b c", -12.345678, 7, 0.5), Score("ü", 0.0, 0), Score("x", -3.0, 2)]
    write_scores(tmp_path / "s.tsv", scores)
    header, first, empty, untimed = (tmp_path / "s.tsv").read_text().splitlines()
    assert header == "id\tlog_prob\tunits\tseconds\tper_unit\tper_second"
    assert first == f"a/b c\t-12.345678\t7\t0.5\t{-12.345678 / 7:.6f}\t-24.691356"
    assert empty == "ü\t0.000000\t0\t\t\t"
    assert untimed == "x\t-3.000000\t2\t\t-1.500000\t"
    assert read_scores(tmp_path / "s.tsv") == scores
    # Files of three columns, and of columns not known here.
    (tmp_path / "three.tsv").write_text("id\tlog_prob\tunits\na\t-2.5\t3\n")
    assert read_scores(tmp_path / "three.tsv") == [Score("a", -2.5, 3)]
    (tmp_path / "more.tsv").write_text("id\tlog_prob\tunits\tmood\na\t-2.5\t3\tgood\n")
    assert read_scores(tmp_path / "more.tsv") == [Score("a", -2.5, 3)]
    (tmp_path / "bad.tsv").write_text("id\tlog_prob\tunits\na\tx\t3\n")
    with pytest.raises(UserError, match=r"bad.tsv:2"):
        read_scores(tmp_path / "bad.tsv")
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(UserError, match="not a scores file"):
        read_scores(tmp_path / "empty.tsv")
    with pytest.raises(UserError, match="tab"):
        write_scores(tmp_path / "t.tsv", [Score("a\tb", 0.0, 1)])


def test_tied_and_untied_models_are_saved_whole(tmp_path: Path) -> None:
    from ulm.language_model import load_language_model

    for tied in (True, False):
        network = lively(TINY.model_copy(update={"tied": tied}), k=100)
        model = TransformerLanguageModel(network, IDENTITY, 64)
        model.save(tmp_path / str(tied))
        loaded = load_language_model(tmp_path / str(tied))
        sequences = random_units([9, 4], k=100)
        assert np.array_equal(loaded.score(sequences), model.score(sequences))
