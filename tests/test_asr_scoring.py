"""Scores by hand; decoding to files, and their scores; transcripts that are read again."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from planted_recognizer import LETTERS, RATE, PlantedRecognizer, planted_speech, planted_text
from typer.testing import CliRunner

from textless.corpora.alignment import read_alignment
from textless.errors import UserError
from unsup_asr.cli import app
from unsup_asr.recognizers import EncoderSource
from unsup_asr.scoring import ScoringOptions, differences, read_folding, read_references, score
from unsup_asr.transcripts import read_transcripts, write_transcripts
from zerospeech_eval.token_errors import compare


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_errors_confusions_and_missing_utterances_by_hand() -> None:
    references = {"1": ["SIL", "a", "b", "c", "SIL"], "2": ["a", "a"], "3": ["b"], "4": ["SIL"]}
    heard = {"1": ["a", "x", "c", "d"], "2": ["<SIL>", "a", "a"], "9": ["q"]}
    found = score(heard, references)
    errors = found.errors
    assert (errors.substitutions, errors.insertions, errors.deletions) == (1, 1, 1)
    assert errors.rate == 3 / 6
    assert set(found.pairs) == {("b", "x", 1), ("–", "d", 1), ("b", "–", 1)}
    assert (found.missing, found.unknown) == (("3", "4"), ("9",))
    assert errors.n_without_reference == 1  # nothing but silence
    assert found.summary()["without_transcript"] == ["3", "4"]


def test_pairs_are_those_that_are_counted() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        one, other = ([str(t) for t in random.integers(0, 4, random.integers(0, 9))] for _ in range(2))
        edit = compare("", one, other)
        kinds = Counter("i" if r == "–" else "d" if h == "–" else "s" for r, h in differences(one, other))
        assert (kinds["s"], kinds["i"], kinds["d"]) == (edit.substitutions, edit.insertions, edit.deletions)


def test_phones_are_folded_on_both_sides(tmp_path: Path) -> None:
    (tmp_path / "map").write_text("ao aa\nzh sh\nq\nepi SIL\n")
    folding = read_folding(tmp_path / "map")
    references = {"1": ["aa", "sh", "b", "q", "epi"]}
    assert score({"1": ["ao", "zh", "b"]}, references, ScoringOptions(folding=folding)).errors.rate == 0
    assert score({"1": ["ao", "zh", "b"]}, references).errors.rate == 4 / 5
    (tmp_path / "map").write_text("ao aa\nao ah\n")
    with pytest.raises(UserError, match="map:2 should be a phone and what it counts as, once"):
        read_folding(tmp_path / "map")


def test_chance_is_what_a_renaming_reaches() -> None:
    """With two tokens, one renaming in two is right and the other all wrong."""
    references = {str(i): ["a"] * 5 + ["b"] * 5 for i in range(4)}
    chance = score(references, references, ScoringOptions(permutations=400)).chance
    assert chance == pytest.approx(0.5, abs=0.1)
    assert score(references, references, ScoringOptions(permutations=0)).chance is None


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="all of the 1 transcripts are empty"):
        score({"1": ["<SIL>"]}, {"1": ["a"]})
    with pytest.raises(UserError, match=r"none of the 1 references \('1'\) is among the 1 transcripts \('x'\)"):
        score({"x": ["a"]}, {"1": ["a"]})
    with pytest.raises(UserError, match="no utterance has a reference phone"):
        score({"1": ["a"]}, {"1": ["SIL"]})


def test_transcripts_are_read_again(tmp_path: Path) -> None:
    transcripts = {"b/1": ["h", "ə"], "a": [], "c": ["x"]}
    write_transcripts(tmp_path / "phones.tsv", transcripts)
    assert list(read_transcripts(tmp_path / "phones.tsv").items()) == list(transcripts.items())
    for bad in ({"a\t": ["x"]}, {"a": ["x y"]}, {"a": [""]}, {"a\n": []}, {"a": ["x\ty"]}):
        with pytest.raises(UserError, match="white space"):
            write_transcripts(tmp_path / "bad.tsv", bad)
    assert not (tmp_path / "bad.tsv").exists()
    for text, message in (
        ("a\tx\n", "1 should be id<TAB>phones"),
        ("", "found nothing"),
        ("id\tphones\na\tx\na\ty\n", ":3 should be an id"),
        ("id\tphones\na x\n", ":2 should be an id"),
    ):
        (tmp_path / "bad.tsv").write_text(text)
        with pytest.raises(UserError, match=message):
            read_transcripts(tmp_path / "bad.tsv")


def test_references_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "alignments.tsv").write_text("id\tstart_s\tend_s\tphone\n1\t0\t1\tSIL\n1\t1\t2\ta\n1\t2\t3\tb\n")
    write_transcripts(tmp_path / "phones.tsv", {"1": ["a", "b"]})
    (tmp_path / "texts.tsv").write_text("id\ttext\n1\ta b\n")
    for name in ("alignments.tsv", "phones.tsv", "texts.tsv"):
        assert read_references(tmp_path / name, ScoringOptions()) == {"1": ["a", "b"]}
    assert read_references(tmp_path / "texts.tsv", ScoringOptions("character")) == {"1": ["a", " ", "b"]}
    (tmp_path / "lines.txt").write_text("a b\nc d\n")
    with pytest.raises(UserError, match="has no ids"):
        read_references(tmp_path / "lines.txt", ScoringOptions())


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Speech, text, and a recogniser that hears every third letter wrongly."""
    words = planted_speech(tmp_path / "speech", "spoken")
    write_transcripts(tmp_path / "words.tsv", words, "words")
    planted_text(tmp_path / "text")
    monkeypatch.setattr("unsup_asr.decode.load_recognizer", lambda _: PlantedRecognizer(0.3))
    return tmp_path


