"""`textless units sweep`: on voices that say two vowels, and on figures made up."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.cli import build
from textless.corpora.alignment import Segment, write_alignment
from textless.corpora.items import items_from_alignment, write_items
from textless.errors import UserError
from textless.pipeline.sweep import NamedEncoder
from textless.pipeline.sweep_choices import Choice, rank

RATE, FORMANTS = 16_000, {"a": (700, 1200), "i": (300, 2300), "u": (350, 800)}


def say_vowels(rng, voice, vowels):
    """A pulse train at the voice's pitch through two resonances a vowel; labels of 150 ms each."""
    pieces = []
    for vowel in vowels:
        time = np.arange(round(0.15 * RATE)) / RATE
        partials = voice * np.arange(1, 30)
        gains = sum(1 / (1 + ((partials - f) / 120) ** 2) for f in FORMANTS[vowel])
        pieces.append((gains[:, None] * np.sin(2 * np.pi * partials[:, None] * time)).sum(axis=0))
    sound = 0.1 * np.concatenate(pieces)
    sound += 0.03 * rng.standard_normal(len(sound))
    ends = 0.15 * np.arange(1, len(vowels) + 1)
    return sound, [Segment(end - 0.15, end, vowel) for end, vowel in zip(ends.tolist(), vowels, strict=True)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("vowels"), np.random.default_rng(0)
    utterances, alignment = [], {}
    for number in range(8):
        speaker, pitch = ("low", 110.0) if number % 2 else ("high", 190.0)
        vowels = [str(v) for v in rng.permutation(list("aiuaiu"))]
        vowels = [v for i, v in enumerate(vowels) if i == 0 or v != vowels[i - 1]]
        sound, segments = say_vowels(rng, pitch, vowels)
        soundfile.write(folder / f"{number}.wav", sound.astype(np.float32), RATE, subtype="PCM_16")
        utterances.append(Utterance(str(number), f"{number}.wav", len(sound), speaker))
        alignment[str(number)] = segments
    write_manifest(folder / "manifest.tsv", Manifest(folder, tuple(utterances)))
    write_manifest(folder / "other.tsv", Manifest(folder, tuple(utterances[:6])))
    write_alignment(folder / "alignments.tsv", alignment, "phone")
    speakers = {u.id: u.speaker for u in utterances}
    write_items(folder / "phoneme.item", list(items_from_alignment(alignment, speakers, "phoneme")))
    one = {i: s for i, s in speakers.items() if s == "low"}
    write_items(folder / "one.item", list(items_from_alignment({i: alignment[i] for i in one}, one, "phoneme")))
    return folder


def run(*arguments, ok=True):
    result = CliRunner().invoke(build(), ["units", "sweep", *map(str, arguments)])
    if ok:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


def options(corpus, **changed):
    given = {"alignment": corpus / "alignments.tsv", "items": corpus / "phoneme.item", "context": "any", **changed}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture(scope="module")
def swept(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("sweep") / "out"
    encoders = ["--encoder", "mfcc@50", "--encoder", "bands=logmel@50", "--k", 12, "--k", 4]
    variants = [word for name in ("plain", "speaker", "dp", "speaker-dp") for word in ("--variant", name)]
    chosen = run(corpus / "manifest.tsv", out, *options(corpus), *encoders, *variants)
    return out, [*encoders, *variants], chosen.stdout


def test_every_choice_is_judged(swept):
    out, _, printed = swept
    table = json.loads((out / "sweep.json").read_text())
    rows = table["choices"]
    assert [(r["encoder"], r["k"], r["variant"]) for r in rows] == [
        (e, k, v) for e in ("mfcc@50", "bands") for k in (4, 12) for v in ("plain", "speaker", "dp", "speaker-dp")
    ]
    assert sorted(row["place"] for row in rows) == list(range(1, 17))
    assert all(0 <= row["abx_across"] <= 100 and row["used"] <= row["k"] for row in rows)
    figures = {(r["encoder"], r["k"], r["variant"]): r for r in rows}
    for encoder in ("mfcc@50", "bands"):  # units that last are fewer
        assert figures[encoder, 12, "dp"]["units_per_second"] < figures[encoder, 12, "plain"]["units_per_second"]
    best = figures[tuple(table["best"].values())]
    assert best["place"] == 1
    assert best["pnmi"] > 0.7  # three vowels, stationary: easily told apart
    assert f"best by rank-sum: {best['encoder']}, K = {best['k']}, {best['variant']}" in printed
    assert (out / "sweep.md").read_text() in printed
    lines = [line.split("\t") for line in (out / "sweep.tsv").read_text().splitlines()]
    assert [dict(zip(lines[0], line, strict=True))["place"] for line in lines[1:]] == [str(r["place"]) for r in rows]
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_figures_are_those_of_the_verbs(swept, corpus):
    out, _, _ = swept
    (row,) = [
        r
        for r in json.loads((out / "sweep.json").read_text())["choices"]
        if (r["encoder"], r["k"], r["variant"]) == ("bands", 12, "speaker")
    ]
    work = out / "encoders" / "bands" / "12-speaker"
    verb = ["eval", "abx", corpus / "phoneme.item", work / "units.jsonl", "--as", "one-hot", "--context", "any"]
    caps = ["--max-size-group", 10, "--max-x-across", 5, "--json"]
    answer = CliRunner().invoke(build(), [str(word) for word in (*verb, *caps)])
    assert answer.exit_code == 0, answer.exception
    scores = json.loads(answer.stdout)["scores"]  # the angle of one-hot frames is 0 or ½: another way to the same
    assert row["abx_across"] == pytest.approx(scores["across"]["error_rate_percent"], abs=1e-9)
    answer = CliRunner().invoke(
        build(), ["eval", "units", str(work / "units.jsonl"), str(corpus / "alignments.tsv"), "--json"]
    )
    assert row["pnmi"] == pytest.approx(json.loads(answer.stdout)["pnmi"])


def test_a_sweep_goes_on_and_grows(swept, corpus):
    out, choices, _ = swept
    before = (out / "commands.jsonl").read_text().splitlines()
    manifest = corpus / "manifest.tsv"
    other = run(manifest, out, *options(corpus), *choices, "--criterion", "pnmi", "--max-bit-rate", 60, "--json")
    table = json.loads(other.stdout)
    allowed = [row for row in table["choices"] if row["bit_rate"] <= 60]
    assert {row["place"] is None for row in table["choices"] if row not in allowed} == {True}
    assert max(allowed, key=lambda row: row["pnmi"])["place"] == 1
    assert (out / "commands.jsonl").read_text().splitlines() == before  # nothing was run
    (out / "commands.jsonl").write_text("\n".join(before[:-2]) + "\n")
    run(manifest, out, *options(corpus), *choices, "--k", 3)
    again = [json.loads(line)["arguments"][:2] for line in (out / "commands.jsonl").read_text().splitlines()]
    assert len(again) == len(before) + 2 * 4 * 4  # the two that were lost, and four verbs of every new choice
    assert again.count(["encoder", "features"]) == 2  # once an encoder


def test_codebooks_of_other_recordings_and_one_speaker(corpus, tmp_path):
    given = options(corpus, items=corpus / "one.item", fit=corpus / "other.tsv", max_frames=100, seed=1)
    answer = run(
        *(corpus / "manifest.tsv", tmp_path / "out", *given, "--encoder", "mfcc@50", "--k", 4, "--json"),
        *("--variant", "dp", "--duration-penalty", 2, "--max-size-group", 4, "--max-x-across", 1),
    )
    (row,) = json.loads(answer.stdout)["choices"]
    assert row["abx_across"] is None
    assert row["place"] == 1
    words = [json.loads(line)["arguments"] for line in (tmp_path / "out" / "commands.jsonl").read_text().splitlines()]
    assert [w[0] + " " + w[1] for w in words].count("encoder features") == 2
    fit = next(w for w in words if w[:2] == ["units", "fit"])
    assert fit[2].endswith("features-fit")
    assert fit[fit.index("--duration-penalty") + 1] == "2.0"


def test_bad_input_is_told_before_any_work(swept, corpus, tmp_path):
    out, choices, _ = swept
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    write_alignment(tmp_path / "other.tsv", {"nobody": [Segment(0, 1, "a")]}, "phone")
    manifest, new, one = corpus / "manifest.tsv", tmp_path / "new", ["--encoder", "mfcc@50"]
    (tmp_path / "other.item").write_text("#file onset offset #phone speaker\nnobody 0 1 a low\n")
    cases = [
        ((manifest, out, *options(corpus, seed=3), *choices), "with another seed"),
        ((manifest, out, *options(corpus, items=corpus / "one.item"), *choices), "with another items_sha256"),
        ((manifest, out, *options(corpus), "--encoder", "mfcc@50=logmel@50"), "features of another encoder"),
        ((manifest, tmp_path / "full", *options(corpus), *one), "is not a sweep"),
        ((manifest, new, *options(corpus), *one, *one), "two encoders are called 'mfcc@50'"),
        ((manifest, new, *options(corpus), "--encoder", "mfc"), "did you mean mfcc"),
        ((manifest, new, *options(corpus), "--encoder", "../x=mfcc"), "without slashes"),
        ((manifest, new, *options(corpus, alignment=tmp_path / "other.tsv"), *one), "none of the utterances"),
        ((manifest, new, *options(corpus, items=tmp_path / "other.item"), *one), "none of the utterances"),
        ((manifest, out, *options(corpus, max_bit_rate=1), *choices), "no units have 1 bit/s or fewer"),
    ]
    for arguments, message in cases:
        result = run(*arguments, ok=False)
        assert isinstance(result.exception, UserError), (arguments, result.output)
        assert message in str(result.exception)
    assert not new.exists()
    again = ["--encoder", "mfcc@50=logmel@50", "--k", 4, "--variant", "plain", "--force"]
    assert "| mfcc@50 | 4 | plain" in run(manifest, out, *options(corpus), *again).stdout.replace("**", "").replace(
        "*", ""
    )


def test_a_missing_matplotlib_is_told_first(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    result = run(corpus / "manifest.tsv", tmp_path / "out", *options(corpus), "--encoder", "mfcc", ok=False)
    assert "pip install 'textless[plots]'" in str(result.exception)


def test_names_of_encoders():
    assert NamedEncoder.parse("runs/seed-0/encoder@100:5").name == "encoder@100:5"
    assert NamedEncoder.parse("small=runs/encoder:4") == NamedEncoder("small", "runs/encoder:4")


def test_ranks_by_hand():
    base = Choice("e", 1, "plain", 0.5, 9.0, 10.0, 100.0, 150.0, 10.0, 0.5, 0.5, 1)
    choices = [
        base,  # ABX 2, PNMI 2, R 2.5, bits 2 -> 8.5
        replace(base, abx_across=5.0, pnmi=0.6, bit_rate=200.0),  # 1 + 1 + 2.5 + 3 -> 7.5
        replace(base, abx_across=20.0, pnmi=0.4, bit_rate=50.0, r_value=0.7),  # 3 + 3 + 1 + 1 -> 8
        replace(base, abx_across=21.0, pnmi=0.3, bit_rate=300.0, r_value=None),  # 4 + 4 + 4 + 4
    ]
    ranking = rank(choices, "rank-sum")
    assert ranking.places == [3, 1, 2, 4]
    assert ranking.frontier == [True, True, True, False]
    assert rank(choices, "r-value").places == [2, 3, 1, 4]  # the lower bit rate first where R is equal
    assert rank(choices, "abx", 150).places == [1, None, 2, None]
    assert rank([replace(c, abx_across=None) for c in choices], "abx").best.bit_rate == 50  # all equal within
