"""Unpaired text: words, phones, unknown words, silences; what is left out is counted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textless.errors import UserError
from unsup_asr.cli import app
from unsup_asr.phone_text import PhoneText, read_lexicon, read_words
from unsup_asr.prepare_text import TextOptions, prepare_text
from unsup_asr.text import main_script, words_of

TEXT = "The cat’s hat!\n\nthe 'hat' — the cat\nthe дом hat\nthe zzz hat 12345\nthe cat\nzzz\n"
LEXICON = "the D @\ncat k a t\ncat's k a t s\nhat h a t\nhat other\n"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "lexicon.txt").write_text(LEXICON)
    return tmp_path / "text.txt", tmp_path / "lexicon.txt"


def test_words_keep_letters_marks_and_inner_apostrophes() -> None:
    assert words_of("“Don’t,” she said: re-do 'it' — in 1984 (or 123456)!") == [
        *("don't", "she", "said", "re-do", "it", "in", "1984", "or"),
    ]
    assert words_of("नमस्ते दुनिया।") == ["नमस्ते", "दुनिया"]
    assert words_of("e\u0301te\u0301") == ["\u00e9t\u00e9"]
    assert main_script([("hat", 2), ("дом", 1), ("1984", 9)]) == "LATIN"


def test_a_sentence_with_an_unknown_word_is_left_out_and_counted(files: tuple[Path, Path], tmp_path: Path) -> None:
    text, lexicon = files
    options = TextOptions(f"lexicon:{lexicon}", min_word_count=1, silence=0.0, silence_at_ends=False)
    report = prepare_text(text, tmp_path / "out", options)
    assert read_words(tmp_path / "out") == [["the", "cat's", "hat"], ["the", "hat", "the", "cat"], ["the", "cat"]]
    assert read_lexicon(tmp_path / "out")["hat"] == ("h", "a", "t")
    prepared = PhoneText.load(tmp_path / "out")
    assert prepared.silence is None
    assert [prepared.phones[phone] for phone in prepared.sentences[2]] == ["D", "@", "k", "a", "t"]
    assert (report.sentences, report.kept, report.empty) == (7, 3, 1)
    assert (report.other_scripts, report.unpronounced_words) == (1, 1)


def test_words_with_rare_phones_are_unknown(files: tuple[Path, Path], tmp_path: Path) -> None:
    text, lexicon = files
    options = TextOptions(f"lexicon:{lexicon}", min_word_count=1, min_phone_count=2)
    assert prepare_text(text, tmp_path / "out", options).words_with_rare_phones == 1  # cat's: s occurs once
    assert "s" not in PhoneText.load(tmp_path / "out").phones


def test_silences_stand_at_the_ends_and_at_the_rate_that_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("ab ab ab ab ab ab ab ab ab ab ab\n" * 2000)
    prepare_text(tmp_path / "text.txt", tmp_path / "out", TextOptions("letters", silence=0.25))
    prepared = PhoneText.load(tmp_path / "out")
    assert prepared.silence == len(prepared.phones) - 1
    assert all(s[0] == s[-1] == prepared.silence for s in prepared.sentences)
    inner = sum((s[1:-1] == prepared.silence).sum() for s in prepared.sentences)
    assert inner / 20_000 == pytest.approx(0.25, abs=0.012)  # four standard errors
    assert len({len(s) for s in prepared.sentences}) > 3


def test_espeak_gives_the_phones_of_the_embedded_corpus(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    (tmp_path / "text.txt").write_text("das schöne Haus\ndas schöne Haus\n")
    arguments = ["prepare-text", str(tmp_path / "text.txt"), str(tmp_path / "out"), "--phones", "espeak:de", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--silence", "0", "--no-silence-at-ends"], catch_exceptions=False)
    assert json.loads(result.stdout)["kept"] == 2
    prepared = PhoneText.load(tmp_path / "out")
    assert [prepared.phones[phone] for phone in prepared.sentences[0]] == [*"das", "ʃ", "øː", "n", "ə", "h", "aʊ", "s"]


@pytest.mark.parametrize(
    ("content", "phones", "said"),
    [
        (b"", "letters", "holds no words"),
        (b"\xff\xfe", "letters", "not UTF-8"),
        (b"one two", "letters", "nothing of .* is left"),  # every word once
        (b"one one", "klingon", "espeak:LANGUAGE, lexicon:FILE or letters"),
        (b"one one", "lexicon:/no/such", "not found|no lexicon|/no/such"),
    ],
)
def test_unfit_text_is_refused(tmp_path: Path, content: bytes, phones: str, said: str) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    with pytest.raises(UserError, match=said):
        prepare_text(tmp_path / "text.txt", tmp_path / "out", TextOptions(phones))
    assert not (tmp_path / "out").exists()


def test_a_lexicon_with_a_word_alone_is_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    files[1].write_text("the D @\ncat\n")
    with pytest.raises(UserError, match=":2 should be a word and its phones"):
        prepare_text(files[0], tmp_path / "out", TextOptions(f"lexicon:{files[1]}"))
