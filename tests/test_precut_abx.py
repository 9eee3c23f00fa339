"""ABX of files that are tokens: whole files, averaged as ABXpy does, against loops over triplets."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest

from textless.corpora.items import Item
from textless.errors import UserError
from zerospeech_eval.precut_abx import precut_abx

SPEAKERS, PHONES, CONTEXTS = "xyz", "ab", ("p q", "r s")


def task(seed: int) -> tuple[list[Item], dict[str, np.ndarray]]:
    """One or two files of each speaker, phone and context, some combinations missing; of one to four codes each."""
    rng = np.random.default_rng(seed)
    items, codes = [], {}
    for speaker, phone, context in itertools.product(SPEAKERS, PHONES, CONTEXTS):
        for token in range(int(rng.integers(0 if context == "r s" else 1, 3))):
            name = f"{speaker}{phone}{context[0]}{token}"
            items.append(Item(name, "3.5", "99", phone, *context.split(), speaker))
            codes[f"test/{name}"] = rng.integers(0, 3, (int(rng.integers(1, 5)), 1))
    return items, codes


def levenshtein(one: list[int], other: list[int]) -> int:
    if not one or not other:
        return len(one) + len(other)
    replaced = levenshtein(one[1:], other[1:]) + (one[0] != other[0])
    return min(replaced, levenshtein(one[1:], other) + 1, levenshtein(one, other[1:]) + 1)


def by_loops(items: list[Item], distance: dict[tuple[str, str], float]) -> float:
    cells = defaultdict(list)
    for a, b, x in itertools.product(items, repeat=3):
        same = {(i.previous, i.next) for i in (a, b, x)}
        if len(same) == 1 and a.phone == x.phone != b.phone and a.speaker == b.speaker != x.speaker:
            d, e = distance[x.file, a.file], distance[x.file, b.file]
            cells[a.speaker, x.speaker, a.phone, b.phone, a.previous].append(1.0 * (d > e) + 0.5 * (d == e))
    over_contexts = defaultdict(list)
    for (*key, _), errors in cells.items():
        over_contexts[tuple(key)].append(np.mean(errors))
    over_speakers = defaultdict(list)
    for (_, _, a, b), errors in over_contexts.items():
        over_speakers[a, b].append(np.mean(errors))
    return float(np.mean([np.mean(errors) for errors in over_speakers.values()]))


@pytest.mark.parametrize("seed", range(4))
def test_integer_codes_by_levenshtein(seed: int) -> None:
    items, codes = task(seed)
    distance = {
        (one.file, other.file): levenshtein(*(codes[f"test/{i.file}"][:, 0].tolist() for i in (one, other)))
        for one, other in itertools.product(items, repeat=2)
    }
    assert precut_abx(items, codes, "levenshtein").value == pytest.approx(by_loops(items, distance))
    as_vectors = {name: np.eye(3)[array[:, 0]] for name, array in codes.items()}
    assert precut_abx(items, as_vectors, "levenshtein").value == precut_abx(items, codes, "levenshtein").value


def test_vectors_by_angle() -> None:
    items, codes = task(9)
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=(1, 4)).astype(np.float16) for name in codes}  # one frame: no path to find

    def angle(x: np.ndarray, y: np.ndarray) -> float:
        return math.acos(float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))) / math.pi

    frames = {item.file: vectors[f"test/{item.file}"][0].astype(np.float64) for item in items}
    distance = {(a, b): angle(frames[a], frames[b]) if a != b else 0.0 for a, b in itertools.product(frames, repeat=2)}
    assert precut_abx(items, vectors, "dtw_cosine").value == pytest.approx(by_loops(items, distance))


def test_missing_embeddings() -> None:
    items, codes = task(0)
    gone = codes.pop(f"test/{items[0].file}")
    assert len(gone)
    with pytest.raises(UserError, match=items[0].file):
        precut_abx(items, codes, "levenshtein")
