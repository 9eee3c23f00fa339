"""Benchmarks of pairs: hand-computed accuracies, the organisers' formulas, voices, both forms of scores, mistakes."""

import csv
import itertools
import statistics
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from textless.errors import UserError
from zerospeech_eval.names import find_ids
from zerospeech_eval.pairs import PairResult
from zerospeech_eval.prosaudit import prosaudit
from zerospeech_eval.sblimp import sblimp
from zerospeech_eval.scores import LogProbs, read_conventions, read_scores
from zerospeech_eval.storycloze import salmon, storycloze
from zerospeech_eval.swuggy import swuggy

SWUGGY = "filename,id,voice,frequency,word,phones,length,correct\n"
SBLIMP = "filename,id,voice,type,subtype,transcription,correct\n"


def words(path: Path, rows: list[tuple[str, str, str, int, int, int]]) -> Path:
    """Rows are (filename, id, voice, frequency, length, correct)."""
    lines = [f"{name},{i},{voice},{frequency},word,f o o,{n},{right}\n" for name, i, voice, frequency, n, right in rows]
    path.write_text(SWUGGY + "".join(lines))
    return path


def scored(**values: float) -> LogProbs:
    return LogProbs(values, "sum of log-probabilities")


def values(result: PairResult, title: str) -> dict[str, tuple[float, int]]:
    return {name: (part.value, part.n) for name, part in result.breakdown[title].items()}


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return words(
        tmp_path / "gold.csv",
        [
            ("w1a", "1", "A", 0, 3, 1),
            ("n1a", "1", "A", 0, 3, 0),
            ("w1b", "1", "B", 0, 3, 1),
            ("n1b", "1", "B", 0, 3, 0),
            ("n2a", "2", "A", 5, 4, 0),
            ("w2a", "2", "A", 5, 4, 1),
            ("w3a", "3", "A", 100, 3, 1),
            ("n3a", "3", "A", 100, 3, 0),
        ],
    )


ALL = {"w1a": -1.0, "n1a": -2.0, "w1b": -5.0, "n1b": -2.0, "w2a": -3.0, "n2a": -3.0, "w3a": -1.0, "n3a": -4.0}


def test_swuggy_by_hand(gold: Path) -> None:
    result = swuggy(scored(**ALL), gold)
    # id 1: right in voice A, wrong in B: 0.5; id 2: a tie: 0.5; id 3: right.
    assert result.overall is not None
    assert result.overall.value == pytest.approx(2 / 3)
    assert (result.overall.n, result.n_trials, result.n_skipped) == (3, 4, 0)
    assert result.overall.standard_error == pytest.approx(1 / 6)  # of 0.5, 0.5 and 1: √(1/12) / √3
    assert values(result, "in vocabulary") == {"all": (0.75, 2)}
    assert values(result, "by frequency") == {"oov": (0.5, 1), "6-20": (0.5, 1), ">100": (1.0, 1)}
    assert values(result, "by length") == {"3": (0.75, 2), "4": (0.5, 1)}
    summary = result.summary()
    assert summary["accuracy"] == pytest.approx(200 / 3)
    assert summary["chance"] == 50
    assert summary["by_frequency"]["6-20"]["n"] == 1


@pytest.mark.parametrize(
    ("frequency", "band"),
    [(0, "oov"), (1, "1-5"), (4, "1-5"), (5, "6-20"), (19, "6-20"), (20, "21-100"), (99, "21-100"), (100, ">100")],
)
def test_bands_are_those_of_the_reference(tmp_path: Path, frequency: int, band: str) -> None:
    path = words(tmp_path / "gold.csv", [("w", "1", "A", frequency, 3, 1), ("n", "1", "A", frequency, 3, 0)])
    assert list(swuggy(scored(w=-1, n=-2), path).breakdown["by frequency"]) == [band]


def test_missing_scores(gold: Path) -> None:
    some = {name: value for name, value in ALL.items() if name not in {"n1b", "w3a", "n3a"}}
    with pytest.raises(UserError, match=r"3 of the 8 files .*: 'n1b', 'w3a', 'n3a'.*--skip-missing"):
        swuggy(scored(**some), gold)
    result = swuggy(scored(**some), gold, skip_missing=True)
    assert result.overall is not None
    assert (result.n_trials, result.n_skipped, result.overall.n) == (2, 2, 2)
    assert result.overall.value == 0.75
    with pytest.raises(UserError, match="no pair"):
        swuggy(scored(other=-1), gold, skip_missing=True)