def test_decode_and_score(heard: Path) -> None:
    """A language model helps, a lexicon more."""
    decode = ["decode", heard / "speech", "--model", heard]
    run("lm", heard / "text", heard / "lm.arpa", "--order", 3)
    run("lm", heard / "text", heard / "words.arpa", "--words")
    alignment = heard / "speech" / "alignments.tsv"
    rates = {}
    for name, options in {
        "greedy": [],
        "phones": ["--lm", heard / "lm.arpa", "--tune", heard / "text", "--times", "--beam", 20],
        "same": ["--lm", heard / "text", "--order", 3, "--beam", 20, "--sum-paths"],
        "lexicon": ["--lexicon", heard / "text", "--words-lm", heard / "words.arpa", "--insertion", 0, "--times"],
    }.items():
        out = heard / f"{name}.tsv"
        report = json.loads(run(*decode[:2], out, *decode[2:], *options, "--json"))
        assert (report["utterances"], report["empty"], report["unfinished"]) == (40, 0, 0)
        rates[name] = json.loads(run("score", out, alignment, "--json"))["phone_error_rate_percent"]
    assert report["words"] > 0
    assert rates["lexicon"] < rates["phones"] < rates["greedy"]
    word_errors = json.loads(
        run("score", heard / "lexicon.words.tsv", heard / "words.tsv", "--token", "word", "--json")
    )
    assert word_errors["word_error_rate_percent"] < 30
    shown = run("score", heard / "greedy.tsv", alignment, "--confusions", 3, "--details", heard / "details.tsv")
    assert "chance" in shown
    assert len(shown.splitlines()) == 2 + 3
    assert len((heard / "details.tsv").read_text().splitlines()) == 41
    # times of words begin and end with those of the letters, which are of three frames
    name, segments = next(iter(read_alignment(heard / "lexicon.times.tsv").items()))
    assert [segment.label for segment in segments] == read_transcripts(heard / "lexicon.words.tsv")[name]
    ends = {round(s.end, 4) for s in read_alignment(alignment)[name]}
    assert all(round(s.end, 4) in ends for s in segments)
    assert len(read_alignment(heard / "phones.times.tsv")[name]) == len(read_transcripts(heard / "phones.tsv")[name])


def test_silences_are_written_where_asked_for(heard: Path) -> None:
    run("decode", heard / "speech", heard / "with.tsv", "--model", heard, "--silences")
    run("decode", heard / "speech", heard / "without.tsv", "--model", heard)
    with_silences = read_transcripts(heard / "with.tsv")
    assert all(tokens[0] == tokens[-1] == LETTERS[-1] for tokens in with_silences.values())
    kept = {name: [t for t in tokens if t != LETTERS[-1]] for name, tokens in with_silences.items()}
    assert kept == read_transcripts(heard / "without.tsv")


def test_what_does_not_go_together_is_refused(heard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*options: object) -> str:
        arguments = ["decode", heard / "speech", heard / "out.tsv", "--model", heard, *options]
        error = CliRunner().invoke(app, [str(argument) for argument in arguments]).exception
        assert isinstance(error, UserError)
        return str(error)

    assert "give --lm for phones, or --lexicon together with --words-lm" in refused("--lexicon", heard / "text")
    assert "--tune finds the weight of a language model" in refused("--tune", heard / "text")
    assert "flashlight decodes phones with a language model: give --lm" in refused("--search", "flashlight")
    (heard / "words.txt").write_text("sea s e a\n")
    assert "has none of the 1 words" in refused("--lexicon", heard / "words.txt", "--words-lm", heard / "text")
    (heard / "out.tsv").touch()
    assert "exists already" in refused()
    (heard / "out.tsv").unlink()
    recognizer = PlantedRecognizer(0.0)
    object.__setattr__(recognizer, "source", EncoderSource("planted", "f" * 64, RATE))
    monkeypatch.setattr("unsup_asr.decode.load_recognizer", lambda _: recognizer)
    assert "has features of planted (000000000000), but the recogniser reads planted (ffff" in refused()
