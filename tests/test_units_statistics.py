import json
import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.corpora.alignment import Segment, frame_labels, write_alignment
from textless.errors import UserError
from units.boundaries import boundary_scores, reference_boundaries
from units.cli import app
from units.compare import compare, edit_distance
from units.detection import Detection
from units.files import Units, UnitsFile, write_units
from units.identity import stated_identity
from units.ngrams import NgramIds, conditional_entropies, held_out_perplexities
from units.phones import Cooccurrence, cooccurrence
from units.runs import expand
from units.speakers import speaker_statistics
from units.stats import unit_statistics

IDENTITY = stated_identity("mfcc@50", 8, 50.0)
sequences = st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=25)


def run(*arguments, ok=True):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if ok:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


def bits(counter):
    total = sum(counter.values())
    return -sum(n / total * math.log2(n / total) for n in counter.values())


@given(sequences)
def test_conditional_entropies_are_those_of_counted_ngrams(corpus):
    found = conditional_entropies(NgramIds([np.array(s, int) for s in corpus], 4), 3)
    for n, value in enumerate(found, 1):
        grams = Counter(tuple(s[i : i + n]) for s in corpus for i in range(len(s) - n + 1))
        contexts = Counter()
        for gram, count in grams.items():
            contexts[gram[:-1]] += count
        expected = bits(grams) - bits(contexts) if grams else 0
        assert value == pytest.approx(expected, abs=1e-9)


def slow_perplexities(corpus, k, order):
    train = [s for i, s in enumerate(corpus) if i % 10 != 9]
    test = [s for i, s in enumerate(corpus) if i % 10 == 9]
    count = Counter(tuple(s[i : i + n]) for s in train for n in range(1, order + 1) for i in range(len(s) - n + 1))

    def p(word, history):
        shorter = p(word, history[1:]) if history else 1 / k
        after = {gram[-1]: c for gram, c in count.items() if gram[:-1] == history}
        if not after:
            return shorter
        return (after.get(word, 0) + len(after) * shorter) / (sum(after.values()) + len(after))

    surprise = [[], [], []]
    for s in test:
        for i, word in enumerate(s):
            for n in range(1, order + 1):
                surprise[n - 1].append(-math.log2(p(word, tuple(s[max(0, i - n + 1) : i]))))
    return [2 ** (sum(x) / len(x)) for x in surprise if x]


@settings(deadline=None)
@given(sequences)
def test_held_out_perplexities_are_those_of_a_slow_model(corpus):
    found = held_out_perplexities(NgramIds([np.array(s, int) for s in corpus], 4), 3)
    assert found == pytest.approx(slow_perplexities(corpus, 4, 3))


def test_bit_rates_of_known_sequences():
    # Units 0 1 0 1 ... last one frame and three in turn: nothing is left to say once the unit before is known.
    items = [Units(str(i), [0, 1] * 50, [1, 3] * 50) for i in range(20)]
    s = unit_statistics(UnitsFile(IDENTITY, items), order=3)
    rate = 100 / (200 / 50)  # units a second
    assert s.unit_bit_rate == s.timed_bit_rate == pytest.approx(rate)  # the duration follows from the unit
    assert s.unit_block_bit_rates == pytest.approx([rate, 0, 0], abs=1e-9)
    of_frames = bits({0: 1, 1: 3})
    assert s.frame_bit_rate == s.zerospeech_bit_rate == pytest.approx(50 * of_frames)
    assert s.frame_block_bit_rates[0] == pytest.approx(50 * of_frames)
    # A frame given two before it: after "1 1" comes 1 or 0, evenly (in the middle of the sequence).
    assert s.frame_block_bit_rates[2] == pytest.approx(50 * 0.5, rel=0.02)
    assert s.unit_ngram_perplexities[0] == pytest.approx(2, rel=0.02)
    assert s.unit_ngram_perplexities[1] == pytest.approx(1, abs=0.03)
    random = np.random.default_rng(0).integers(0, 8, 20_000).tolist()
    s = unit_statistics(UnitsFile(IDENTITY, [Units(str(i), random[i::20]) for i in range(20)]))
    assert s.unit_block_bit_rates == pytest.approx([150, 150, 150], rel=0.02)  # 3 bits x 50: memoryless


ALIGNMENT = {"a": [Segment(0, 0.1, "x"), Segment(0.1, 0.16, "y"), Segment(0.2, 0.3, "x")]}


