"""What ABX compares: frames of tokens, features as they come, mistakes in them, draws."""

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import abx as oracle
from test_abx import corpus, token

from textless.corpora.items import Item
from textless.errors import UserError
from textless.features.store import open_features
from zerospeech_eval.abx import abx, evaluate
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.feature_arrays import is_mapped
from zerospeech_eval.task import Task, zerospeech_task

SMALL = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])


class TestFrames:
    features: ClassVar = {"f": np.eye(10)}

    def spans(self, items: list[Item], frequency: str = "50", **options: str) -> list[tuple[int, int]]:
        data = make_dataset(items, self.features, frequency, **options)
        return list(zip(data.start.tolist(), data.stop.tolist(), strict=True))

    def test_centres_on_the_edges_count(self) -> None:
        # At 50 Hz centres lie at 0.01, 0.03, 0.05 ...
        assert self.spans([Item("f", "0.01", "0.05")]) == [(0, 3)]
        assert self.spans([Item("f", "0.0101", "0.0499")]) == [(1, 2)]
        assert self.spans([Item("f", "0", "0.2")]) == [(0, 10)]

    def test_decimal_edges_that_floats_miss(self) -> None:
        # 100 x 0.145 - 0.5 is 14 exactly; in floats 13.999999999999998.
        features = {"f": np.zeros((40, 2))}
        data = make_dataset([Item("f", "0.135", "0.145")], features, "100")
        assert (data.start[0], data.stop[0]) == (13, 15)
        data = make_dataset([Item("f", "0.285", "0.295")], features, 100.0)
        assert (data.start[0], data.stop[0]) == (28, 30)

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 3000), st.integers(1, 3000), st.sampled_from(["50", "100", "49.95", "86.1328125", "12.5"]))
    def test_equals_the_oracle(self, onset: int, length: int, frequency: str) -> None:
        item = Item("f", f"{onset / 10000:.4f}", f"{(onset + length) / 10000:.4f}")
        first, last = oracle.slice_of(item.onset, item.offset, frequency)
        if last < first:
            with pytest.raises(UserError, match="hold no frame"):
                make_dataset([item], {"f": np.zeros((99, 2))}, frequency)
            return
        data = make_dataset([item], {"f": np.zeros((99, 2))}, frequency)
        assert (data.start[0], data.stop[0]) == (first, last + 1)

    def test_librilight_drops_the_last_frame_and_empty_tokens(self) -> None:
        items = [
            Item("f", "0.02", "0.08"),  # frames 1, 2, 3
            Item("f", "0.02", "0.04"),  # frame 1 alone
            Item("f", "0.16", "0.26"),  # beyond the end
        ]
        assert self.spans(items[:1]) == [(1, 4)]
        assert self.spans(items, frame_slice="librilight") == [(1, 3), (8, 10)]
        assert make_dataset(items, self.features, "50", frame_slice="librilight").skipped.without_frames == 1

    def test_times_in_the_first_column(self) -> None:
        times = np.array([0.0125, 0.0225, 0.0325, 0.0425])  # the centres of 25 ms windows, 10 ms apart
        features = {"f": np.column_stack([times, np.eye(4)])}
        data = make_dataset([Item("f", "0.0125", "0.0325"), Item("f", "0.03", "0.5")], features, None)
        assert list(zip(data.start.tolist(), data.stop.tolist(), strict=True)) == [(0, 3), (2, 4)]
        assert (data.frames(np.array([0])) == np.eye(4)[:3]).all()
        features["f"][2, 0] = 0
        with pytest.raises(UserError, match=r"'f' should begin with a column of times"):
            make_dataset([Item("f", "0", "1")], features, None)


