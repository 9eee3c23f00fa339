"""Decoding: the search against all paths there are, a peer, and planted phones; every topology."""

from collections import defaultdict
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
from test_arpa import sequences
from test_asr_matching import PHONES as VOCABULARY
from test_asr_matching import Language

from textless.errors import UserError
from units.arpa import write_arpa
from units.kneser_ney import NgramModel
from unsup_asr.decoding.automaton import Automaton
from unsup_asr.decoding.best_path import greedy, spans
from unsup_asr.decoding.decoder import BeamDecoder, DecodingOptions, GreedyDecoder
from unsup_asr.decoding.flashlight import FlashlightDecoder
from unsup_asr.decoding.language_model import LanguageModel, load_language_model
from unsup_asr.decoding.lexicon import read_pronunciations, word_lexicon
from unsup_asr.decoding.tuning import tune
from unsup_asr.phone_text import SILENCE, PhoneText
from unsup_asr.recognizers import Posteriors, Topology
from unsup_asr.selection import Judge
from zerospeech_eval.token_errors import edits

PHONES = ("a", "b", SILENCE)
TOPOLOGIES: tuple[Topology, ...] = ("runs", "frames", "ctc")
WORDS = {"ab": [("a", "b")], "b": [("b",)], "bab": [("b", "a", "b")], "bb": [("b", "b", "a")], "a'": [("a",), ("b",)]}


def posteriors(rows: int, columns: int, seed: int) -> Posteriors:
    logits = np.random.default_rng(seed).normal(0, 1.5, (rows, columns))
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return Posteriors(logs.astype(np.float32), np.arange(rows), np.arange(1, rows + 1))


def language_model(symbols: tuple[str, ...], order: int) -> LanguageModel:
    random = np.random.default_rng(order)
    model = NgramModel.fit([random.integers(0, len(symbols), n) for n in (3, 5, 4, 1, 2, 6)], len(symbols), order)
    return LanguageModel(model, symbols, "planted")


def collapse(path: tuple[int, ...], topology: Topology, blank: int) -> tuple[int, ...]:
    merged = tuple(column for column, _ in groupby(path))
    return tuple(column for column in merged if column != blank) if topology == "ctc" else merged


def all_phones(logs: np.ndarray, topology: Topology, *, sum_paths: bool) -> dict[tuple[int, ...], float]:
    """The score of every sequence of phones, by going through all paths."""
    paths = defaultdict(list)
    for path in product(range(logs.shape[1]), repeat=len(logs)):
        score = sum(logs[row, column] for row, column in enumerate(path))
        paths[collapse(path, topology, len(PHONES))].append(score)
    join = np.logaddexp.reduce if sum_paths else max
    return {phones: float(join(scores)) for phones, scores in paths.items()}


def best_phones(logs: np.ndarray, topology: Topology, lm: LanguageModel, options: DecodingOptions) -> tuple:
    """Phones and score."""

    def total(phones: tuple[int, ...], acoustic: float) -> float:
        silences = phones.count(2)
        known = [p for p in phones if p < len(lm.symbols)]
        bonus = options.insertion * (len(phones) - silences) + options.silence * silences
        return acoustic + options.lm_weight * float(lm.model.log_probs([known])[0].sum()) + bonus

    scores = {p: total(p, s) for p, s in all_phones(logs, topology, sum_paths=options.sum_paths).items()}
    best = max(scores, key=lambda phones: scores[phones])
    return best, scores[best]


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("sum_paths", [False, True])
@pytest.mark.parametrize("lm", [language_model(PHONES, 3), language_model(PHONES[:2], 2), language_model(PHONES, 1)])
def test_no_phones_are_better(topology: Topology, lm: LanguageModel, sum_paths: bool) -> None:
    options = DecodingOptions(1.3, 0.4, -0.3, beam=500, threshold=100, sum_paths=sum_paths)
    decoder = BeamDecoder(PHONES, 2, topology, lm, options=options)
    for seed in range(4):
        given = posteriors(6, len(PHONES) + (topology == "ctc"), seed)
        expected, score = best_phones(given.log_probs.astype(float), topology, lm, options)
        found = decoder(given)
        assert tuple(found.phones) == expected
        assert found.score == pytest.approx(score, abs=1e-9)


