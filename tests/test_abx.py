"""The ABX engine against the slow oracle, against hand-computed cases, and its errors."""

from collections import Counter
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import abx as oracle

from textless.corpora.items import Item
from textless.errors import UserError
from zerospeech_eval import abx as engine
from zerospeech_eval.abx import abx, evaluate
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.distances import frame_distances, prepare
from zerospeech_eval.dtw import align_pairs
from zerospeech_eval.task import Task

SMALL = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


def corpus(
    seed: int,
    *,
    speakers: int = 3,
    phones: int = 3,
    contexts: int = 2,
    most: int = 3,
    dim: int = 6,
    spread=1.0,
    frames: np.ndarray | None = None,
    planted: np.ndarray | None = None,
) -> tuple[list[Item], dict[str, np.ndarray]]:
    """Ragged tokens with gaps: any (speaker, context, phone) may have none. `planted` moves phones apart."""
    rng = np.random.default_rng(seed)
    items, features = [], {}
    for s in range(speakers):
        parts, start = [], 0
        for c in range(contexts):
            for p in range(phones):
                for _ in range(rng.integers(0, most + 1)):
                    n = int(rng.integers(1, 7))
                    token = (
                        spread * rng.normal(size=(n, dim))
                        if frames is None
                        else frames[rng.integers(0, len(frames), n)]
                    )
                    if planted is not None:
                        token = token + planted[p]
                    items.append(
                        Item(f"s{s}", f"{start / 50:.4f}", f"{(start + n) / 50:.4f}", f"p{p}", f"c{c}", "z", f"s{s}")
                    )
                    parts.append(token)
                    start += n
        features[f"s{s}"] = np.concatenate(parts) if parts else np.zeros((1, dim))
    return items, features


def softmax(array: np.ndarray) -> np.ndarray:
    powers = np.exp(array)
    return powers / powers.sum(axis=1, keepdims=True)


def assert_same(items: list[Item], features: dict[str, np.ndarray], speaker: str, context: str, distance: str):
    cells = oracle.abx(items, features, "50", speaker, context, distance)
    if not cells:
        with pytest.raises(UserError, match="no .*-speaker cell"):
            abx(items, features, "50", speaker=speaker, context=context, distance=distance)
        return
    score = abx(items, features, "50", speaker=speaker, context=context, distance=distance)
    ours = {
        ("any" if c.context == "any" else tuple(c.context.split()), c.speaker, c.x_speaker, c.a, c.b): c
        for c in score.cells
    }
    assert ours.keys() == cells.keys()
    for key, (error, triplets) in cells.items():
        assert ours[key].triplets == triplets
        assert ours[key].error == pytest.approx(error, abs=1e-6)
    assert score.value == pytest.approx(oracle.score(cells), abs=1e-6)


@pytest.mark.parametrize("speaker", ["within", "across"])
@pytest.mark.parametrize("context", ["within", "any"])
@pytest.mark.parametrize("distance", ["angular", "euclidean", "kl_symmetric", "identical"])
def test_agrees_with_the_oracle(speaker: str, context: str, distance: str):
    for seed in range(2):
        items, features = corpus(seed)
        if distance == "kl_symmetric":
            features = {file: softmax(array) for file, array in features.items()}
        assert_same(items, features, speaker, context, distance)


@pytest.mark.parametrize("speaker", ["within", "across"])
@pytest.mark.parametrize("distance", ["angular", "euclidean", "identical"])
def test_ties_of_codes_and_zero_frames_are_exact(speaker: str, distance: str):
    codes = np.vstack([np.random.default_rng(1).normal(size=(3, 6)), np.zeros((1, 6))])
    for seed in range(3):
        items, features = corpus(seed, frames=codes)
        assert_same(items, features, speaker, "any", distance)


def test_zero_frames_among_continuous_ones():
    items, features = corpus(3)
    for array in features.values():
        array[::4] = 0
    assert_same(items, features, "across", "within", "angular")


def test_tiling_and_packing_change_nothing(monkeypatch: pytest.MonkeyPatch):
    items, features = corpus(5, speakers=4, most=5)
    task = Task(("within", "across"), "any")
    before = evaluate(task, make_dataset(items, features, "50"), workers=1)
    monkeypatch.setattr(engine, "TILE_FRAMES", 20)
    monkeypatch.setattr(engine, "BLOCK_FRAMES", {"within": 1, "across": 1})
    after = evaluate(task, make_dataset(items, features, "50"), workers=3)
    for mode in ("within", "across"):
        assert sorted(before[mode].cells) == sorted(after[mode].cells)
        assert before[mode].value == pytest.approx(after[mode].value, abs=1e-15)