def test_swuggy_gold_that_does_not_pair_up(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 rows have no partner, among them id 1 in voice 'A'"):
        swuggy(scored(w=-1), words(tmp_path / "a.csv", [("w", "1", "A", 0, 3, 1)]))
    with pytest.raises(UserError, match=":3: id 1 has two rows with correct=1"):
        swuggy(scored(w=-1), words(tmp_path / "b.csv", [("w", "1", "A", 0, 3, 1), ("v", "1", "A", 0, 3, 1)]))
    with pytest.raises(UserError, match=":2: correct should be 0 or 1"):
        swuggy(scored(w=-1), words(tmp_path / "c.csv", [("w", "1", "A", 0, 3, 2)]))
    (tmp_path / "d.csv").write_text("filename,id\n")
    with pytest.raises(UserError, match="lacks the columns voice, frequency"):
        swuggy(scored(w=-1), tmp_path / "d.csv")


def sentences(path: Path, rows: list[tuple[str, str, str, str, str, int]]) -> Path:
    """Rows are (filename, id, voice, type, subtype, correct)."""
    lines = [f'{name},{i},{voice},{kind},{sub},"He said, no",{right}\n' for name, i, voice, kind, sub, right in rows]
    path.write_text(SBLIMP + "".join(lines))
    return path


def test_sblimp_by_hand(tmp_path: Path) -> None:
    gold = sentences(
        tmp_path / "gold.csv",
        [
            ("a", "1", "A", "agreement", "noun", 1),
            ("b", "1", "A", "agreement", "noun", 0),
            ("c", "1", "B", "agreement", "noun", 1),
            ("d", "1", "B", "agreement", "noun", 0),
            ("e", "1", "A", "agreement", "verb", 1),  # the same id in another subtype is another pair
            ("f", "1", "A", "agreement", "verb", 0),
            ("g", "2", "A", "binding", "c", 1),
            ("h", "2", "A", "binding", "c", 0),
        ],
    )
    result = sblimp(scored(a=-1, b=-2, c=-2, d=-1, e=-1, f=-2, g=-9, h=-1), gold)
    assert result.overall is not None
    assert result.overall.value == pytest.approx((0.5 + 1 + 0) / 3)
    assert values(result, "by type") == {"agreement": (0.75, 2), "binding": (0.0, 1)}
    assert values(result, "by subtype") == {
        "agreement/noun": (0.5, 1),
        "agreement/verb": (1.0, 1),
        "binding/c": (0.0, 1),
    }


def test_sblimp_pairs_by_position(tmp_path: Path) -> None:
    rows = [("a", "1", "A", "t", "s", 1), ("b", "2", "A", "t", "s", 1), ("c", "1", "A", "t", "s", 0)]
    with pytest.raises(UserError, match="2 rows with correct=1 and 1 with correct=0"):
        sblimp(scored(a=-1), sentences(tmp_path / "a.csv", rows))
    swapped = [*rows[:2], ("c", "2", "A", "t", "s", 0), ("d", "1", "A", "t", "s", 0)]
    with pytest.raises(UserError, match="row 1 with correct=1 is t/s/1, row 1 with correct=0 is t/s/2"):
        sblimp(scored(a=-1), sentences(tmp_path / "b.csv", swapped))


def test_scores_of_the_unit_language_model(tmp_path: Path) -> None:
    path = tmp_path / "scores.tsv"
    path.write_text("id\tlog_prob\tunits\naudio/f 3/1\t-12.5\t10\naudio/2\t-3\t2\n")
    assert read_scores(path).values == {"audio/f 3/1": -12.5, "audio/2": -3.0}
    assert read_scores(path).convention.startswith("sum")
    per_unit = read_scores(path, per_unit=True)
    assert per_unit.values == {"audio/f 3/1": -1.25, "audio/2": -1.5}
    assert per_unit.convention.startswith("mean")


def test_scores_of_a_zerospeech_submission(tmp_path: Path) -> None:
    path = tmp_path / "dev.txt"
    path.write_text("aAAfmkmQpVz -24.8\nabc 1e-3\n\n")
    assert read_scores(path).values == {"aAAfmkmQpVz": -24.8, "abc": 0.001}
    with pytest.raises(UserError, match="column units"):
        read_scores(path, per_unit=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n", ":1 should be `name value`"),
        ("a -1\nb -1\na -2\nb -1\n", ":3 scores an id again, one of 2: 'a', 'b'"),
        ("a nan\n", ":1: 'a' has log-probability nan"),
        ("", "holds no scores"),
        ("id\tlog_prob\tunits\na\tx\t3\n", ":2 should be id<TAB>log_prob"),
    ],
)
def test_malformed_scores(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "scores.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_scores(path)


def test_per_unit_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scores.tsv"
    path.write_text("id\tlog_prob\tunits\na\t0\t0\n")
    with pytest.raises(UserError, match="over"):
        read_scores(path, per_unit=True)


def test_names_with_and_without_folders() -> None:
    known = ["audio/f3/1", "audio/f3/2", "audio/m1/2", "3"]
    assert find_ids(known, ["1", "audio/m1/2", "3", "x/1"]) == ["audio/f3/1", "audio/m1/2", "3", None]
    with pytest.raises(UserError, match="'2' of the list fits several ids: 'audio/f3/2', 'audio/m1/2'"):
        find_ids(known, ["2"])


def test_windows_line_ends_and_byte_order_marks(gold: Path, tmp_path: Path) -> None:
    lines = "".join(f"{name} {value}\r\n" for name, value in ALL.items())
    (tmp_path / "dev.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    expected = swuggy(scored(**ALL), gold).summary()
    gold.write_bytes(b"\xef\xbb\xbf" + gold.read_bytes().replace(b"\n", b"\r\n"))
    assert swuggy(read_scores(tmp_path / "dev.txt"), gold).summary() == expected


def random_gold(path: Path, header: str, kinds: list[str], rng: np.random.Generator) -> tuple[list[dict], LogProbs]:
    """Pairs in three voices, some of them with equal scores, rows shuffled within correct and incorrect alike."""
    rows, scores = [], {}
    for i, kind in itertools.product(range(30), kinds):
        for voice in "ABC":
            frequency = int(rng.choice([0, 1, 4, 5, 19, 20, 99, 100, 1000]))
            for correct in (1, 0):
                name = f"{kind}{i}{voice}{correct}"
                values = {"filename": name, "id": i, "voice": voice, "type": kind, "subtype": f"s{i % 3}"}
                values |= {"frequency": frequency if voice == "A" else rows[-2]["frequency"], "word": name}
                values |= {"phones": "f o", "length": 3 + i % 4, "transcription": "x", "correct": correct}
                rows.append(values)
                scores[name] = float(rng.integers(-4, 0))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, header.strip().split(","), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return rows, scored(**scores)


def by_formula(rows: list[dict], scores: LogProbs, key: tuple[str, ...]) -> dict[tuple, float]:
    """Mean over voices of 1(w > nw) + 1/2 1(w = nw)."""
    values = defaultdict(list)
    for one, other in itertools.pairwise(rows):
        if one["correct"] == 1:
            a, b = scores.values[one["filename"]], scores.values[other["filename"]]
            values[tuple(one[name] for name in key)].append(1.0 * (a > b) + 0.5 * (a == b))
    return {pair: float(np.mean(found)) for pair, found in values.items()}


def test_swuggy_is_the_formula(tmp_path: Path) -> None:
    rows, scores = random_gold(tmp_path / "gold.csv", SWUGGY, ["w"], np.random.default_rng(0))
    pairs = by_formula(rows, scores, ("id",))
    result = swuggy(scores, tmp_path / "gold.csv").summary()
    assert result["accuracy"] == pytest.approx(100 * np.mean(list(pairs.values())))
    frequency = {row["id"]: row["frequency"] for row in rows}
    edges = [0, 1, 5, 20, 100, np.inf]  # cut on the right side open, as pandas.cut(..., right=False)
    for name, low, high in zip(["oov", "1-5", "6-20", "21-100", ">100"], edges, edges[1:], strict=False):
        inside = [100 * value for (i,), value in pairs.items() if low <= frequency[i] < high]
        assert result["by_frequency"][name]["accuracy"] == pytest.approx(np.mean(inside))
        assert result["by_frequency"][name]["standard_deviation"] == pytest.approx(statistics.stdev(inside))
    known = [band for name, band in result["by_frequency"].items() if name != "oov"]
    weighted = sum(band["accuracy"] * band["n"] for band in known) / sum(band["n"] for band in known)
    assert result["in_vocabulary"]["all"]["accuracy"] == pytest.approx(weighted)
    assert {row["id"]: row["score"] for row in swuggy(scores, tmp_path / "gold.csv").pairs} == {
        str(i): value for (i,), value in pairs.items()
    }


def test_sblimp_and_prosaudit_are_the_formula(tmp_path: Path) -> None:
    rows, scores = random_gold(tmp_path / "gold.csv", SBLIMP, ["x", "y"], np.random.default_rng(1))
    pairs = by_formula(rows, scores, ("type", "id"))
    for benchmark in (sblimp, prosaudit):
        result = benchmark(scores, tmp_path / "gold.csv")
        for kind in "xy":
            inside = [value for (found, _), value in pairs.items() if found == kind]
            assert result.breakdown["by type"][kind].value == pytest.approx(np.mean(inside))
        if benchmark is prosaudit:
            assert result.overall is None, "the benchmark has no mean over its tasks"
            assert "accuracy" not in result.summary()
        else:
            assert result.overall is not None
            assert result.overall.value == pytest.approx(np.mean(list(pairs.values())))


def test_salmon_and_storycloze_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "scores.tsv"
    rows = {
        "speaker_consistency/sample_2_0": (-10, 10),  # likelier as a sum, less likely per unit
        "speaker_consistency/sample_2_1": (-20, 40),
        "speaker_consistency/sample_10_0": (-5, 5),
        "speaker_consistency/sample_10_1": (-5, 5),
        "bg_alignment/sample_0_0": (-9, 3),
        "bg_alignment/sample_0_1": (-1, 3),
    }
    path.write_text("id\tlog_prob\tunits\n" + "".join(f"{name}\t{v}\t{n}\n" for name, (v, n) in rows.items()))
    summed, per_unit = map(salmon, read_conventions(path))
    assert values(summed, "by part") == {"bg_alignment": (0.0, 1), "speaker_consistency": (0.75, 2)}
    assert values(per_unit, "by part") == {"bg_alignment": (0.0, 1), "speaker_consistency": (0.25, 2)}
    assert (summed.convention[:3], per_unit.convention[:4], summed.overall) == ("sum", "mean", None)

    endings = {
        f"tSC/{i}_{ending}": value
        for i, pair in ((7, (-1, -2)), (12, (-1, -1)))
        for ending, value in zip(("correct", "incorrect"), pair, strict=True)
    }
    endings |= {"sSC/7_correct": -3, "sSC/7_incorrect": -2}
    result = storycloze(scored(**endings))
    assert values(result, "by folder") == {"sSC": (0.0, 1), "tSC": (0.75, 2)}
    assert result.overall is not None
    assert result.overall.value == 0.5
    (tmp_path / "plain.txt").write_text("1_correct -1\n1_incorrect -2\n")
    assert len(read_conventions(tmp_path / "plain.txt")) == 1, "there are no units to divide by"


def test_pairs_in_names_that_do_not_pair_up() -> None:
    lonely = scored(**{"3_correct": -1, "4_correct": -1, "4_incorrect": -2})
    with pytest.raises(UserError, match=r"1 of 2 pairs .*: '\./3'.*--skip-missing"):
        storycloze(lonely)
    assert storycloze(lonely, skip_missing=True).n_skipped == 1
    with pytest.raises(UserError, match="'story' should be named like '12_correct'"):
        storycloze(scored(story=-1))
    with pytest.raises(UserError, match="no part 'voices'; .* speaker_consistency"):
        salmon(scored(**{"voices/sample_1_0": -1}))
