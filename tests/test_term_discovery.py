"""Term discovery against every pair made by the book, by hand, and its mistakes; class files."""

import math
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import term_discovery as oracle

from textless.corpora.alignment import Segment, write_alignment
from textless.errors import UserError
from zerospeech_eval.classes import Fragment, parse_classes, read_classes, write_classes
from zerospeech_eval.ned import mean_normalised
from zerospeech_eval.term_discovery import TermDiscovery, evaluate
from zerospeech_eval.transcribed_speech import Tier, TranscribedSpeech, read_speech

Tiers = dict[str, list[oracle.Segment]]


def speech(phones: Tiers, words: Tiers) -> TranscribedSpeech:
    tiers = [{f: Tier(*map(list, zip(*rows, strict=True))) for f, rows in tier.items()} for tier in (phones, words)]
    return TranscribedSpeech(*tiers)


def spell(*words: tuple[str, str], step: float = 0.1) -> tuple[list[oracle.Segment], list[oracle.Segment]]:
    """Phones of a tenth of a second each, of words (spelling, phones); "SIL" is no word."""
    phones, found, time = [], [], 0.0
    for word, spoken in words:
        start = time
        for phone in [spoken] if word == "SIL" else spoken:
            phones.append((round(time, 4), round(time + step, 4), phone))
            time += step
        if word != "SIL":
            found.append((round(start, 4), round(time, 4), word))
    return phones, found


def scores(result: TermDiscovery) -> dict[str, float]:
    found = {"ned": result.ned, "coverage": result.coverage, "n_pairs": result.n_pairs}
    for name in ("grouping", "boundary", "token", "type"):
        found |= {f"{name}_{key}": value for key, value in getattr(result, name).summary().items()}
    return {name: math.nan if value is None else value for name, value in found.items()}


def random_task(seed: int) -> tuple[dict[str, list[oracle.Fragment]], Tiers, Tiers]:
    """Three recordings of few phones, so that strings repeat; fragments anywhere, some twice, some between classes."""
    rng = random.Random(seed)
    phones: Tiers = {}
    words: Tiers = {}
    lexicon = [("ab", "ab"), ("ba", "ba"), ("ab2", "ab"), ("abba", "abba"), ("c", "c"), ("SIL", "SIL"), ("SIL", "SPN")]
    for file in "xyz":
        chosen = rng.choices(lexicon, k=12)
        phones[file], words[file] = spell(*chosen, step=rng.choice([0.04, 0.055, 0.06, 0.1]))
    edges = {file: [t for p in found for t in p[:2]] for file, found in phones.items()}
    fragments = []
    for _ in range(40):
        file = rng.choice("xyz")
        one, other = sorted(rng.sample(sorted(set(edges[file])), 2))
        shaken = max(0, one + rng.choice([0, 0, 0.03, -0.03, 0.011])), other + rng.choice([0, 0, 0.03, -0.03, 0.011])
        fragments.append((file, round(shaken[0], 4), round(shaken[1], 4)))
    fragments = [f for f in fragments if f[2] > f[1]]
    classes: dict[str, list[oracle.Fragment]] = {str(k): [] for k in range(5)}
    for fragment in [*fragments, *rng.sample(fragments, 5)]:
        classes[str(rng.randrange(5))].append(fragment)
    return {name: members for name, members in classes.items() if members}, phones, words


@pytest.mark.parametrize("seed", range(40))
def test_scores_are_those_of_every_pair(seed: int) -> None:
    classes, phones, words = random_task(seed)
    ours = evaluate({n: [Fragment(*f) for f in members] for n, members in classes.items()}, speech(phones, words))
    expected = oracle.scores(classes, phones, words)
    found = scores(ours)
    assert found == {name: pytest.approx(expected[name], abs=1e-12, nan_ok=True) for name in found}


def test_order_changes_nothing() -> None:
    classes, phones, words = random_task(7)
    inputs = {n: [Fragment(*f) for f in members] for n, members in classes.items()}
    shuffled = {n: inputs[n][::-1] for n in reversed(inputs)}
    assert evaluate(shuffled, speech(phones, words)) == evaluate(inputs, speech(phones, words))