def test_both_modes_at_once_equal_each_alone():
    items, features = corpus(6)
    both = evaluate(Task(("within", "across")), make_dataset(items, features, "50"))
    assert both["within"].value == abx(items, features, "50", speaker="within").value
    assert both["across"].value == abx(items, features, "50", speaker="across").value


def token(n: int, phone: str, context: str = "c", speaker: str = "s", file: str = "f") -> Item:
    return Item(file, f"{n / 50}", f"{(n + 1) / 50}", phone, context, context, speaker)


def test_hand_computed_within():
    # One frame a token, angles 0, 10, 30 (phone a) and 22, 90 degrees (phone b).
    angles = np.deg2rad([0, 10, 30, 22, 90])
    features = {"f": np.stack([np.cos(angles), np.sin(angles)], axis=1)}
    items = [token(0, "a"), token(1, "a"), token(2, "a"), token(3, "b"), token(4, "b")]
    score = abx(items, features, "50")
    # a against b, of four triplets each: X=0 has A at 10, 30 and B at 22, 90: one wrong. X=10: A 10, 20, B 12, 80: one.
    # X=30: A 30, 20, B 8, 60: two. b against a, of three: X=22: A 68, B 22, 12, 8: three.
    # X=90: A 68, B 90, 80, 60: one.
    pairs = score.phone_pairs
    assert pairs["a", "b"] == pytest.approx(4 / 12)
    assert pairs["b", "a"] == pytest.approx(4 / 6)
    assert score.value == pytest.approx((4 / 12 + 4 / 6) / 2)
    assert score.n_triplets == 18


def test_hand_computed_averaging_order():
    # Speaker s errs always in one context and never in two; speaker t (one context) errs always: (1/3 + 1) / 2.
    features = {"f": np.array([[1.0, 0], [0, 1.0]])}
    near, far = 0, 1
    items = []
    for speaker, context, wrong in (("s", "1", True), ("s", "2", False), ("s", "3", False), ("t", "1", True)):
        items += [token(near, "a", context, speaker), token(far if wrong else near, "a", context, speaker)]
        items += [token(near if wrong else far, "b", context, speaker)]
    score = abx(items, features, "50")
    wrong = abx(items[:3], features, "50").value
    assert wrong == 0.75  # X=near: A far, B near: wrong. X=far: A near, B near: a tie.
    assert score.value == pytest.approx((wrong / 3 + wrong) / 2)


def naive_lengths(costs: np.ndarray) -> tuple[Fraction, Fraction]:
    """d(x, y) and d(y, x) of a lattice of integers."""
    return oracle.warp(costs.tolist()), oracle.warp(costs.T.tolist())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_alignment_equals_the_naive_recursion(n: int, m: int, top: int, seed: int):
    costs = np.random.default_rng(seed).integers(0, top + 1, size=(n, m)).astype(np.int32)  # full of ties
    forward, backward = np.empty((1, 1)), np.empty((1, 1))
    rows, columns, one, yes = np.arange(n), np.arange(m), np.zeros(1, dtype=np.int64), np.ones((1, 1), dtype=bool)
    align_pairs(
        costs, 0.5, rows, np.array([0, n]), columns, np.array([0, m]), yes, yes, one, one, False, forward, backward
    )
    there, back = naive_lengths(costs)
    assert forward[0, 0] == pytest.approx(float(there) / 2, rel=1e-15)
    assert backward[0, 0] == pytest.approx(float(back) / 2, rel=1e-15)


def test_the_path_may_depend_on_the_direction():
    # Left and up tie, and lead to paths of different lengths.
    found = set()
    for seed in range(300):
        costs = np.random.default_rng(seed).integers(0, 3, size=(4, 5))
        there, back = naive_lengths(costs)
        found.add(there == back)
    assert found == {True, False}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["angular", "euclidean", "kl_symmetric", "identical"]), st.integers(2, 9), st.integers(0, 2**32 - 1)
)
def test_frame_distances(distance: str, dim: int, seed: int):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(4, dim)), rng.normal(size=(5, dim))
    y[0], y[1] = x[0], x[1] * (1 + 1e-6)  # equal, and nearly parallel
    if distance == "kl_symmetric":
        x, y = softmax(x), softmax(y)
    costs, unit = frame_distances(prepare(x, distance), prepare(y, distance), distance, np.array([], dtype=np.uint64))
    expected = [[oracle.frame_distance(p, q, distance) for q in y] for p in x]
    np.testing.assert_allclose(costs * unit, expected, atol=1e-6 if distance == "angular" else 1e-8 * np.max(expected))
    assert costs[0, 0] == 0