def word_readings(topology: Topology, most: int) -> dict[tuple[int, ...], set[tuple[str, ...]]]:
    """Word sequences of every sequence of at most so many phones, silences among them."""
    readings = defaultdict(set)
    numbers = {phone: number for number, phone in enumerate(PHONES)}
    merges = topology != "ctc"
    spelled = [(w, tuple(numbers[p] for p in said)) for w, spellings in WORDS.items() for said in spellings]
    if merges:
        spelled = [(word, tuple(p for p, _ in groupby(said))) for word, said in spelled]
    waiting = [((), ())]
    while waiting:
        phones, words = waiting.pop()
        if phones in readings and words in readings[phones]:
            continue
        readings[phones].add(words)
        for word, said in [*spelled, (None, (2,))]:
            ways = [said]
            if merges and phones and phones[-1] == said[0]:
                # Equal neighbours are one phone, and the word needs another of its own.
                ways = [said[1:]] if word and len(said) > 1 else []
            after = (*words, word) if word else words
            waiting += [(phones + added, after) for added in ways if len(phones + added) <= most]
    return readings


@pytest.mark.parametrize("topology", TOPOLOGIES)
@pytest.mark.parametrize("sum_paths", [False, True])
def test_no_words_are_better(topology: Topology, sum_paths: bool) -> None:
    lexicon, left = word_lexicon(WORDS, PHONES, "planted")
    lm = language_model(lexicon.words, 2)
    options = DecodingOptions(0.8, -0.5, -0.2, beam=3000, threshold=200, sum_paths=sum_paths)
    decoder = BeamDecoder(PHONES, 2, topology, lm, lexicon, options)
    readings = word_readings(topology, 6)
    assert not left
    for seed in range(3):
        given = posteriors(6, len(PHONES) + (topology == "ctc"), 50 + seed)
        scores = {}
        for phones, acoustic in all_phones(given.log_probs.astype(float), topology, sum_paths=sum_paths).items():
            for words in readings.get(phones, ()):
                prior = float(lm.model.log_probs([lm.tokens(words)])[0].sum())
                bonus = options.insertion * len(words) + options.silence * phones.count(2)
                scores[phones, words] = acoustic + options.lm_weight * prior + bonus
        best = max(scores, key=lambda pair: scores[pair])
        found = decoder(given)
        assert found.score == pytest.approx(scores[best], abs=1e-9)
        assert (tuple(found.phones), found.words) == best


@pytest.mark.parametrize("order", [1, 2, 4])
def test_the_automaton_gives_the_probabilities_of_the_model(tmp_path: Path, order: int) -> None:
    model = NgramModel.fit(sequences(0), 6, order)
    write_arpa(tmp_path / "lm.arpa", model, list("abcdef"))
    for one in (model, load_language_model(tmp_path / "lm.arpa", "phones").model):
        automaton = Automaton.of(one)
        for sequence, expected in zip(sequences(3, 40), one.log_probs(sequences(3, 40)), strict=True):
            assert automaton.log_prob(sequence) == pytest.approx(expected.sum(), abs=1e-6)  # tables are float32


PRUNED = r"""
\data\
ngram 1=4
ngram 2=1
ngram 3=1

\1-grams:
-99 <s> -0.5
-0.6 </s>
-0.4 a -0.2
-0.7 b -0.3

\2-grams:
-0.1 <s> a -0.25

\3-grams:
-0.05 <s> a b

\end\
"""


