"""Bit rate by the formula, character error rate by hand, plug-in recognisers."""

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from textless.errors import UserError
from textless.features.store import open_features
from units.files import Units, UnitsFile
from units.identity import QuantizerIdentity
from zerospeech_eval.bit_rate import bit_rate_of_features, bit_rate_of_units, read_filelist
from zerospeech_eval.character_errors import character_errors, normalise


def formula(lines: list[tuple[float, ...]], seconds: float) -> float:
    """B = (N / D) · H."""
    counts = Counter(lines)
    entropy = -sum(n / len(lines) * math.log2(n / len(lines)) for n in counts.values())
    return len(lines) / seconds * entropy


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_lines_of_files_by_the_formula(tmp_path: Path) -> None:
    folder = write(tmp_path / "test", a="1 0\n0 1\n1.0 0\n\n", b="0 1\n1e0 -0.0\n0.5 0.5\n", c="9 9\n")
    filelist = tmp_path / "bitrate_filelist.txt"
    filelist.write_text("a.txt 1.5\r\nb.txt 0.75\r\n\r\n")
    result = bit_rate_of_features(open_features(folder), read_filelist(filelist))
    lines = [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.5, 0.5)]
    assert result.value == pytest.approx(formula(lines, 2.25))
    assert result.summary()["distinct_symbols"] == 3
    assert (result.n_symbols, result.n_files, result.seconds) == (6, 2, 2.25)


def test_integer_codes_and_constant_streams(tmp_path: Path) -> None:
    folder = write(tmp_path / "codes", a="3\n3\n5\n", b="5\n")
    result = bit_rate_of_features(open_features(folder), {"a": 1.0, "b": 1.0})
    assert result.value == pytest.approx(formula([(3,), (3,), (5,), (5,)], 2)) == 2.0
    assert bit_rate_of_features(open_features(write(tmp_path / "one", a="7\n" * 9)), {"a": 2.0}).value == 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
def test_every_type_of_numbers(dtype: type) -> None:
    frames = {"a": np.array([[1, 2], [1, 2], [3, 4], [5, 6]], dtype=dtype)}
    assert bit_rate_of_features(frames, {"a": 1.0}).value == pytest.approx(4 * 1.5)


def test_missing_files_count_neither_lines_nor_seconds(tmp_path: Path) -> None:
    features = open_features(write(tmp_path / "test", a="1\n2\n"))
    seconds = {"a": 1.0, "gone": 5.0, "lost": 1.0}
    with pytest.raises(UserError, match="2 files of the list are missing: 'gone', 'lost'"):
        bit_rate_of_features(features, seconds)
    result = bit_rate_of_features(features, seconds, skip_missing=True)
    assert (result.value, result.seconds, result.n_skipped) == (2.0, 1.0, 2)
    with pytest.raises(UserError, match="no file of the list"):
        bit_rate_of_features(features, {"gone": 1.0}, skip_missing=True)


def test_bit_rate_of_units() -> None:
    identity = QuantizerIdentity(encoder="mfcc", k=3, frame_rate=50.0, sha256="0")
    file = UnitsFile(identity, [Units("x", [0, 1, 0], [10, 20, 5]), Units("y", [2], [15])])
    assert bit_rate_of_units(file).value == pytest.approx(formula([(0,), (1,), (0,), (2,)], 1.0))
    frames = [(0,)] * 15 + [(1,)] * 20 + [(2,)] * 15
    assert bit_rate_of_units(file, frames=True).value == pytest.approx(formula(frames, 1.0))
    assert bit_rate_of_units(file, {"x": 2.0}).value == pytest.approx(formula([(0,), (1,), (0,)], 2.0))
    timeless = UnitsFile(identity, [Units("x", [0, 1])])
    with pytest.raises(UserError, match="no durations"):
        bit_rate_of_units(timeless)
    assert bit_rate_of_units(timeless, {"x": 1.0}).value == 2.0


def test_bad_embeddings_and_lists(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'b' have 1 columns, those before 2"):
        bit_rate_of_features({"a": np.ones((2, 2)), "b": np.ones((2, 1))}, {"a": 1.0, "b": 1.0})
    with pytest.raises(UserError, match="'a' hold NaN"):
        bit_rate_of_features({"a": np.full((2, 2), np.nan)}, {"a": 1.0})
    folder = write(tmp_path / "test", ragged="1 2\n3\n")
    with pytest.raises(UserError, match="ragged.txt cannot be read as features"):
        bit_rate_of_features(open_features(folder), {"ragged": 1.0})
    for text, message in (("a.txt\n", ":1 should be `name seconds`"), ("a 0\n", "more than 0 s"), ("", "nothing")):
        (tmp_path / "list.txt").write_text(text)
        with pytest.raises(UserError, match=message):
            read_filelist(tmp_path / "list.txt")


def test_character_errors_by_hand() -> None:
    references = {"1": "The cat, sat.", "2": "DOG", "empty": ""}
    result = character_errors(references, {"1": "the cat sad", "2": "dogs!", "empty": "noise", "other": "x"})
    assert [u.edits for u in result.utterances] == [1, 1]
    assert result.rate == pytest.approx(2 / 14)
    assert result.low <= result.rate <= result.high
    assert normalise("  Ça va —  “OK”? ") == "ça va ok"
    with pytest.raises(UserError, match="1 of 3 utterances have no transcription: '2'"):
        character_errors(references, {"1": "", "empty": ""})
    with pytest.raises(UserError, match="no utterance has a text"):
        character_errors({"1": "..."}, {"1": "a"})