def test_zero_frames_are_as_far_as_can_be():
    frames = prepare(np.array([[0.0, 0], [1, 0], [-1, 0], [1e-30, 1e-30], [1e30, 0]]), "angular")
    costs, unit = frame_distances(frames[:4], frames[:4], "angular", frames.keys)
    d = costs * unit
    np.testing.assert_allclose(d[0], [0, 1, 1, 1])
    assert d[1, 2] == pytest.approx(1, abs=1e-7)
    assert d[1, 3] == pytest.approx(0.25, abs=1e-7)
    assert frames.keys[4] == frames.keys[1]  # a longer vector of the same direction is the same frame


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_any_type_of_number(dtype: type):
    items, features = corpus(8, frames=SMALL[:2].repeat(3, axis=1))
    expected = abx(items, features, "50").value
    assert abx(items, {file: array.astype(dtype) for file, array in features.items()}, "50").value == expected


def test_planted_phones_are_told_apart_and_noise_is_not():
    planted = 20 * np.random.default_rng(0).normal(size=(4, 16))
    items, features = corpus(9, phones=4, contexts=3, most=6, dim=16, planted=planted)
    for speaker in ("within", "across"):
        assert abx(items, features, "50", speaker=speaker).value == 0
    items, features = corpus(10, speakers=4, phones=6, contexts=8, most=8, dim=16)
    for speaker in ("within", "across"):
        assert abx(items, features, "50", speaker=speaker).value == pytest.approx(0.5, abs=0.03)


def test_caps_are_reproducible_and_kept():
    items, features = corpus(11, speakers=5, phones=3, contexts=2, most=9)
    capped = [
        list(abx(items, features, "50", speaker="across", max_size_group=3, max_x_across=2, seed=seed).cells)
        for seed in (0, 0, 1)
    ]
    assert capped[0] == capped[1]
    assert capped[0] != capped[2]
    assert max(cell.triplets for cell in capped[0]) <= 27
    assert max(Counter((c.context, c.speaker, c.a, c.b) for c in capped[0]).values()) == 2
    full = abx(items, features, "50", speaker="across")
    loose = abx(items, features, "50", speaker="across", max_size_group=9, max_x_across=4)
    assert list(full.cells) == list(loose.cells)


def test_caps_draw_by_name_not_by_order():
    items, features = corpus(12, most=9)
    shuffled = sorted(items, key=lambda item: (item.phone, item.speaker, item.previous))
    one = abx(items, features, "50", max_size_group=2)
    other = abx(shuffled, features, "50", max_size_group=2)
    assert sorted(one.cells) == sorted(other.cells)


class TestFrames:
    features: ClassVar = {"f": np.eye(10)}

    def spans(self, items: list[Item], frequency: str = "50", **options: str) -> list[tuple[int, int]]:
        data = make_dataset(items, self.features, frequency, **options)
        return list(zip(data.start.tolist(), data.stop.tolist(), strict=True))

    def test_centres_on_the_edges_count(self):
        # At 50 Hz centres lie at 0.01, 0.03, 0.05 ...
        assert self.spans([Item("f", "0.01", "0.05", "a", "c", "c", "s")]) == [(0, 3)]
        assert self.spans([Item("f", "0.0101", "0.0499", "a", "c", "c", "s")]) == [(1, 2)]
        assert self.spans([Item("f", "0", "0.2", "a", "c", "c", "s")]) == [(0, 10)]

    def test_decimal_edges_that_floats_miss(self):
        # 100 x 0.145 - 0.5 is 14 exactly; in floats 13.999999999999998.
        features = {"f": np.zeros((40, 2))}
        data = make_dataset([Item("f", "0.135", "0.145", "a", "c", "c", "s")], features, "100")
        assert (data.start[0], data.stop[0]) == (13, 15)
        data = make_dataset([Item("f", "0.285", "0.295", "a", "c", "c", "s")], features, 100.0)
        assert (data.start[0], data.stop[0]) == (28, 30)

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 3000), st.integers(1, 3000), st.sampled_from(["50", "100", "49.95", "86.1328125", "12.5"]))
    def test_equals_the_oracle(self, onset: int, length: int, frequency: str):
        item = Item("f", f"{onset / 10000:.4f}", f"{(onset + length) / 10000:.4f}", "a", "c", "c", "s")
        first, last = oracle.slice_of(item.onset, item.offset, frequency)
        if last < first:
            with pytest.raises(UserError, match="hold no frame"):
                make_dataset([item], {"f": np.zeros((99, 2))}, frequency)
            return
        data = make_dataset([item], {"f": np.zeros((99, 2))}, frequency)
        assert (data.start[0], data.stop[0]) == (first, last + 1)

    def test_librilight_drops_the_last_frame_and_empty_tokens(self):
        items = [
            Item("f", "0.02", "0.08", "a", "c", "c", "s"),  # frames 1, 2, 3
            Item("f", "0.02", "0.04", "a", "c", "c", "s"),  # frame 1 alone
            Item("f", "0.16", "0.26", "a", "c", "c", "s"),  # beyond the end
        ]
        assert self.spans(items[:1]) == [(1, 4)]
        assert self.spans(items, frame_slice="librilight") == [(1, 3), (8, 10)]
        assert make_dataset(items, self.features, "50", frame_slice="librilight").skipped.without_frames == 1


