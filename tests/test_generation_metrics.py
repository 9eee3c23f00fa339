"""Generated speech: BLEUs against plain loops, language models against their libraries, curves against calculus."""

import json
import math
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import bleu as oracle
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, PreTrainedTokenizerFast
from typer.testing import CliRunner

from textless.errors import UserError
from units.arpa import write_arpa
from units.kneser_ney import NgramModel
from zerospeech_eval.cli import app
from zerospeech_eval.continuations import Reader, Source, parse_sources
from zerospeech_eval.generation import SetScores, judge
from zerospeech_eval.generation_sweep import Settings, evaluate
from zerospeech_eval.ngram_overlap import auto_bleu, repeated_share, self_bleu
from zerospeech_eval.recognizer import Recognizer, RecognizerConfig, save
from zerospeech_eval.text_lm import NgramTextLM, load_text_lm
from zerospeech_eval.tradeoff import Oracle, measure, reach, resample

WORDS = ["the", "cat", "dog", "sees", "a", "big", "small", "house", "runs", "to", "from", "with", "and", "then", "red"]


def write(temperature: float, seed: int, n: int = 12) -> str:
    """A text in which two words alternate, other pairs taking their turn, the more often the higher the temperature."""
    rng = random.Random(seed)
    words = [rng.choice(WORDS)]
    while len(words) < n:
        if rng.random() < temperature:
            words.append(rng.choice(WORDS))
        else:
            words.append(words[-2] if len(words) > 1 else WORDS[(WORDS.index(words[0]) + 1) % len(WORDS)])
    return " ".join(words)


def transcripts(path: Path, temperature: float, seed: int, prompts: int = 100, samples: int = 3) -> Path:
    lines = [
        f"p{p}__{s}\t{write(temperature, 1_000_000 * seed + 100 * p + s)}\n"
        for p in range(prompts)
        for s in range(samples)
    ]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm") / "lm"
    NgramTextLM.fit([write(0.3, -1 - seed) for seed in range(1500)], 3).save(folder)
    return folder


texts_of_few_words = st.lists(st.lists(st.sampled_from("abc"), max_size=9), min_size=2, max_size=7)


@settings(max_examples=200, deadline=None)
@given(texts_of_few_words, st.integers(1, 4), st.booleans())
def test_self_bleu_is_bleu_with_all_others_as_references(texts: list[list[str]], order: int, brevity: bool) -> None:
    expected = oracle.self_bleu(texts, order, brevity_penalty=brevity)
    assert self_bleu(texts, order, brevity_penalty=brevity) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(texts_of_few_words, st.integers(1, 4))
def test_auto_bleu_is_that_of_the_definition(texts: list[list[str]], order: int) -> None:
    assert auto_bleu(texts, order) == pytest.approx([oracle.auto_bleu(text, order) for text in texts], abs=1e-12)
    expected = [oracle.repeated_bigrams(text) for text in texts]
    assert repeated_share(texts, 2, overlapping=True) == pytest.approx(expected, abs=1e-12)


def test_bleus_by_hand() -> None:
    # 3 of 4 words, and 1 of 3 pairs, are found in the other text; of "the" only as many as that has.
    texts = [["the", "the", "cat", "sat"], ["the", "cat", "ran", "far", "away"]]
    assert self_bleu(texts)[0] == pytest.approx(math.sqrt(2 / 4 * 1 / 3))
    assert self_bleu(texts, brevity_penalty=True)[0] == pytest.approx(math.sqrt(2 / 4 * 1 / 3) * math.exp(1 - 5 / 4))
    # All words and 4 of 5 pairs occur twice; the pairs of "a a a" overlap.
    assert auto_bleu([["a", "b", "a", "b", "a", "b"]])[0] == 1
    assert auto_bleu([["a", "a", "a"]])[0] == 0
    assert repeated_share([["a", "a", "a"]], 2, overlapping=True)[0] == 1
    assert auto_bleu(["a"]) == [0]
    with pytest.raises(ValueError, match="at least two"):
        self_bleu([["a"]])