def test_a_model_that_lacks_the_middle_of_its_ngrams_backs_off_by_the_rule_of_the_format(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(PRUNED.strip() + "\n")
    automaton = Automaton.of(load_language_model(tmp_path / "lm.arpa", "phones").model)
    # <s> a: 2-gram; b: 3-gram, though "a b" is not listed; a after it: both back off, and "a b" has no weight
    log10 = -0.1 - 0.05 + (-0.3 - 0.4) + (-0.2 - 0.6)
    assert automaton.log_prob([0, 1, 0]) == pytest.approx(log10 * np.log(10), abs=1e-6)


def test_a_beam_of_common_size_finds_what_a_wide_one_finds() -> None:
    """Rows that are half sure, as those of a recogniser are."""
    random = np.random.default_rng(0)
    phones = tuple("abcdefghijklmnop")
    lm = LanguageModel(NgramModel.fit(random.integers(0, 16, (60, 20)), 16, 3), phones, "planted")
    for topology in TOPOLOGIES:
        columns = 16 + (topology == "ctc")
        given = posteriors(60, columns, 5)
        sure = given.log_probs + 3 * np.eye(columns)[random.integers(0, columns, 60)]
        given = Posteriors(sure.astype(np.float32), given.starts, given.ends)
        wide, common = (
            BeamDecoder(phones, None, topology, lm, options=DecodingOptions(beam=beam, threshold=threshold))(given)
            for beam, threshold in ((5000, 1000.0), (100, 25.0))
        )
        assert common.score == pytest.approx(wide.score)
        np.testing.assert_array_equal(common.phones, wide.phones)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_phones_lie_where_the_likeliest_path_has_them(topology: Topology) -> None:
    columns = len(PHONES) + (topology == "ctc")
    for seed in range(5):
        logs = posteriors(6, columns, seed).log_probs.astype(float)
        best: dict[tuple[int, ...], tuple[float, tuple[int, ...]]] = {}
        for path in product(range(columns), repeat=6):
            score = sum(logs[row, column] for row, column in enumerate(path))
            phones = collapse(path, topology, len(PHONES))
            best[phones] = max(best.get(phones, (-np.inf, path)), (score, path))
        assert tuple(greedy(logs, topology)) == max(best, key=lambda phones: best[phones][0])
        for phones, (_, path) in best.items():
            rows = [list(rows) for column, rows in groupby(range(6), path.__getitem__) if column < len(PHONES)]
            expected = [(run[0], run[-1] + 1) for run in rows]
            np.testing.assert_array_equal(
                spans(logs, np.array(phones, dtype=int), topology).reshape(-1), np.ravel(expected)
            )
    with pytest.raises(ValueError, match="no path"):
        spans(logs, np.array([0, 1, 0, 1, 0, 1, 0]), topology)


def test_times_are_in_frames_and_confidences_are_probabilities() -> None:
    path = np.array([2, 2, 0, 0, 0, 1, 2])
    logs = np.log(np.full((7, 3), 0.1) + 0.7 * np.eye(3)[path]).astype(np.float32)
    given = Posteriors(logs, np.arange(7) * 3, np.arange(7) * 3 + 3)
    lexicon, _ = word_lexicon({"ab": [("a", "b")]}, PHONES, "planted")
    found = BeamDecoder(PHONES, 2, "frames", language_model(("ab",), 1), lexicon)(given)
    assert (found.words, found.word_spans.tolist()) == (("ab",), [[6, 18]])
    np.testing.assert_array_equal(found.phones, [2, 0, 1, 2])
    np.testing.assert_array_equal(found.starts, [0, 6, 15, 18])
    np.testing.assert_array_equal(found.ends, [6, 15, 18, 21])
    np.testing.assert_allclose(found.confidences, 0.8, rtol=1e-6)
    silent = GreedyDecoder("frames")(Posteriors(logs[:0], given.starts[:0], given.ends[:0]))
    assert len(silent.phones) == 0


@pytest.mark.parametrize("topology", ["ctc", "frames"])
@pytest.mark.parametrize("sum_paths", [False, True])
def test_flashlights_search_finds_what_ours_does(topology: Topology, sum_paths: bool) -> None:
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="flashlight-text is not installed")
    options = DecodingOptions(1.4, 0.0, 0.0, 500, 50.0, sum_paths)
    lm = language_model(PHONES, 3)
    ours, theirs = (
        BeamDecoder(PHONES, 2, topology, lm, options=options),
        FlashlightDecoder(PHONES, 2, topology, lm, options),
    )
    for seed in range(5):
        given = posteriors(30, len(PHONES) + (topology == "ctc"), seed)
        one, other = ours(given), theirs(given)
        np.testing.assert_array_equal(other.phones, one.phones)
        np.testing.assert_array_equal(other.starts, one.starts)
        assert other.score == pytest.approx(one.score, abs=1e-4)  # its logs are float32
    assert len(theirs(Posteriors(given.log_probs[:0], given.starts[:0], given.ends[:0])).phones) == 0
    with pytest.raises(UserError, match="no score of insertions"):
        theirs.set_options(replace(options, insertion=1.0))
    with pytest.raises(UserError, match="needs the silence in planted"):
        FlashlightDecoder(PHONES, 2, topology, language_model(PHONES[:2], 3), options)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks 1 of the 3 phones of the recogniser \(b\); it has a x"):
        BeamDecoder(PHONES, 2, "ctc", language_model(("a", "x"), 1))
    with pytest.raises(UserError, match=r"no word of planted can be written .* it has q x y, the recogniser a b"):
        word_lexicon({"xy": [("x", "y")], "q": [("q",)]}, PHONES, "planted")
    lexicon, left = word_lexicon({"ab": [("a", "b"), ("x",)], "q": [("q",)]}, PHONES, "planted")
    assert (lexicon.words, left) == (("ab",), ["q"])
    (tmp_path / "lexicon").write_text("ab a b\nab b\ncd\n")
    with pytest.raises(UserError, match=r"lexicon:3 should be a word and its phones, found 'cd'"):
        read_pronunciations(tmp_path / "lexicon")
    (tmp_path / "lexicon").write_text("ab a b\nab b\n\n")
    assert read_pronunciations(tmp_path / "lexicon") == {"ab": [("a", "b"), ("b",)]}
    with pytest.raises(UserError, match="beam 0"):
        DecodingOptions(beam=0)
    unknown = posteriors(3, 3, 0)
    unknown.log_probs[1] = np.nan
    with pytest.raises(UserError, match="not numbers"):
        GreedyDecoder("runs")(unknown)
    # "ab" cannot be said in one row: nothing is written, and the score says so
    found = BeamDecoder(PHONES, 2, "ctc", language_model(("ab",), 1), word_lexicon({"ab": [("a", "b")]}, PHONES, "")[0])
    assert found(posteriors(1, 4, 0)).score > -np.inf  # nothing said at all is a sentence
    assert len(found(posteriors(1, 4, 0)).words) == 0