class TestMistakes:
    items: ClassVar = [token(n, phone) for n, phone in enumerate("aabb")]
    features: ClassVar = {"f": np.random.default_rng(0).normal(size=(4, 3))}

    def broken(self, value: float) -> dict[str, np.ndarray]:
        features = {"f": self.features["f"].copy()}
        features["f"][2, 1] = value
        return features

    def test_missing_features(self) -> None:
        items = [*self.items, token(0, "a", file="gone"), token(1, "a", file="lost")]
        with pytest.raises(UserError, match=r"2 of the 3 files .*: 'gone', 'lost' "):
            abx(items, self.features, "50")
        score = abx(items, self.features, "50", skip_missing=True)
        assert score.data.skipped.without_features == 2
        assert score.value == abx(self.items, self.features, "50").value

    def test_token_beyond_the_end(self) -> None:
        items = [*self.items, token(6, "a")]
        with pytest.raises(UserError, match=r"1 of 5 tokens stick out .* 3 frames.*a of f from 0.12 to 0.14 s"):
            abx(items, self.features, "50")
        assert abx(items, self.features, "50", skip_missing=True).data.skipped.beyond_the_end == 1

    def test_token_without_frames(self) -> None:
        items = [*self.items, Item("f", "0.0101", "0.0201", "a", "c", "c", "s")]
        with pytest.raises(UserError, match=r"1 of 5 tokens hold no frame at 50 Hz.*--frequency"):
            abx(items, self.features, "50")
        assert abx(items, self.features, "50", skip_missing=True).data.skipped.without_frames == 1

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, value: float) -> None:
        items = [*self.items, token(0, "b")]
        with pytest.raises(UserError, match=r"1 of 5 tokens hold NaN or infinite values.*b of f from 0.04"):
            abx(items, self.broken(value), "50")
        score = abx(items, self.broken(value), "50", skip_missing=True)
        assert score.data.skipped.not_finite == 1
        assert score.value == abx([items[0], items[1], *items[3:]], self.features, "50").value

    def test_values_that_no_token_needs_may_be_nan(self) -> None:
        items = [token(n, phone) for n, phone in ((0, "a"), (1, "a"), (3, "b"))]
        assert abx(items, self.broken(np.nan), "50").value == abx(items, self.features, "50").value

    def test_no_cell(self) -> None:
        with pytest.raises(UserError, match=r"no across cell.*1 of speaker"):
            abx(self.items, self.features, "50", speaker="across")
        with pytest.raises(UserError, match=r"no within cell.*--context any"):
            abx(self.items[:2], self.features, "50")

    def test_a_column_that_is_not_there(self) -> None:
        with pytest.raises(UserError, match="no column 'gender', only phone, context, prev-phone"):
            evaluate({"t": Task("phone", ("gender",))}, make_dataset(self.items, self.features, "50"))

    def test_nothing_usable(self) -> None:
        with pytest.raises(UserError, match="no token of 1 can be used"):
            abx([token(9, "a")], self.features, "50", skip_missing=True)

    def test_negative_probabilities(self) -> None:
        for distance in ("kl", "kl_symmetric"):
            with pytest.raises(UserError, match="negative values"):
                abx(self.items, self.features, "50", distance=distance)

    def test_a_file_of_another_width(self) -> None:
        items = [*self.items, token(0, "a", file="g")]
        with pytest.raises(UserError, match=r"'g' have shape \(4, 2\) .*expected .*\(T, 3\) as those of 'f'"):
            abx(items, {**self.features, "g": np.zeros((4, 2))}, "50")

    @pytest.mark.parametrize("array", [np.zeros(4), np.zeros((4, 0)), np.zeros((4, 1, 2)), np.zeros((4, 2), complex)])
    def test_no_features_at_all(self, array: np.ndarray) -> None:
        with pytest.raises(UserError, match=r"'f' have shape .*expected numbers of shape \(T, D\)"):
            abx(self.items, {"f": array}, "50")

    def test_units_are_no_vectors(self) -> None:
        features = {"f": np.array([[1], [1], [2], [2]])}
        for distance in ("angular", "euclidean", "kl"):
            with pytest.raises(UserError, match="--distance identical"):
                abx(self.items, features, "50", distance=distance)
        with pytest.raises(UserError, match="units as they are"):
            abx(self.items, features, "50", distance="edit", pooling="mean")
        assert abx(self.items, features, "50", distance="edit").value == 0

    @pytest.mark.parametrize("units", [np.array([[0], [1], [2], [3]]), np.array([[0], [1], [-1], [0]]), np.eye(4)])
    def test_units_outside_the_codebook(self, units: np.ndarray) -> None:
        with pytest.raises(UserError, match="units of 'f'"):
            make_dataset(self.items, {"f": units}, "50", codebook=np.eye(3))

    @pytest.mark.parametrize("frequency", ["fifty", "0", "-50", "nan"])
    def test_frequency(self, frequency: str) -> None:
        with pytest.raises(UserError, match="--frequency"):
            abx(self.items, self.features, frequency)

    def test_caps(self) -> None:
        with pytest.raises(UserError, match="--max-size-group"):
            abx(self.items, self.features, "50", max_size_group=1)
        with pytest.raises(UserError, match="--max-x-across"):
            abx(self.items, self.features, "50", speaker="across", max_x_across=0)

    def test_unknown_names(self) -> None:
        for name in ("speaker", "context", "distance", "frame_slice", "pooling"):
            with pytest.raises(ValueError, match="unknown"):
                abx(self.items, self.features, "50", **{name: "x"})
        for task in ({"on": "a", "by": ("a",)}, {"on": "a", "by": ("b",), "levels": (("c",),)}):
            with pytest.raises(ValueError, match="should"):
                Task(**task)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_any_type_of_number(dtype: type) -> None:
    items, features = corpus(8, frames=SMALL[:2].repeat(3, axis=1))
    expected = abx(items, features, "50").value
    assert abx(items, {file: array.astype(dtype) for file, array in features.items()}, "50").value == expected