def test_order_of_texts_changes_nothing() -> None:
    texts = [write(0.3, seed).split() for seed in range(50)]
    assert self_bleu(texts[::-1], 3)[::-1] == pytest.approx(self_bleu(texts, 3))


def test_an_ngram_model_is_a_distribution_with_room_for_unknown_words(tmp_path: Path) -> None:
    model = NgramTextLM.fit(["a b a c", "b b"], 2)
    # Everything that can follow "a": three words, any other word, the end (a text of one more token minus it).
    following = [model.score([f"a {word}"])[0].log_prob for word in ("a", "b", "c", "unknown")]
    first = model.ngrams.log_probs([[0]])[0]
    with_end = [math.exp(log - model.ngrams.log_probs([row])[0][-1]) for log, row in zip(following, ROWS, strict=True)]
    assert sum(with_end) + math.exp(first.sum()) == pytest.approx(math.exp(first[0]), abs=1e-6)  # tables are float32
    assert model.score(["a b"])[0].tokens == 3  # the end counts
    model.save(tmp_path / "lm")
    assert load_text_lm(tmp_path / "lm").score(["a b c"]) == model.score(["a b c"])
    write_arpa(tmp_path / "lm.arpa", model.ngrams, model.symbols)
    from_arpa = load_text_lm(f"arpa:{tmp_path / 'lm.arpa'}").score(["a x b"])[0]
    assert from_arpa.log_prob == pytest.approx(model.score(["a x b"])[0].log_prob, abs=1e-5)  # seven digits of log10
    write_arpa(tmp_path / "closed.arpa", NgramModel.fit([[0, 1]], 2, 2), ["a", "b"])
    with pytest.raises(UserError, match="1 of 3 words are unknown to arpa"):
        load_text_lm(f"arpa:{tmp_path / 'closed.arpa'}").score(["a x b"])
    with pytest.raises(UserError, match="2 of 3 words are unknown to n-gram: 'x', 'y'; train"):
        model.score(["x y a"])
    with pytest.raises(UserError, match="no text to learn from"):
        NgramTextLM.fit(["", " "], 2)
    with pytest.raises(UserError, match="text language model not found"):
        load_text_lm(tmp_path / "nothing")


ROWS = ([0, 0], [0, 1], [0, 2], [0, 3])


def test_characters_and_the_spaces_between_words() -> None:
    model = NgramTextLM.fit(["ab  ba"], 2, "characters")
    assert model.symbols == [" ", "a", "b", "<unk>"]
    assert model.score(["a b"])[0].tokens == 4