def test_tuning_listens_and_speaks_the_language() -> None:
    """Half of the rows are noise: neither greedy decoding nor the model alone is right."""
    random = np.random.default_rng(0)
    language = Language(0)
    text = PhoneText(tuple(map(str, range(VOCABULARY))), language.sentences(1500, seed=1))
    lm = LanguageModel(NgramModel.fit(text.sentences, VOCABULARY, 3), text.phones, "planted")
    spoken = [s[np.append(True, s[1:] != s[:-1])] for s in language.sentences(25, seed=2)]
    given = []
    for sentence in spoken:
        seen = random.normal(0, 1.3, (len(sentence), VOCABULARY)) + 3 * np.eye(VOCABULARY)[sentence]
        logits = 3 / 1.3**2 * seen  # those of the true probabilities
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        given.append(Posteriors(logs.astype(np.float32), np.arange(len(sentence)), np.arange(1, len(sentence) + 1)))
    decoder = BeamDecoder(text.phones, None, "runs", lm, options=DecodingOptions(beam=20))
    tuning = tune(decoder, given, Judge(text), lm_weights=(0.0, 0.5, 1.0, 8.0), insertions=(0.0, 2.0))
    assert decoder.options == tuning.options
    assert len(tuning.trials) == 8

    def error_rate(options: DecodingOptions) -> float:
        decoder.set_options(options)
        return sum(sum(edits(s, decoder(p).phones)) for s, p in zip(spoken, given, strict=True)) / sum(map(len, spoken))

    errors = {
        t: error_rate(replace(tuning.options, lm_weight=t.lm_weight, insertion=t.insertion)) for t in tuning.trials
    }
    greedy_errors = errors[next(t for t in tuning.trials if t.lm_weight == 0 and t.insertion == 0)]
    assert errors[tuning.best] < 0.7 * greedy_errors
    assert tuning.floor == pytest.approx(greedy_errors, abs=0.05)  # the rows know how unsure they are
    assert (
        tune(decoder, given[:5], Judge(text), lm_weights=(0.0, 1.0), insertions=(0.0,), floor=0.05).best.lm_weight == 0
    )
