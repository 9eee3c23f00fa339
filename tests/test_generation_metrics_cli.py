"""Generated speech is judged from the command line: sweeps, recordings, phones, bad input."""

import json
from pathlib import Path

import generated_texts
import numpy as np
import pytest
import soundfile
from generated_texts import WORDS, run, transcripts, write
from oracles import bleu as oracle

from textless.errors import UserError
from zerospeech_eval.continuations import Reader, parse_sources
from zerospeech_eval.recognizer import Recognizer, RecognizerConfig, save
from zerospeech_eval.text_lm import NgramTextLM, load_text_lm

lm = generated_texts.lm


def test_the_command_line(tmp_path: Path, lm: Path) -> None:
    for seed, t in enumerate((0.1, 0.5)):
        transcripts(tmp_path / f"{t}.tsv", t, seed, prompts=20)
    transcripts(tmp_path / "reference.tsv", 0.3, 7, prompts=20)
    (tmp_path / "sweep.tsv").write_text("temperature\tpath\n0.5\t0.5.tsv\n0.1\t0.1.tsv\n")
    common = ("--lm", lm, "--text", tmp_path / "reference.tsv", "--bootstrap", 50, "--seed", 1)
    given_files = run("generation", f"0.1={tmp_path}/0.1.tsv", f"0.5={tmp_path}/0.5.tsv", *common, "--json")
    listed = run("generation", tmp_path / "sweep.tsv", *common, "--json", "--plot", tmp_path / "plot.png")
    one, other = (json.loads(found.stdout) for found in (given_files, listed))
    assert one["curve"] == other["curve"]
    assert [found["temperature"] for found in one["sets"]] == [0.1, 0.5]
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    shown = run("generation", tmp_path / "sweep.tsv", *common, "--order", 2, "--order", 3, "--perplexity", "corpus")
    assert "AUC" in shown.stdout
    assert "BLEU orders: 2, 3" in shown.stdout
    verts = []
    for orders in (("--order", 2), ("--order", 3), ("--order", 2, "--order", 3)):
        found = json.loads(run("generation", tmp_path / "0.1.tsv", "--lm", lm, *orders, "--json").stdout)
        verts.append(found["sets"][0]["vert_percent"])
    assert verts[2] == pytest.approx((verts[0] + verts[1]) / 2)
    limited = run("generation", tmp_path / "0.1.tsv", "--lm", lm, "--limit", 10, "--json").stdout
    assert json.loads(limited)["sets"][0]["continuations"] == 10


def test_text_models_of_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("The cat, sat.\nTHE DOG sat!\n")
    run("train-text-lm", tmp_path / "text.txt", tmp_path / "words", "--order", 2)
    assert load_text_lm(tmp_path / "words").symbols == ["cat", "dog", "sat", "the", "<unk>"]
    with pytest.raises(UserError, match="--force"):
        run("train-text-lm", tmp_path / "text.txt", tmp_path / "words")
    run("train-text-lm", tmp_path / "text.txt", tmp_path / "verbatim", "--verbatim")
    assert "THE" in load_text_lm(tmp_path / "verbatim").symbols
    run("train-text-lm", tmp_path / "text.txt", tmp_path / "words", "--order", 3, "--force")
    assert load_text_lm(tmp_path / "words").ngrams.order == 3
    run("train-text-lm", tmp_path / "text.txt", tmp_path / "characters", "--tokens", "characters")
    assert " " in load_text_lm(tmp_path / "characters").symbols
    (tmp_path / "heard.tsv").write_text("a\tThe cat, the cat,\nb\tTHE DOG the dog\n")
    given = ("generation", tmp_path / "heard.tsv", "--json", "--lm")
    plain = json.loads(run(*given, tmp_path / "words").stdout)["sets"][0]
    verbatim = json.loads(run(*given, tmp_path / "verbatim", "--verbatim").stdout)["sets"][0]
    assert plain["repeated_bigrams_percent"] == pytest.approx(100 * 2 / 3)
    assert verbatim["repeated_bigrams_percent"] == 0
    characters = json.loads(run(*given, tmp_path / "characters", "--tokens", "characters").stdout)
    assert characters["tokens"] == "characters"
    expected = oracle.repeated_bigrams(list("the cat the cat")), oracle.repeated_bigrams(list("the dog the dog"))
    assert characters["sets"][0]["repeated_bigrams_percent"] == pytest.approx(50 * sum(expected))


