"""Units as names of phones: assignment against every permutation, boundaries and error rates by hand."""

import itertools
import math

import numpy as np
import pytest

from textless.corpora.alignment import Segment
from textless.errors import UserError
from units.boundaries import changes, count_hits
from units.detection import Detection
from units.files import Units, UnitsFile
from units.identity import QuantizerIdentity
from units.phones import Cooccurrence, cooccurrence
from units.runs import deduplicate
from zerospeech_eval.assignment import best_assignment
from zerospeech_eval.unit_phones import names, summary, write_phones


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 6), (6, 3), (5, 5), (2, 7)])
@pytest.mark.parametrize("seed", range(5))
def test_assignment_is_the_best_of_all(shape: tuple[int, int], seed: int) -> None:
    gains = np.random.default_rng(seed).integers(0, 6, shape)
    columns = best_assignment(gains)
    chosen = [(row, column) for row, column in enumerate(columns.tolist()) if column >= 0]
    assert len(chosen) == len({column for _, column in chosen}) == min(shape)
    wide = gains if shape[0] <= shape[1] else gains.T
    best = max(
        sum(wide[row, column] for row, column in enumerate(order))
        for order in itertools.permutations(range(wide.shape[1]), len(wide))
    )
    assert sum(gains[row, column] for row, column in chosen) == best


def test_assignment_of_many_units() -> None:
    """Planted: unit 7 p is what phone p is for, whatever the noise."""
    gains = np.random.default_rng(0).integers(0, 50, (40, 500))
    gains[np.arange(40), 7 * np.arange(40)] += 100
    assert best_assignment(gains).tolist() == (7 * np.arange(40)).tolist()


def hits_by_definition(found: list[float], true: list[float], tolerance: float) -> int:
    """Every found boundary belongs to the nearest true one, the earlier of two; a true one is hit if any is near."""
    hit = set()
    for f in found:
        nearest = min(true, key=lambda t: (abs(t - f), t), default=None)
        if nearest is not None and abs(nearest - f) <= tolerance:
            hit.add(nearest)
    return len(hit)


@pytest.mark.parametrize("seed", range(20))
def test_hits_are_those_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found, true = (sorted(set(rng.integers(0, 400, 25).tolist())) for _ in range(2))
    result = count_hits(np.array(found) / 1000, np.array(true) / 1000)
    assert result == Detection(hits_by_definition(found, true, 20), len(found), len(true))


def test_a_boundary_in_the_middle_hits_once() -> None:
    assert count_hits(np.array([0.115]), np.array([0.1, 0.13])) == Detection(1, 1, 2)
    assert count_hits(np.array([0.12, 0.08]), np.array([0.1])) == Detection(1, 2, 1), "the ends belong to the window"
    assert count_hits(np.array([]), np.array([0.1])) == Detection(0, 0, 1)
    assert count_hits(np.array([0.1]), np.array([])) == Detection(0, 1, 0)


def test_r_value_by_hand() -> None:
    found = Detection(hits=6, found=12, true=8)  # recall 0.75, over-segmentation 0.5
    one, other = math.hypot(0.25, 0.5), abs(-0.5 + 0.75 - 1) / math.sqrt(2)
    assert found.r_value == pytest.approx(1 - (one + other) / 2)
    assert Detection(8, 8, 8).r_value == 1
    assert Detection(0, 5, 0).r_value is None
    assert found.fscore == pytest.approx(2 * 0.5 * 0.75 / 1.25)


def units(k: int, **frames: list[int]) -> UnitsFile:
    identity = QuantizerIdentity(encoder="mfcc", k=k, frame_rate=50.0, sha256="0")
    return UnitsFile(identity, [Units(name, *deduplicate(sequence)) for name, sequence in frames.items()])


ALIGNMENT = {
    "x": [Segment(0, 0.1, "a"), Segment(0.1, 0.2, "b"), Segment(0.2, 0.3, "a")],
    "y": [Segment(0, 0.1, "b"), Segment(0.2, 0.3, "b")],  # silence between
}


def test_units_that_are_phones() -> None:
    perfect = units(3, x=[0] * 5 + [1] * 5 + [0] * 5, y=[1] * 5 + [2] * 5 + [1] * 5)
    report = summary(perfect, ALIGNMENT)
    assert report["pnmi"] == pytest.approx(1)
    for naming in ("many_to_one", "one_to_one"):
        assert report[naming] == {
            "phone_error_rate": 0,
            "boundary_precision": 1,
            "boundary_recall": 1,
            "boundary_fscore": 1,
            "boundary_r_value": 1,
        }


def test_two_units_of_one_phone() -> None:
    """Units 0 and 3 are both a: many to one has no error, one to one writes unit 3 wrongly."""
    split = units(4, x=[0] * 3 + [3] * 2 + [1] * 5 + [0] * 5, y=[1] * 5 + [2] * 5 + [1] * 5)
    counts = cooccurrence(split, ALIGNMENT)
    assert names(counts, "many-to-one") == ["a", "b", "SIL", "a"]
    assert names(counts, "one-to-one") == ["a", "b", "SIL", "unit 3"]
    many = write_phones(split, ALIGNMENT, names(counts, "many-to-one"))
    one = write_phones(split, ALIGNMENT, names(counts, "one-to-one"))
    assert (many.edits, one.edits, one.n_phones) == (0, 1, 6)  # a (unit 3) b a, b SIL b
    assert (many.boundary, one.boundary) == (Detection(4, 4, 4), Detection(4, 5, 4))
    with pytest.raises(ValueError, match="unknown naming"):
        names(counts, "all-to-one")


def test_more_phones_than_units() -> None:
    counts = Cooccurrence(["a", "b", "c"], np.array([[5, 0], [4, 9], [1, 1]]))
    assert names(counts, "one-to-one") == ["a", "b"]


def test_changes() -> None:
    assert changes([1, 1, 2, 2, 1], 50.0).tolist() == [0.04, 0.08]
    assert changes([], 50.0).tolist() == []


def test_units_that_cannot_be_placed() -> None:
    timeless = UnitsFile(units(2, x=[0]).quantizer, [Units("x", [0, 1])])
    with pytest.raises(UserError, match="without durations"):
        cooccurrence(timeless, ALIGNMENT)
    with pytest.raises(UserError, match="no utterance id in common"):
        cooccurrence(units(2, z=[0]), ALIGNMENT)