def test_by_hand() -> None:
    phones, words = spell(("at", "at"), ("cat", "kat"), ("SIL", "SIL"), ("at", "at"))
    classes = {
        "1": [Fragment("f", 0.0, 0.2), Fragment("f", 0.6, 0.8)],  # at, at: right
        "2": [Fragment("f", 0.2, 0.5), Fragment("f", 0.35, 0.5)],  # kat; 50 ms of a, t
    }
    result = evaluate(classes, speech({"f": phones}, {"f": words}))
    assert (result.ned, result.n_pairs) == (pytest.approx((0 + 1 / 3) / 2), 2)
    assert result.coverage == 1.0
    # Four tokens in pairs of classes; two of them, at and at, in a right pair. Right pairs: the `at`s among themselves,
    # also with the last fragment, `at` inside `cat`, which shares no class with them.
    assert (result.grouping.precision, result.grouping.recall) == (0.5, pytest.approx(2 / 3))
    # Found: 0, .2, .3, .5, .6, .8; in the words but .3. True: 0, .2, .5, .6, .8.
    assert (result.boundary.precision, result.boundary.recall) == (pytest.approx(5 / 6), 1.0)
    assert (result.token.precision, result.token.recall) == (pytest.approx(3 / 4), 1.0)
    assert (result.type.precision, result.type.recall) == (1.0, 1.0)


def test_homophones_are_stated() -> None:
    phones, words = spell(("two", "tu"), ("too", "tu"), ("cat", "kat"))
    every = {"1": [Fragment("f", on, off) for on, off, _ in words[:2]], "2": [Fragment("f", *words[2][:2])]}
    result = evaluate(every, speech({"f": phones}, {"f": words}))
    assert result.token.fscore == 1.0
    assert (result.type.precision, result.type.recall) == (1.0, pytest.approx(2 / 3))
    assert result.type_recall_ceiling == pytest.approx(2 / 3)
    assert (result.n_written_words, result.n_spoken_words) == (3, 2)


def test_no_token_found_and_no_pair() -> None:
    phones, words = spell(("abba", "abba"), ("SIL", "SIL"))
    result = evaluate({"1": [Fragment("f", 0.1, 0.3)]}, speech({"f": phones}, {"f": words}))
    assert (result.token.precision, result.token.recall, result.token.fscore) == (0.0, 0.0, 0.0)
    assert (result.ned, result.n_pairs) == (None, 0)
    assert result.summary()["grouping"] == {"precision": None, "recall": None, "fscore": None}
    silent = evaluate({"1": [Fragment("f", 0.4, 0.5), Fragment("f", 0.4, 0.49)]}, speech({"f": phones}, {"f": words}))
    assert silent.ned == 1.0, "two fragments of silence alone"
    dropped = evaluate({"1": [Fragment("f", 0.0, 0.01)]}, speech({"f": phones}, {"f": words}))
    assert (dropped.n_dropped, dropped.n_fragments, dropped.token.precision) == (1, 0, None)


@given(st.lists(st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=5), max_size=4))
@settings(max_examples=60, deadline=None)
def test_edit_distances_are_those_of_the_table(groups: list[list[list[int]]]) -> None:
    strings = [[tuple(s) for s in group] for group in groups]
    distances = [
        oracle.levenshtein(a, b) / max(len(a), len(b)) if a or b else 1.0
        for group in strings
        for i, a in enumerate(group)
        for b in group[:i]
    ]
    mean, n = mean_normalised(strings)
    assert n == len(distances)
    assert mean == pytest.approx(np.mean(distances) if distances else math.nan, nan_ok=True)


@pytest.mark.parametrize("lengths", [(63, 64), (64, 64), (65, 3), (3, 65), (64, 130), (200, 190), (0, 70)])
def test_edit_distances_of_long_strings(lengths: tuple[int, int]) -> None:
    rng = random.Random(0)
    one, other = (tuple(rng.choices(range(4), k=n)) for n in lengths)
    assert mean_normalised([[one, other]])[0] == pytest.approx(oracle.levenshtein(one, other) / max(lengths))