def causal_folder(folder: Path, *, begin: bool = True) -> Path:
    """GPT-2 of random weights, over whole words."""
    torch.manual_seed(0)
    vocabulary = {"<unk>": 0, "<s>": 1} | {word: index for index, word in enumerate(WORDS, 2)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>"} if begin else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special).save_pretrained(folder)
    config = GPT2Config(vocab_size=len(vocabulary), n_embd=16, n_layer=2, n_head=2, n_positions=20)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("begin", [True, False])
def test_a_causal_model_of_hugging_face(tmp_path: Path, begin: bool) -> None:
    judged = load_text_lm(f"hf:{causal_folder(tmp_path, begin=begin)}", "cpu")
    texts = [write(0.3, seed, n) for seed, n in enumerate((12, 3, 7, 2, 12))]
    network, tokenizer = GPT2LMHeadModel.from_pretrained(tmp_path), PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for text, found in zip(texts, judged.score(texts), strict=True):
        ids = torch.tensor([([1] if begin else []) + tokenizer(text).input_ids])
        assert found.tokens == ids.shape[1] - 1
        # The library's loss is the mean over predicted tokens; float32 sums of at most 12 of them.
        assert found.log_prob == pytest.approx(-network(ids, labels=ids).loss.item() * found.tokens, rel=1e-5)
        alone = judged.score([text])[0]
        assert alone.log_prob == pytest.approx(found.log_prob, rel=1e-5)  # padding changes nothing
    assert judged.score(["", "cat"])[0].tokens == 0
    with pytest.raises(UserError, match="more than the 20 that"):
        judged.score([write(0.3, 0, 30)])
    if not begin:
        with pytest.raises(UserError, match="predicts no token of 'b'"):
            judge({"a": ["the", "cat"], "b": ["cat"]}, ["the cat", "cat"], judged, (2,))


def test_damaged_language_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Hugging Face model not found"):
        load_text_lm(f"hf:{tmp_path}", "cpu")
    folder = causal_folder(tmp_path / "lm")
    config = GPT2Config(vocab_size=17, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=False)
    GPT2Model(config).save_pretrained(folder)
    with pytest.raises(UserError, match=r"lacks 1 weights of a GPT2LMHeadModel, first lm_head.weight"):
        load_text_lm(f"hf:{folder}", "cpu")
    (folder / "config.json").write_text('{"model_type": "no such model"}')
    with pytest.raises(UserError, match="no causal language model that transformers can load"):
        load_text_lm(f"hf:{folder}", "cpu")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'textless\[hf\]'"):
        load_text_lm(f"hf:{folder}", "cpu")


def scores_of(log_prob: list[float], tokens: list[int], bleu: list[float]) -> SetScores:
    array = np.array([bleu])
    names = [f"u{index}" for index in range(len(tokens))]
    return SetScores(names, np.array(log_prob), np.array(tokens, float), array, array / 2, array[0])


def test_averages_of_perplexity_and_vert_by_hand() -> None:
    scores = scores_of([-2.0, -12.0], [2, 4], [0.4, 0.8])
    assert scores.perplexity("mean") == pytest.approx((math.e + math.e**3) / 2)
    assert scores.perplexity("geometric") == pytest.approx(math.e**2)
    assert scores.perplexity("corpus") == pytest.approx(math.exp(14 / 6))
    assert scores.vert() == pytest.approx(math.sqrt(0.6 * 0.3))
    found = scores.summary()
    assert found["vert_percent"] == pytest.approx(100 * math.sqrt(0.18))
    assert found["perplexity"]["median"] == pytest.approx((math.e + math.e**3) / 2)
    # A text with weight 2 counts like two copies.
    twice, weights = scores_of([-2.0, -12.0, -12.0], [2, 4, 4], [0.4, 0.8, 0.8]), np.array([1.0, 2.0])
    for average in ("mean", "geometric", "corpus"):
        assert scores.perplexity(average, weights) == pytest.approx(twice.perplexity(average))
    assert scores.vert(weights) == pytest.approx(twice.vert())


def test_numbers_of_a_curve_that_calculus_knows() -> None:
    # PPX = 2 / VERT is a straight line on log axes: from VERT 0.1 to PPX 8 (VERT 0.25) the area is 2 ln(0.25 / 0.1).
    vert = np.array([0.5, 0.3, 0.2, 0.05])
    found = measure(vert, 2 / vert, Oracle(ppx=8.0, vert=0.1))
    assert found.ppx_at_oracle_vert == pytest.approx(20)
    assert found.vert_at_oracle_ppx == pytest.approx(0.25)
    assert found.area == pytest.approx(100 * 2 * math.log(2.5))
    ends = measure(vert[[0, 3]], 2 / vert[[0, 3]], Oracle(8.0, 0.1))
    assert ends.area == pytest.approx(found.area)  # a point on the line changes nothing
    # PPX = VERT^-2: the area is 1/0.1 - 1/0.25 = 6; the oracle is better than the sweep, and the reverse is negative.
    assert measure(vert, vert**-2, Oracle(16.0, 0.1)).area == pytest.approx(600)
    assert measure(vert, vert**-2, Oracle(100.0, 0.25)).area == pytest.approx(-600)
    # Points of the sweep itself.
    assert measure(vert, 2 / vert, Oracle(10.0, 0.2)).area == pytest.approx(0)


def test_no_extrapolation() -> None:
    vert, ppx = np.array([0.5, 0.2]), np.array([4.0, 10.0])
    found = measure(vert, ppx, Oracle(ppx=3.0, vert=0.1))
    assert found.ppx_at_oracle_vert is None
    assert found.vert_at_oracle_ppx is None
    assert found.area is None
    notes = reach(vert, ppx, Oracle(ppx=3.0, vert=0.1))
    assert ["higher" in notes[0], "lower" in notes[1]] == [True, True]
    assert "lies from 20.00% to 50.00%, the oracle's is 10.00%" in notes[0]
    assert reach(vert, ppx, Oracle(5.0, 0.3)) == []
    assert "repeat nothing" in reach(np.array([0.5, 0.0]), ppx, Oracle(5.0, 0.3))[0]
    assert measure(np.array([0.5, 0.3, 0.0]), np.array([4, 6, 9.0]), Oracle(5.0, 0.4)).area is not None
    assert "several temperatures" in reach(vert[:1], ppx[:1], Oracle(5.0, 0.3))[0]


def test_bootstrap_draws_prompts_and_repeats_itself() -> None:
    names = [f"p{p}__{s}" for p in range(30) for s in range(2)]
    rng = np.random.default_rng(0)
    sets = []
    for level in (0.6, 0.3):
        bleu = level + 0.2 * rng.random((1, 60))
        sets.append(SetScores(names, -2.0 / level - rng.random(60), np.ones(60), bleu, bleu, bleu[0]))
    vert, ppx = (
        np.array([float(value) for value in row])
        for row in zip(*((s.vert(), s.perplexity("mean")) for s in sets), strict=True)
    )
    target = Oracle(float(np.sqrt(ppx.prod())), float(np.sqrt(vert.prod())))
    one, other = (resample(sets, "mean", target, 500, seed=3) for _ in range(2))
    assert one.over == "prompts"
    assert one.tradeoffs == other.tradeoffs
    interval = one.interval("ppx_at_oracle_vert")
    point = measure(vert, ppx, target).ppx_at_oracle_vert
    assert interval["low"] < point < interval["high"]
    # The standard error of a mean of 30 independent prompts, for the first set's VERT.
    by_prompt = sets[0].self_bleu[0].reshape(30, 2).mean(axis=1)
    assert one.vert[0].std() == pytest.approx(by_prompt.std() / math.sqrt(30), rel=0.15)
    renamed = [
        SetScores([f"x{i}" for i in range(60)], s.log_prob, s.n_tokens, s.self_bleu, s.auto_bleu, s.self_bleu[0])
        for s in sets
    ]
    assert resample(renamed, "mean", target, 10, 0).over == "continuations"
    assert resample(sets, "mean", Oracle(1e9, 1e-9), 10, 0).interval("area") is None


def test_a_planted_sweep_finds_the_temperature_of_its_reference(tmp_path: Path, lm: Path) -> None:
    temperatures = (0.1, 0.25, 0.45, 0.7)
    sources = [Source(t, transcripts(tmp_path / f"{t}.tsv", t, seed)) for seed, t in enumerate(temperatures)]
    reference = transcripts(tmp_path / "reference.tsv", 0.35, seed=9)
    result = evaluate(sources, Settings(str(lm), average="geometric", n_resamples=200), reference=reference)
    ppx = [float(found.scores.perplexity("geometric")) for found in result.sets]
    vert = [float(found.scores.vert()) for found in result.sets]
    assert ppx == sorted(ppx)
    assert vert == sorted(vert, reverse=True)
    # The reference lies on the curve of its own source: its PPX and VERT are found where they are.
    summary = result.summary()["curve"]
    assert summary["ppx_at_oracle_vert"] == pytest.approx(result.oracle.ppx, rel=0.1)
    assert summary["vert_at_oracle_ppx_percent"] == pytest.approx(100 * result.oracle.vert, rel=0.1)
    interval = summary["area_under_curve_interval_95"]
    assert interval["low"] < summary["area_under_curve"] < interval["high"]
    assert summary["notes"] == []


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


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
