"""The ABX engine against the slow oracle and against hand-computed cases."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import abx as oracle

from textless.corpora.items import Item
from textless.errors import UserError
from zerospeech_eval import block_pairs, plan, token_distances
from zerospeech_eval.abx import abx, evaluate
from zerospeech_eval.block_pairs import Job
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.distances import SYMMETRIC, frame_distances, prepare
from zerospeech_eval.dtw import align_pairs
from zerospeech_eval.task import Task, zerospeech_task, zerospeech_tasks
from zerospeech_eval.torch_distances import TorchDistances, warp

FRAME_DISTANCES = ("angular", "euclidean", "kl", "kl_symmetric", "kl_abxpy", "identical")
CODES = np.vstack([np.random.default_rng(1).normal(size=(3, 6)), np.zeros((1, 6))])


def corpus(
    seed: int,
    *,
    speakers: int = 3,
    phones: int = 3,
    contexts: int = 2,
    most: int = 3,
    dim: int = 6,
    frames: np.ndarray | None = None,
    planted: np.ndarray | None = None,
) -> tuple[list[Item], dict[str, np.ndarray]]:
    """Ragged tokens with gaps: any (speaker, context, phone) may have none. `planted` moves phones apart."""
    rng = np.random.default_rng(seed)
    items, features = [], {}
    for s in range(speakers):
        parts, start = [], 0
        for c, p in product(range(contexts), range(phones)):
            for _ in range(rng.integers(0, most + 1)):
                n = int(rng.integers(1, 7))
                token = rng.normal(size=(n, dim)) if frames is None else frames[rng.integers(0, len(frames), n)]
                onset, offset = f"{start / 50:.4f}", f"{(start + n) / 50:.4f}"
                # Speakers share cities, and accents of their own run across those.
                extra = (("city", f"t{s % 2}"), ("accent", f"a{s // 2}"))
                items.append(Item(f"s{s}", onset, offset, f"p{p}", f"c{c}", "z", f"s{s}", extra))
                parts.append(token if planted is None else token + planted[p])
                start += n
        features[f"s{s}"] = np.concatenate(parts) if parts else np.zeros((1, dim))
    return items, features


def softmax(array: np.ndarray) -> np.ndarray:
    powers = np.exp(array)
    return powers / powers.sum(axis=1, keepdims=True)


def probabilities(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {file: softmax(array) for file, array in features.items()}


def assert_same_cells(score, cells: dict) -> None:
    task = score.task
    ours = {
        (
            tuple(row[c] for c in task.by),
            tuple(row[c] for c in task.across),
            tuple(row[f"x_{c}"] for c in task.across),
            row["a"],
            row["b"],
        ): row
        for row in score.rows()
    }
    assert ours.keys() == cells.keys()
    for key, (error, triplets) in cells.items():
        assert ours[key]["triplets"] == triplets
        assert ours[key]["error"] == pytest.approx(error, abs=1e-6)


def assert_same(
    items: list[Item], features: dict[str, np.ndarray], speaker: str, context: str, distance: str, pooling: str = "none"
) -> None:
    cells, value = oracle.zerospeech(items, features, "50", speaker, context, distance, pooling)
    if not cells:
        with pytest.raises(UserError, match=f"no {speaker} cell"):
            abx(items, features, "50", speaker=speaker, context=context, distance=distance, pooling=pooling)
        return
    score = abx(items, features, "50", speaker=speaker, context=context, distance=distance, pooling=pooling)
    assert_same_cells(score, cells)
    assert score.value == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("speaker", ["within", "across"])
@pytest.mark.parametrize("context", ["within", "any"])
@pytest.mark.parametrize("distance", FRAME_DISTANCES)
def test_agrees_with_the_oracle(speaker: str, context: str, distance: str) -> None:
    for seed in range(2):
        items, features = corpus(seed)
        features = probabilities(features) if distance.startswith("kl") else features
        assert_same(items, features, speaker, context, distance)


@pytest.mark.parametrize("speaker", ["within", "across"])
@pytest.mark.parametrize("distance", ["angular", "euclidean", "identical", "edit", "levenshtein"])
def test_ties_of_codes_and_zero_frames_are_exact(speaker: str, distance: str) -> None:
    for seed in range(3):
        items, features = corpus(seed, frames=CODES)
        assert_same(items, features, speaker, "any", distance)


@pytest.mark.parametrize("pooling", ["mean", "hamming"])
@pytest.mark.parametrize("distance", ["angular", "euclidean"])
def test_pooling(pooling: str, distance: str) -> None:
    assert_same(*corpus(4), "across", "any", distance, pooling)


@pytest.mark.parametrize("distance", ["euclidean", "kl_symmetric"])
def test_frames_of_unit_length(distance: str) -> None:
    items, features = corpus(4)
    features = {file: np.abs(array) for file, array in features.items()}
    scaled = {file: array / np.linalg.norm(array, axis=1, keepdims=True) for file, array in features.items()}
    score = evaluate({"w": zerospeech_task()}, make_dataset(items, features, "50"), distance, unit_length=True)["w"]
    assert score.value == pytest.approx(
        oracle.zerospeech(items, scaled, "50", "within", "within", distance)[1], abs=1e-6
    )
    assert score.value != abx(items, features, "50", distance=distance).value


def test_zero_frames_among_continuous_ones() -> None:
    items, features = corpus(3)
    for array in features.values():
        array[::4] = 0
    assert_same(items, features, "across", "within", "angular")


TASKS = {
    "city": Task("phone", ("city",)),
    "speaker of another city": Task("phone", ("context",), ("speaker", "city")),
    "accent across speakers": Task("accent", ("phone",), ("city",)),
    "speaker across contexts": Task("speaker", ("phone",), ("context",)),
    "everything": Task("phone"),
}


@pytest.mark.parametrize("name", TASKS)
def test_any_on_by_across(name: str) -> None:
    items, features = corpus(14, speakers=4)
    task = TASKS[name]
    score = evaluate({"task": task}, make_dataset(items, features, "50"))["task"]
    cells = oracle.abx(items, features, "50", "angular", task.by, task.across, task.on)
    assert len(cells) > 5
    assert_same_cells(score, cells)
    assert score.value == pytest.approx(oracle.score(cells, [lambda key: key[3:]]), abs=1e-6)


def test_all_tasks_in_one_pass_equal_each_alone() -> None:
    items, features = corpus(6, speakers=4)
    tasks = zerospeech_tasks("both", "both") | TASKS
    tasks["capped"] = zerospeech_task("across", "any", max_size_group=2, max_x_across=1)
    data = make_dataset(items, features, "50")
    together = evaluate(tasks, data)
    assert set(tasks) > {"within", "across", "any-within", "any-across"}
    for name, task in tasks.items():
        alone = evaluate({name: task}, data)[name]
        assert list(alone.rows()) == list(together[name].rows())
        assert alone.value == together[name].value


@pytest.mark.parametrize("distance", ["angular", "kl", "edit"])
def test_tiles_blocks_strips_and_threads_change_nothing(monkeypatch: pytest.MonkeyPatch, distance: str) -> None:
    items, features = corpus(5, speakers=4, most=5, frames=softmax(CODES) if distance == "edit" else None)
    data = make_dataset(items, probabilities(features) if distance == "kl" else features, "50")
    tasks = zerospeech_tasks("both", "both")
    before = evaluate(tasks, data, distance, workers=1)
    monkeypatch.setattr(token_distances, "TILE_FRAMES", 20)
    monkeypatch.setattr(plan, "BLOCK_FRAMES", 1)
    monkeypatch.setattr(plan, "PACK_FRAMES", 1)
    split = evaluate(tasks, data, distance, workers=3)
    monkeypatch.setattr(Job, "_fits", lambda *_: False)  # little memory: one direction at a time, a few rows of it
    monkeypatch.setattr(block_pairs, "STRIP_FRAMES", 7)
    strips = evaluate(tasks, data, distance, workers=2)
    for name, score in before.items():
        assert list(score.rows()) == list(split[name].rows()) == list(strips[name].rows())


@pytest.mark.parametrize("distance", FRAME_DISTANCES)
@pytest.mark.parametrize("frames", [None, CODES])
def test_torch_equals_the_kernels(monkeypatch: pytest.MonkeyPatch, distance: str, frames: np.ndarray | None) -> None:
    items, features = corpus(15, frames=frames)
    features = probabilities(features) if distance.startswith("kl") else features
    data, tasks = make_dataset(items, features, "50"), zerospeech_tasks("both", "any")
    expected = evaluate(tasks, data, distance)
    monkeypatch.setattr("zerospeech_eval.abx.WarpedDistances", lambda d: TorchDistances(d, torch.device("cpu")))
    monkeypatch.setattr("zerospeech_eval.torch_distances.BATCH_CELLS", 500)
    monkeypatch.setattr("zerospeech_eval.torch_distances.TILE_FRAMES", 50)
    for name, score in evaluate(tasks, data, distance).items():
        assert list(score.rows()) == list(expected[name].rows())


@pytest.mark.gpu
def test_a_gpu_gives_the_same_score() -> None:
    data, tasks = make_dataset(*corpus(16, most=6), "50"), zerospeech_tasks("both", "both")
    expected = evaluate(tasks, data)
    for name, score in evaluate(tasks, data, device=torch.device("cuda")).items():
        assert score.value == pytest.approx(expected[name].value, abs=1e-6)


def token(n: int, phone: str, context: str = "c", speaker: str = "s", file: str = "f") -> Item:
    return Item(file, f"{n / 50}", f"{(n + 1) / 50}", phone, context, context, speaker)


def test_hand_computed_within() -> None:
    # One frame a token, angles 0, 10, 30 (phone a) and 22, 90 degrees (phone b).
    angles = np.deg2rad([0, 10, 30, 22, 90])
    features = {"f": np.stack([np.cos(angles), np.sin(angles)], axis=1)}
    items = [token(0, "a"), token(1, "a"), token(2, "a"), token(3, "b"), token(4, "b")]
    score = abx(items, features, "50")
    # a against b, of four triplets each: X=0 has A at 10, 30 and B at 22, 90: one wrong. X=10: A 10, 20, B 12, 80: one.
    # X=30: A 30, 20, B 8, 60: two. b against a, of three: X=22: A 68, B 22, 12, 8: three.
    # X=90: A 68, B 90, 80, 60: one.
    assert score.pairs["a", "b"].error == pytest.approx(4 / 12)
    assert score.pairs["b", "a"].error == pytest.approx(4 / 6)
    assert score.pairs["a", "b"].triplets == 12
    assert score.value == pytest.approx((4 / 12 + 4 / 6) / 2)
    assert score.n_triplets == 18


def test_hand_computed_tokens_at_the_end_of_a_file_and_of_one_zero_frame() -> None:
    # 'a' twice: the last frame of the file, and a silent one. d(0, v) = 1 and d(0, 0) = 0, so each a is nearer to the
    # silent b than to the other a where it is silent itself, and ties (1 against 1) where it is not.
    features = {"f": np.array([[1.0, 0], [0, 0], [0, 0], [0, 1.0]])}
    items = [token(3, "a"), token(1, "a"), token(2, "b")]
    score = abx(items, features, "50")
    assert score.value == pytest.approx((0.5 + 1) / 2)


def test_hand_computed_kl_begins_at_x() -> None:
    x, a, b = [1.0, 0.0], [0.5, 0.5], [0.4, 0.6]
    features = {"f": np.array([x, a, b])}
    items = [token(0, "a"), token(1, "a"), token(2, "b")]
    # From X = x: to a log 2, to b log 2.5: right. From X = a: to x ½ log ½ + ½ log(½ / ε) = 6.2, to b 0.02: wrong.
    assert abx(items, features, "50", distance="kl").value == pytest.approx(0.5)


def test_hand_computed_edit_distances() -> None:
    # Runs collapse: 1 1 2 is 1 2, half different from 1 3, and equal to 1 2 2; levenshtein sees 1 1 2 and 1 2 2 differ.
    units = [[1, 1, 2], [1, 2, 2], [1, 1, 3]]
    features = {"f": np.concatenate([np.array(u) for u in units])[:, None]}
    items = [Item("f", f"{3 * i / 50}", f"{3 * (i + 1) / 50}", p, "c", "c", "s") for i, p in enumerate("aab")]
    assert abx(items, features, "50", distance="edit").value == 0
    # X = 112: to 122 one, to 113 one: a tie. X = 122: to 112 one, to 113 two.
    assert abx(items, features, "50", distance="levenshtein").value == pytest.approx(0.25)


def naive_lengths(costs: np.ndarray) -> tuple[Fraction, Fraction]:
    """d(x, y) and d(y, x) of a lattice of integers."""
    return oracle.warp(costs.tolist()), oracle.warp(costs.T.tolist())


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_alignment_equals_the_naive_recursion(n: int, m: int, top: int, seed: int) -> None:
    costs = np.random.default_rng(seed).integers(0, top + 1, size=(n, m)).astype(np.int32)  # full of ties
    forward, backward = np.empty((1, 1)), np.empty((1, 1))
    yes, index = np.ones((1, 1), dtype=bool), np.arange(7, dtype=np.uint32)
    align_pairs(costs, 0.5, index[:n], np.array([0, n]), index[:m], np.array([0, m]), yes, forward, backward)
    there, back = naive_lengths(costs)
    assert forward[0, 0] == pytest.approx(float(there) / 2, rel=1e-15)
    assert backward[0, 0] == pytest.approx(float(back) / 2, rel=1e-15)


def test_lattices_of_different_sizes_warp_together() -> None:
    rng = np.random.default_rng(0)
    n, m = rng.integers(1, 8, 200), rng.integers(1, 8, 200)
    costs = rng.integers(0, 3, (200, 7, 7))
    answers = warp(torch.from_numpy(costs), torch.from_numpy(n), torch.from_numpy(m))
    for lattice, rows, columns, total, there, back in zip(costs, n, m, *(a.tolist() for a in answers), strict=True):
        assert (Fraction(total, there), Fraction(total, back)) == naive_lengths(lattice[:rows, :columns])


def test_the_path_may_depend_on_the_direction() -> None:
    # Left and up tie, and lead to paths of different lengths.
    found = set()
    for seed in range(300):
        costs = np.random.default_rng(seed).integers(0, 3, size=(4, 5))
        there, back = naive_lengths(costs)
        found.add(there == back)
    assert found == {True, False}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FRAME_DISTANCES), st.integers(2, 9), st.integers(0, 2**32 - 1))
def test_frame_distances(distance: str, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(4, dim)), rng.normal(size=(5, dim))
    y[0], y[1], y[2] = x[0], x[1] * (1 + 1e-6), -x[2]  # equal, nearly parallel, opposite
    if distance.startswith("kl"):
        x, y = softmax(x), softmax(y)
    rows, columns = prepare(x, distance), prepare(y, distance)
    shared = rows.keys[:1]
    costs, unit = frame_distances(rows, columns, distance, shared)
    expected = np.array([[oracle.frame_distance(p, q, distance) for q in y] for p in x])
    atol = 1e-6 if distance == "angular" else 1e-8 * np.abs(expected).max()  # float32 products, else float64
    np.testing.assert_allclose(costs * unit, expected, atol=atol)
    assert costs[0, 0] == 0
    if distance in SYMMETRIC:
        back, _ = frame_distances(columns, rows, distance, shared)
        np.testing.assert_allclose(back.T * unit, expected, atol=atol)


def test_zero_frames_are_as_far_as_can_be() -> None:
    frames = prepare(np.array([[0.0, 0], [1, 0], [-1, 0], [1e-30, 1e-30], [1e300, 0]]), "angular")
    costs, unit = frame_distances(frames[:4], frames[:4], "angular", frames.keys)
    d = costs * unit
    np.testing.assert_allclose(d[0], [0, 1, 1, 1])
    assert d[1, 2] == pytest.approx(1, abs=1e-7)
    assert d[1, 3] == pytest.approx(0.25, abs=1e-7)
    assert frames.keys[4] == frames.keys[1]  # a longer vector of the same direction is the same frame


def test_planted_phones_are_told_apart_and_noise_is_not() -> None:
    planted = 20 * np.random.default_rng(0).normal(size=(4, 16))
    items, features = corpus(9, phones=4, contexts=3, most=6, dim=16, planted=planted)
    for speaker in ("within", "across"):
        assert abx(items, features, "50", speaker=speaker).value == 0
    items, features = corpus(10, speakers=4, phones=6, contexts=8, most=8, dim=16)
    for speaker in ("within", "across"):
        assert abx(items, features, "50", speaker=speaker).value == pytest.approx(0.5, abs=0.03)