def test_recordings_are_transcribed(tmp_path: Path, lm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every recording holds, as its samples, the numbers of the words that are heard in it."""
    (tmp_path / "parrot.py").write_text(
        f"WORDS = {WORDS!r}\n"
        "def hear(waveform):\n"
        "    return ' '.join(WORDS[int(round(float(s) * 100))] for s in waveform[:12])\n"
    )
    monkeypatch.chdir(tmp_path)
    for folder, t in (("cold", 0.1), ("hot", 0.5), ("people", 0.3)):
        (tmp_path / folder).mkdir()
        for index in range(12):
            numbers = [WORDS.index(word) / 100 for word in write(t, 100 * len(folder) + index).split()]
            soundfile.write(tmp_path / folder / f"p__{index}.wav", np.pad(numbers, (0, 400)), 16_000, subtype="FLOAT")
    given = ("0.1=cold", "0.5=hot", "--lm", lm, "--text", "people", "--bootstrap", 20, "--json")
    heard = json.loads(run("generation", *given, "--transcriber", "parrot:hear", "--transcripts", "said").stdout)
    assert heard["transcriber"] == "parrot:hear"
    names = ("temperature-0.1.tsv", "temperature-0.5.tsv", "reference.tsv")
    assert {path.name for path in (tmp_path / "said").iterdir()} == set(names)
    cold, hot, people = (f"said/{name}" for name in names)
    again = run("generation", f"0.1={cold}", f"0.5={hot}", "--lm", lm, "--text", people, "--bootstrap", 20, "--json")
    assert json.loads(again.stdout)["curve"] == heard["curve"]
    with pytest.raises(UserError, match="holds recordings: say with --transcriber"):
        run("generation", *given)


def test_bad_input(tmp_path: Path, lm: Path) -> None:
    empty, one, two = (tmp_path / name for name in ("empty.tsv", "one.tsv", "two.tsv"))
    empty.write_text("a\t\nb\t\n")
    one.write_text("a\tthe cat the cat\n")
    two.write_text("a\tthe cat\nb\tthe dog\nc\t\n")
    with pytest.raises(UserError, match="has no text"):
        run("generation", empty, "--lm", lm)
    with pytest.raises(UserError, match="has one text, and self-BLEU compares"):
        run("generation", one, "--lm", lm, "--text", two)
    alone = run("generation", one, "--lm", lm)
    assert "self-BLEU and VERT are undefined" in alone.stdout
    assert json.loads(run("generation", one, "--lm", lm, "--json").stdout)["sets"][0]["vert_percent"] is None
    with pytest.raises(UserError, match="wants more than one continuation"):
        run("generation", one, "--lm", lm, "--plot", tmp_path / "plot.png")
    found = json.loads(run("generation", two, "--lm", lm, "--json").stdout)
    assert (found["sets"][0]["continuations"], found["sets"][0]["empty"]) == (2, 1)
    with pytest.raises(UserError, match=r"a plot is a .png, not plot.svg"):
        run("generation", two, "--lm", lm, "--plot", "plot.svg")
    for arguments, message in (
        ((two, one), "of several sets each needs its temperature"),
        ((f"0.5={two}", f"0.50={one}"), "temperature 0.5 is given twice"),
        ((f"warm={two}",), "a temperature is a number"),
        ((tmp_path / "nothing",), "set of continuations not found"),
    ):
        with pytest.raises(UserError, match=message):
            parse_sources([str(argument) for argument in arguments])
    listing = tmp_path / "sweep.tsv"
    for content, message in (
        ("", "lists no set"),
        ("0.5\n", ":2 should be temperature"),
        ("-1\tx\n", "a number from 0"),
    ):
        listing.write_text("temperature\tpath\n" + content)
        with pytest.raises(UserError, match=message):
            parse_sources([str(listing)])


def test_phones_of_another_set(tmp_path: Path) -> None:
    save(Recognizer(RecognizerConfig(phones=("a", "b"), dim=16, blocks=1)), tmp_path / "recognizer", {})
    NgramTextLM.fit(["a b a b"], 2).save(tmp_path / "lm")
    heard, alignment = tmp_path / "heard.tsv", tmp_path / "alignments.tsv"
    heard.write_text("x\ta b a\ny\tb a b\n")
    alignment.write_text("id\tstart_s\tend_s\tphone\nx\t0\t1\tzh\nx\t1\t2\tsh\ny\t0\t1\ta\n")
    given = (heard, "--lm", tmp_path / "lm", "--text", alignment)
    with pytest.raises(UserError, match="2 phones that .*recognizer was not trained on, the first is 'sh'"):
        run("generation", *given, "--transcriber", tmp_path / "recognizer")
    with pytest.raises(UserError, match="aligns phones, but words are compared"):
        run("generation", *given)
    with pytest.raises(UserError, match="writes phones, not words: leave out --tokens"):
        run("generation", *given, "--transcriber", tmp_path / "recognizer", "--tokens", "words")
    alignment.write_text("id\tstart_s\tend_s\tphone\nx\t0\t1\ta\nx\t1\t2\tb\ny\t0\t1\ta\n")
    assert Reader("phones").read(alignment) == {"x": ["a", "b"], "y": ["a"]}
    run("generation", *given, "--tokens", "phones", "--bootstrap", 10)
    # The texts of a manifest are words: for phones its recordings are heard.
    manifest = tmp_path / "manifest.tsv"
    manifest.write_text("#root\t.\nid\tpath\tn_samples\ttext\nx\tx.wav\t3\tthe cat\n")
    assert Reader("words").read(manifest, prefer_text=True) == {"x": ["the", "cat"]}
    with pytest.raises(UserError, match="holds recordings: say with --transcriber"):
        Reader("phones").read(manifest, prefer_text=True)
