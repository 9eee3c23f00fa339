"""Unpaired text: words, phones, unknown words, silences; what is left out is counted."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from textless.errors import UserError
from unsup_asr.cli import app
from unsup_asr.phone_text import PhoneText, read_lexicon, read_words
from unsup_asr.phonemize import phonemize
from unsup_asr.prepare_text import TextOptions, prepare_text
from unsup_asr.text import main_script, words_of
from unsup_asr.transcripts import read_transcripts

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
        (b"one one", "klingon", "espeak:LANGUAGE, lexicon:FILE, letters or phones"),
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


def test_text_that_is_phones_already_keeps_them_and_its_word_boundaries(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("ð ə | k æ t\nʃ θ\n\nk æ t | <SIL> | ð ə\n")
    options = TextOptions("phones", silence=1.0, silence_at_ends=False)
    report = prepare_text(tmp_path / "text.txt", tmp_path / "out", options)
    assert (report.kept, report.empty, report.rare_words, report.other_scripts) == (3, 1, 0, 0)
    prepared = PhoneText.load(tmp_path / "out")
    said = [" ".join(prepared.phones[phone] for phone in sentence) for sentence in prepared.sentences]
    assert said == ["ð ə <SIL> k æ t", "ʃ θ", "k æ t <SIL> <SIL> <SIL> ð ə"]
    assert prepared.silence == len(prepared.phones) - 1
    assert read_lexicon(tmp_path / "out")["k_æ_t"] == ("k", "æ", "t")
    (tmp_path / "text.txt").write_text("a_b c\n")
    with pytest.raises(UserError, match="cannot have '_'"):
        prepare_text(tmp_path / "text.txt", tmp_path / "other", options)


def test_no_symbol_is_promised_that_does_not_occur(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("ab\nab\n")
    prepare_text(tmp_path / "text.txt", tmp_path / "out", TextOptions("letters", silence=0.5, silence_at_ends=False))
    assert PhoneText.load(tmp_path / "out").phones == ("a", "b")  # one word a sentence leaves no place for a silence
    assert "never occur" not in capsys.readouterr().err
    (tmp_path / "out" / "phones.txt").write_text("a a\n")
    assert PhoneText.load(tmp_path / "out").phones == ("a", "b")
    assert "1 phones" in capsys.readouterr().err


def test_espeak_pronounces_german_words_that_begin_with_a_vowel(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader", reason="needs the extra synth")
    (tmp_path / "text.txt").write_text("ein alter Apfel ist unten\n" * 2)
    assert prepare_text(tmp_path / "text.txt", tmp_path / "out", TextOptions("espeak:de")).unpronounced_words == 0


def test_transcripts_become_phones_under_their_ids(files: tuple[Path, Path], tmp_path: Path) -> None:
    words = tmp_path / "words.tsv"
    words.write_text("id\twords\na\tThe cat’s hat\nb\tthe dog\nc\t\n")
    arguments = ["phonemize", str(words), str(tmp_path / "phones.tsv"), "--phones", f"lexicon:{files[1]}", "--json"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert json.loads(result.stdout) == {"written": 1, "empty": 1, "unpronounced": 1}
    assert read_transcripts(tmp_path / "phones.tsv") == {"a": ["D", "@", *"kats", *"hat"]}
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("path\tn_samples\ttext\na.wav\t1\tthe hat\n")
    assert phonemize(manifest, tmp_path / "phones.tsv", f"lexicon:{files[1]}", force=True).written == 1
    manifest.write_text("path\tn_samples\na.wav\t1\n")
    with pytest.raises(UserError, match="has no texts"):
        phonemize(manifest, tmp_path / "phones.tsv", "letters", force=True)