def test_units_stand_for_the_rows_of_a_codebook() -> None:
    codebook = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    items, units = corpus(7, frames=np.arange(5)[:, None])
    expanded = {file: codebook[array[:, 0]] for file, array in units.items()}
    task = {"within": zerospeech_task()}
    for distance in ("angular", "euclidean"):
        ours = evaluate(task, make_dataset(items, units, "50", codebook=codebook), distance)["within"]
        assert list(ours.rows()) == list(abx(items, expanded, "50", distance=distance).rows())
    one_hot = evaluate(task, make_dataset(items, units, "50", codebook=np.eye(5)))["within"]
    assert list(one_hot.rows()) == list(abx(items, units, "50", distance="identical").rows())


def test_features_are_found_by_the_last_part_of_their_id() -> None:
    items, features = corpus(2)
    nested = {f"dev/{file}": array for file, array in features.items()}
    assert abx(items, nested, "50").value == abx(items, features, "50").value
    with pytest.raises(UserError, match=r"'s0' fits the features of 'dev/s0' and of 'test/s0'"):
        abx(items, {**nested, "test/s0": features["s0"]}, "50")
    assert abx(items, {**nested, **features}, "50").value == abx(items, features, "50").value


def test_features_beyond_the_memory_go_to_a_file(tmp_path: Path) -> None:
    items, features = corpus(2, speakers=4)
    features["s1"] = features["s1"].astype(np.float32)  # types may differ
    for file, array in features.items():
        np.save(tmp_path / f"{file}.npy", array)
    expected = abx(items, features, "50").value
    for given_features in (features, open_features(tmp_path)):
        for memory in (0, features["s0"].nbytes, None):
            data = make_dataset(items, given_features, "50", memory=memory)
            in_memory = sum(array.nbytes for array in data.arrays if not is_mapped(array))
            assert in_memory <= (memory if memory is not None else 2**20)
            assert evaluate({"t": zerospeech_task()}, data)["t"].value == expected


class TestDraws:
    def test_are_reproducible_and_bounded(self) -> None:
        items, features = corpus(11, speakers=5, phones=3, contexts=2, most=9)

        def capped(**caps: int) -> list[dict]:
            return list(abx(items, features, "50", speaker="across", **caps).rows())

        drawn = capped(max_size_group=3, max_x_across=2)
        assert drawn == capped(max_size_group=3, max_x_across=2)
        assert drawn != capped(max_size_group=3, max_x_across=2, seed=1)
        assert max(cell["triplets"] for cell in drawn) <= 27
        by_a = Counter((c["context"], c["speaker"], c["a"], c["b"]) for c in drawn)
        assert max(by_a.values()) == 2
        assert capped() == capped(max_size_group=9, max_x_across=4)

    def test_go_by_name_not_by_order(self) -> None:
        items, features = corpus(12, most=9)
        one = abx(items, features, "50", max_size_group=2)
        other = abx(items[::-1], features, "50", max_size_group=2)
        assert list(one.rows()) == list(other.rows())
        fewer = [item for item in items if item.speaker != "s0"]
        rest = [row for row in one.rows() if row["speaker"] != "s0"]
        assert list(abx(fewer, features, "50", max_size_group=2).rows()) == rest

    @pytest.mark.parametrize("caps", [{"max_size_group": 2}, {"max_x_across": 1}, {"max_size_group": 3}])
    def test_are_fair(self, caps: dict[str, int]) -> None:
        # The mean over seeds is the exact score: 200 draws have a standard error near 0.01 / sqrt(200).
        items, features = corpus(13, speakers=4, most=5)
        data = make_dataset(items, features, "50")
        tasks = {str(seed): zerospeech_task("across", "any", **caps, seed=seed) for seed in range(200)}
        drawn = [score.value for score in evaluate(tasks, data).values()]
        exact = abx(items, features, "50", speaker="across", context="any").value
        assert np.std(drawn) > 0
        assert abs(np.mean(drawn) - exact) < 4 * np.std(drawn) / np.sqrt(len(drawn))