def test_alignments_of_both_kinds(tmp_path: Path) -> None:
    phones, words = spell(("at", "at"), ("SIL", "SIL"), ("cat", "kat"))
    for name, rows in (("f.phn", phones), ("f.wrd", words)):
        lines = [f"f {on} {off} {label}\r\n" for on, off, label in rows]
        (tmp_path / name).write_text("".join(reversed(lines)), newline="")
    theirs = read_speech(tmp_path / "f.phn", tmp_path / "f.wrd")
    assert theirs == speech({"f": phones}, {"f": words})
    for name, column, rows in (("p.tsv", "phone", phones), ("w.tsv", "word", words)):
        write_alignment(tmp_path / name, {"f": [Segment(*row) for row in rows]}, column)
    assert read_speech(tmp_path / "p.tsv", tmp_path / "w.tsv") == theirs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("f 0 1 a\nf 0.9 2 b\n", "1 labels of 'f' overlap the next one, the first is 'a' at 0.0-1.0 s"),
        ("f -1 1 a\n", ":1: needs 0 <= onset < offset, found -1 and 1"),
        ("f 2 1 a\n", ":1: needs 0 <= onset < offset"),
        ("f 0 nan a\n", ":1: needs 0 <= onset < offset"),
        ("f 0 1\n", ":1 should be `file onset offset label`"),
        ("", "aligns nothing"),
    ],
)
def test_bad_alignments(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "f.phn").write_text(text)
    with pytest.raises(UserError, match=message):
        read_speech(tmp_path / "f.phn", tmp_path / "f.phn")


def test_words_without_phones(tmp_path: Path) -> None:
    (tmp_path / "f.phn").write_text("f 0 1 a\n")
    (tmp_path / "f.wrd").write_text("g 0 1 a\n")
    with pytest.raises(UserError, match="1 recordings without phones .*'g'"):
        read_speech(tmp_path / "f.phn", tmp_path / "f.wrd")
    with pytest.raises(UserError, match="1 recordings that the alignment has not: 'h'"):
        evaluate({"1": [Fragment("h", 0, 1)]}, read_speech(tmp_path / "f.phn", tmp_path / "f.phn"))


def test_class_files_round_trip(tmp_path: Path) -> None:
    classes = {"1": [Fragment("a b", 0.1, 1 / 3), Fragment("c", 0.0, 2.0)], "x": [Fragment("c", 1.0, 1.5)]}
    write_classes(tmp_path / "english.txt", classes)
    found = parse_classes(tmp_path / "english.txt")
    assert (found.classes, found.problems, found.remarks) == (classes, [], [])
    windows = (tmp_path / "english.txt").read_bytes().replace(b"\n", b"\r\n").rstrip()
    (tmp_path / "windows.txt").write_bytes(windows)
    found = parse_classes(tmp_path / "windows.txt")
    assert (found.classes, found.problems) == (classes, [])
    assert found.remarks == ["an empty line should end the last class"]


def test_every_mistake_of_a_class_file(tmp_path: Path) -> None:
    path = tmp_path / "english.txt"
    path.write_text("a 0 1\nClass 1\na 1 0.5\na -1 2\n\nClass 1\na 0 1\nClass 2\nb 0 one\nc\n")
    found = parse_classes(path)
    assert [problem.split(":")[0] for problem in found.problems] == [
        "line 1",
        "line 3",
        "line 4",
        "line 6",
        "line 9",
        "line 10",
    ]
    assert [remark.split(":")[0] for remark in found.remarks] == ["line 8", "an empty line should end the last class"]
    with pytest.raises(UserError, match="line 1: a fragment outside any class; line 3: .*, and 3 more"):
        read_classes(path)
    path.write_text("Class 1\n\n")
    with pytest.raises(UserError, match="class 1 is empty"):
        read_classes(path)
    path.write_text("")
    with pytest.raises(UserError, match="no class"):
        read_classes(path)