class TestMistakes:
    items: ClassVar = [token(n, phone) for n, phone in enumerate("aabb")]
    features: ClassVar = {"f": np.random.default_rng(0).normal(size=(4, 3))}

    def test_missing_features(self):
        items = [*self.items, token(0, "a", file="gone"), token(1, "a", file="lost")]
        with pytest.raises(UserError, match=r"2 of the 3 files .* first is 'gone'"):
            abx(items, self.features, "50")
        score = abx(items, self.features, "50", skip_missing=True)
        assert score.data.skipped.without_features == 2
        assert score.value == abx(self.items, self.features, "50").value

    def test_token_beyond_the_end(self):
        items = [*self.items, token(6, "a")]
        with pytest.raises(
            UserError, match=r"1 of 5 tokens stick out .* 3 frames.* needs 7 frames of 4 \(0.060 s.*--frequency"
        ):
            abx(items, self.features, "50")
        assert abx(items, self.features, "50", skip_missing=True).data.skipped.beyond_the_end == 1

    def test_token_without_frames(self):
        items = [*self.items, Item("f", "0.0101", "0.0201", "a", "c", "c", "s")]
        with pytest.raises(UserError, match=r"1 of 5 tokens hold no frame at 50 Hz.*--frequency"):
            abx(items, self.features, "50")
        assert abx(items, self.features, "50", skip_missing=True).data.skipped.without_frames == 1

    def test_nan(self):
        features = {"f": self.features["f"].copy()}
        features["f"][2, 1] = np.nan
        with pytest.raises(UserError, match=r"'f' hold NaN .*frame 2"):
            abx(self.items, features, "50")

    def test_no_cell(self):
        with pytest.raises(UserError, match=r"no across-speaker cell.*1 speakers"):
            abx(self.items, self.features, "50", speaker="across")
        with pytest.raises(UserError, match=r"no within-speaker cell.*--context any"):
            abx(self.items[:2], self.features, "50")

    def test_nothing_usable(self):
        with pytest.raises(UserError, match="no token of 1 can be used"):
            abx([token(9, "a")], self.features, "50", skip_missing=True)

    def test_negative_probabilities(self):
        with pytest.raises(UserError, match="negative"):
            abx(self.items, self.features, "50", distance="kl_symmetric")

    def test_widths_differ(self):
        items = [*self.items, token(0, "a", file="g")]
        with pytest.raises(UserError, match=r"'g' have shape \(4, 2\), expected \(T, 3\)"):
            abx(items, {**self.features, "g": np.zeros((4, 2))}, "50")

    @pytest.mark.parametrize("frequency", ["fifty", "0", "-50", "nan"])
    def test_frequency(self, frequency: str):
        with pytest.raises(UserError, match="--frequency"):
            abx(self.items, self.features, frequency)

    def test_caps(self):
        with pytest.raises(UserError, match="--max-size-group"):
            abx(self.items, self.features, "50", max_size_group=1)
        with pytest.raises(UserError, match="--max-x-across"):
            abx(self.items, self.features, "50", speaker="across", max_x_across=0)

    def test_unknown_names(self):
        for options in ({"speaker": "x"}, {"context": "x"}, {"distance": "x"}, {"frame_slice": "x"}):
            with pytest.raises(ValueError, match="unknown"):
                abx(self.items, self.features, "50", **options)