def test_cooccurrence_counts_frames():
    item = Units("a", [0, 1, 0], [5, 4, 6])
    found = cooccurrence(UnitsFile(IDENTITY, [item, Units("b", [3], [9])]), ALIGNMENT)
    pairs = Counter(zip(frame_labels(ALIGNMENT["a"], 15, 50.0), expand(item.units, item.durations), strict=True))
    assert found.labels == ["SIL", "x", "y"]
    assert {(p, u): found.counts[i, u] for i, p in enumerate(found.labels) for u in range(8) if found.counts[i, u]} == (
        pairs
    )
    assert found.phone_purity == pytest.approx((10 + 3) / 15)
    assert found.cluster_purity == pytest.approx((10 + 3 + 1) / 15)
    perfect = Cooccurrence(["a", "b"], np.array([[3, 0, 2], [0, 5, 0]]))
    assert perfect.pnmi == pytest.approx(1)
    assert Cooccurrence(["a", "b"], np.array([[2, 4], [1, 2]])).pnmi == pytest.approx(0, abs=1e-12)
    for file in ([Units("z", [1], [1])], [Units("a", [1])]):
        with pytest.raises(UserError, match="no utterance id in common|without durations"):
            cooccurrence(UnitsFile(IDENTITY, file), ALIGNMENT)


def test_boundary_scores_of_known_cases():
    assert reference_boundaries(ALIGNMENT["a"], 0.3).tolist() == [0.1, 0.16, 0.2]
    perfect = UnitsFile(IDENTITY, [Units("a", [0, 1, 2, 0], [5, 3, 2, 5])])
    scores = boundary_scores(perfect, ALIGNMENT)
    assert (scores.precision, scores.recall, scores.fscore, scores.r_value) == (1, 1, 1, 1)
    late = UnitsFile(IDENTITY, [Units("a", [0, 1, 2, 0], [6, 3, 2, 4])])  # every change 20 ms late
    assert boundary_scores(late, ALIGNMENT).hits == 3
    assert boundary_scores(late, ALIGNMENT, tolerance=0.019).hits == 0
    scores = Detection(hits=50, found=80, true=100)
    assert (scores.precision, scores.recall) == (0.625, 0.5)
    assert scores.fscore == pytest.approx(2 * 0.625 * 0.5 / 1.125)
    # Räsänen et al. 2009, equations 4 to 7, by hand: over-segmentation -0.2
    r1, r2 = math.hypot(0.5, -0.2), (0.2 + 0.5 - 1) / math.sqrt(2)
    assert scores.r_value == pytest.approx(1 - (r1 + abs(r2)) / 2)
    nothing = Detection(0, 0, 10)
    assert (nothing.precision, nothing.recall, nothing.fscore) == (None, 0, None)


def speakers_of(items):
    return {item.id: item.id[0] for item in items}


def test_a_speaker_probe_finds_speakers_where_they_can_be_found():
    rng = np.random.default_rng(0)
    told = [
        Units(f"{s}{i}", rng.choice([2 * n, 2 * n + 1], 30).tolist()) for n, s in enumerate("abc") for i in range(9)
    ]
    found = speaker_statistics(UnitsFile(IDENTITY, told), speakers_of(told))
    assert (found.probe_accuracy, found.utterances) == (1, 27)
    assert found.chance == pytest.approx(1 / 3)
    assert found.counts.information == pytest.approx(math.log2(3))
    assert found.divergences == pytest.approx(dict.fromkeys("abc", math.log2(3)), abs=0.05)
    alike = [Units(f"{s}{i}", rng.integers(0, 8, 200).tolist()) for s in "abc" for i in range(60)]
    found = speaker_statistics(UnitsFile(IDENTITY, alike), speakers_of(alike))
    assert found.probe_accuracy == pytest.approx(1 / 3, abs=0.12)  # three standard deviations of 180 guesses
    assert found.counts.information < 0.01
    with pytest.raises(UserError, match="two speakers with two utterances"):
        speaker_statistics(UnitsFile(IDENTITY, told[:9]), speakers_of(told))


def slow_edits(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(slow_edits(a[1:], b[1:]) + (a[0] != b[0]), slow_edits(a[1:], b) + 1, slow_edits(a, b[1:]) + 1)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, 2), max_size=5), st.lists(st.integers(0, 2), max_size=5))
def test_edit_distance_is_the_recursion(a, b):
    assert edit_distance(np.array(a, int), np.array(b, int)) == slow_edits(a, b)


