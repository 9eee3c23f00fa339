"""ROVER against brute force and by hand, averaged recognisers, and the verb that makes one transcript of several."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from textless.errors import UserError
from textless.features.store import StoreHeader, write_header, write_shard
from units.arpa import write_arpa
from units.kneser_ney import NgramModel
from unsup_asr.cli import app
from unsup_asr.ctc.config import NetworkConfig
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.ctc.network import RecognitionNetwork
from unsup_asr.decoding.decoder import GreedyDecoder
from unsup_asr.ensemble import AveragedRecognizer, combine
from unsup_asr.recognizers import EncoderSource
from unsup_asr.rover import NOWHERE, Hypothesis, Voting, align, alignment_cost, rover
from unsup_asr.transcripts import read_transcripts, write_transcripts

PLANTED = EncoderSource("planted", "0" * 64, 50.0)


def named(spec: str, sha256: str) -> EncoderSource:
    return EncoderSource(spec, sha256, 50.0)


def hypotheses(*said: str, weights: Sequence[float] = ()) -> list[Hypothesis]:
    return [Hypothesis(s.split(), None, w) for s, w in itertools.zip_longest(said, weights, fillvalue=1.0)]


def least_cost(said: np.ndarray, symbols: list[int]) -> int:
    """Disagreements of the best of all alignments, each tried."""
    if not len(said):
        return len(symbols)
    costs = [int(not said[0, -1]) + least_cost(said[1:], symbols)]  # nothing is said in the first slot
    if symbols:
        costs.append(int(not said[0, symbols[0]]) + least_cost(said[1:], symbols[1:]))
        costs.append(1 + least_cost(said, symbols[1:]))  # a new slot before the first
    return min(costs)


def test_alignments_are_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        said = random.random((random.integers(0, 5), 4)) < 0.4
        symbols = random.integers(3, size=random.integers(0, 5))
        assert alignment_cost(said, symbols) == least_cost(said, symbols.tolist())
        slots, places = align(said, symbols)
        assert slots[slots != NOWHERE].tolist() == list(range(len(said)))
        assert places[places != NOWHERE].tolist() == list(range(len(symbols)))
        spent = 0
        for slot, place in zip(slots.tolist(), places.tolist(), strict=True):
            column = -1 if place == NOWHERE else symbols[place]
            spent += 1 if slot == NOWHERE else int(not said[slot, column])
        assert spent == alignment_cost(said, symbols)


def test_votes_by_hand() -> None:
    assert rover(hypotheses("a b c d", "a x c d", "a b d")) == ["a", "b", "c", "d"]
    assert rover(hypotheses("b c", "a b c", "a b c")) == ["a", "b", "c"]  # a slot before the first
    assert rover(hypotheses("q", "", "")) == []
    assert rover(hypotheses("a", "b")) == ["a"]  # of equal votes, the earlier
    assert rover(hypotheses("a", "b", weights=[1, 2])) == ["b"]
    assert rover(hypotheses("", "a")) == ["a"]
    assert rover(hypotheses("", "")) == []
    sure, unsure = Hypothesis(["b"], [0.9]), Hypothesis(["a"], [0.2])
    assert rover([unsure, unsure, sure], Voting(frequency=0.0)) == ["b"]
    assert rover([unsure, unsure, sure], Voting(frequency=1.0)) == ["a"]
    assert rover([unsure, Hypothesis([])], Voting(frequency=0.0, nothing=0.5)) == []
    with pytest.raises(ValueError, match="shares"):
        Voting(frequency=2.0)


def test_independent_errors_are_voted_down() -> None:
    random = np.random.default_rng(1)

    def corrupted(truth: list[str]) -> list[str]:
        kept = [str(random.integers(10)) if random.random() < 0.15 else s for s in truth if random.random() > 0.1]
        return [s for symbol in kept for s in ([symbol, "9"] if random.random() < 0.05 else [symbol])]

    from zerospeech_eval.token_errors import token_errors

    truth = {str(i): [str(s) for s in random.integers(10, size=20)] for i in range(40)}
    files = [{i: corrupted(s) for i, s in truth.items()} for _ in range(5)]
    one = np.mean([token_errors("phone", truth, file).rate for file in files])
    voted = {i: rover([Hypothesis(file[i]) for file in files]) for i in truth}
    assert token_errors("phone", truth, voted).rate < 0.4 * one


def recognizer(seed: int, phones: tuple[str, ...] = ("a", "b", "c"), stride: int = 2) -> CtcRecognizer:
    torch.manual_seed(seed)
    network = RecognitionNetwork(
        NetworkConfig(dim=16, heads=2, ffn=32, blocks=0, strides=(stride,)), 6, len(phones)
    ).eval()
    return CtcRecognizer(network, phones, PLANTED)


def test_averages_are_means_of_probabilities() -> None:
    features = [np.random.default_rng(n).standard_normal((n, 6)).astype(np.float32) for n in (7, 12)]
    members = [recognizer(1), recognizer(2)]
    parts = [member.posteriors(features) for member in members]
    for mean, *rows in zip(AveragedRecognizer(members).posteriors(features), *parts, strict=True):
        expected = np.mean([np.exp(part.log_probs) for part in rows], axis=0)
        assert np.allclose(np.exp(mean.log_probs), expected, atol=1e-6)  # float32
        assert np.array_equal(mean.starts, rows[0].starts)
    with pytest.raises(UserError, match=r"recogniser 2 .* phones a b is not a b c; let their transcripts vote"):
        AveragedRecognizer([recognizer(1), recognizer(1, ("a", "b"))])
    with pytest.raises(UserError, match="stand for different frames"):
        AveragedRecognizer([recognizer(1), recognizer(1, stride=3)]).posteriors(features)


def test_layers_of_one_encoder_are_told_apart() -> None:
    assert named("a/encoder:4", "0").is_same_layer(named("/b/a/encoder:4", "0"))
    assert named("gmm", "0").is_same_layer(named("gmm:1", "0"))  # the only layer may be left out
    assert not named("a/encoder:4", "0").is_same_layer(named("a/encoder:5", "0"))
    assert not named("a/encoder:4", "0").is_same_layer(named("a/encoder:4", "1"))


def textless(*arguments: object) -> None:
    result = CliRunner().invoke(app, ["ensemble", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def test_the_verb_votes_on_files(tmp_path: Path) -> None:
    for name, said in (("1", "a b c"), ("2", "a c"), ("3", "b c")):
        write_transcripts(tmp_path / name, {"u": said.split(), **({"v": ["x"]} if name == "2" else {})})
    given = [item for name in "123" for item in ("--transcripts", tmp_path / name)]
    textless(tmp_path / "out.tsv", *given)
    assert read_transcripts(tmp_path / "out.tsv") == {"u": ["a", "b", "c"], "v": ["x"]}
    with pytest.raises(UserError, match="--force"):
        textless(tmp_path / "out.tsv", *given)
    textless(tmp_path / "out.tsv", *given, "--weight", 0.1, "--weight", 5, "--weight", 0.1, "--force")
    assert read_transcripts(tmp_path / "out.tsv")["u"] == ["a", "c"]
    with pytest.raises(UserError, match="a weight for each"):
        textless(tmp_path / "new.tsv", *given, "--weight", 1)
    with pytest.raises(UserError, match="two or more"):
        textless(tmp_path / "new.tsv")


def test_the_verb_runs_models(tmp_path: Path) -> None:
    features = {f"u{n}": np.random.default_rng(n).standard_normal((n, 6)).astype(np.float32) for n in (9, 30, 44)}
    write_header(tmp_path / "features", StoreHeader("planted", "0" * 64, 6, 50.0, 1, "0"))
    write_shard(tmp_path / "features", 0, 1, features)
    members = [recognizer(3), recognizer(4)]
    for number, member in enumerate(members):
        member.save(tmp_path / f"m{number}", "pseudo")
    given = ["--features", tmp_path / "features", "--model", tmp_path / "m0", "--model", tmp_path / "m1"]
    textless(tmp_path / "mean.tsv", *given)
    averaged, decode = AveragedRecognizer(members), GreedyDecoder("ctc")
    expected = [
        [averaged.phones[p] for p in decode(rows).phones] for rows in averaged.posteriors(list(features.values()))
    ]
    assert list(read_transcripts(tmp_path / "mean.tsv").values()) == expected
    textless(tmp_path / "voted.tsv", *given, "--method", "rover")
    assert read_transcripts(tmp_path / "voted.tsv").keys() == features.keys()
    model = NgramModel.fit([[0, 1], [0, 1], [2]], 3, 2)
    write_arpa(tmp_path / "lm.arpa", model, ["a", "b", "c"])
    textless(tmp_path / "lm.tsv", *given, "--lm", tmp_path / "lm.arpa", "--lm-weight", 30, "--insertion", -1)
    # With so heavy a language model all say its likeliest sentence.
    assert len({tuple(said) for said in read_transcripts(tmp_path / "lm.tsv").values()}) == 1
    with pytest.raises(UserError, match="give two or more"):
        combine(tmp_path / "features", [tmp_path / "m0"], tmp_path / "new.tsv")
    members[0].source = EncoderSource("other", "1" * 64, 50.0)  # type: ignore[misc]
    members[0].save(tmp_path / "m0", "pseudo")
    with pytest.raises(UserError, match=r"encoder other \(1+\) is not planted"):
        combine(tmp_path / "features", [tmp_path / "m1", tmp_path / "m0"], tmp_path / "new.tsv")
    with pytest.raises(UserError, match="but the recogniser reads other"):
        combine(tmp_path / "features", [tmp_path / "m0", tmp_path / "m1"], tmp_path / "new.tsv", "rover")