def test_two_files_are_compared(tmp_path):
    first = [Units("a", [0, 1, 2], [2, 2, 2]), Units("b", [3], [4]), Units("only", [1], [1])]
    second = [Units("a", [0, 2], [2, 4]), Units("b", [3], [4])]
    found = compare(UnitsFile(IDENTITY, first), UnitsFile(IDENTITY, second))
    assert (found.utterances, found.only_first, found.only_second) == (2, 1, 0)
    assert found.edit_distance == pytest.approx(1 / 4)
    assert found.frame_agreement == pytest.approx(8 / 10)
    renamed = [Units(u.id, [7 - unit for unit in u.units], u.durations) for u in first]
    other = stated_identity("mfcc@50", 9, 50.0)
    found = compare(UnitsFile(IDENTITY, first), UnitsFile(other, renamed))
    assert found.normalised_information == pytest.approx(1)  # names of units do not matter to it
    assert found.edit_distance is found.frame_agreement is None
    untimed = [Units(u.id, u.units) for u in second]
    found = compare(UnitsFile(IDENTITY, first), UnitsFile(IDENTITY, untimed))
    assert (found.edit_distance, found.frame_agreement, found.normalised_information) == (0.25, None, None)
    with pytest.raises(UserError, match="no utterance id in common"):
        compare(UnitsFile(IDENTITY, first[:1]), UnitsFile(IDENTITY, second[1:]))

    write_units(tmp_path / "a.jsonl", IDENTITY, first)
    write_units(tmp_path / "b.jsonl", other, second)
    assert "cannot be told" in run("compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl").stdout
    assert json.loads(run("compare", tmp_path / "a.jsonl", tmp_path / "a.jsonl", "--json").stdout)["edit_distance"] == 0


def test_stats_by_command(tmp_path):
    rng = np.random.default_rng(0)
    items = []
    for i in range(12):
        units = [int(u) for u, v in pairwise(rng.integers(0, 8, 40)) if u != v]
        items.append(Units(f"s{i % 2}/{i}", units, rng.integers(1, 5, len(units)).tolist()))
    write_units(tmp_path / "u.jsonl", IDENTITY, items)
    alignment = {
        item.id: [Segment(n / 10, (n + 1) / 10, "aeiou"[n % 5]) for n in range(item.n_frames // 5)] for item in items
    }
    write_alignment(tmp_path / "a.tsv", alignment, "phone")
    utterances = tuple(Utterance(u.id, f"{u.id}.wav", 16000, speaker=u.id[:2]) for u in items)
    write_manifest(tmp_path / "m.tsv", Manifest(tmp_path, utterances))
    options = ["--alignment", tmp_path / "a.tsv", "--manifest", tmp_path / "m.tsv", "--order", 2]
    found = json.loads(run("stats", tmp_path / "u.jsonl", *options, "--json").stdout)
    assert len(found["unit_block_bit_rates"]) == 2
    assert 0 < found["phones"]["pnmi"] < 1
    assert found["boundaries"]["true"] > 0
    assert found["speakers"]["utterances"] == 12
    wider = json.loads(run("stats", tmp_path / "u.jsonl", *options, "--tolerance", 0.05, "--json").stdout)
    assert wider["boundaries"]["recall"] > found["boundaries"]["recall"]
    text = run("stats", tmp_path / "u.jsonl", *options).stdout
    assert "pnmi" in text
    assert "r_value" in text
    assert "probe accuracy" in text
    refused = run("stats", tmp_path / "u.jsonl", "--plot", tmp_path / "p.png", ok=False)
    assert "give --alignment" in str(refused.exception)


def test_heat_maps_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    write_units(tmp_path / "u.jsonl", IDENTITY, [Units("a", [0, 1, 0], [5, 4, 6])])
    write_alignment(tmp_path / "a.tsv", {"a": [Segment(0, 0.1, "<x>"), Segment(0.1, 0.3, "y")]}, "phone")
    options = ["stats", tmp_path / "u.jsonl", "--alignment", tmp_path / "a.tsv", "--plot"]
    run(*options, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    run(*options, tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text()
    assert "data:image/png;base64," in page
    assert "&lt;x&gt;" in page
    assert "a .png or an .html" in str(run(*options, tmp_path / "p.pdf", ok=False).exception)
