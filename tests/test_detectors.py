"""Detectors of speech by name: the packages behind two of them get what they expect, or are asked for."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from textless.audio import io
from textless.audio.detectors import load_detector
from textless.audio.manifest import read_manifest
from textless.audio.vad import speech_intervals
from textless.errors import UserError

RATE = io.SAMPLE_RATE


def covered(intervals: list[tuple[int, int]], size: int) -> np.ndarray:
    """`(S,)` whether a sample is speech."""
    found = np.zeros(size, dtype=bool)
    for start, stop in intervals:
        found[start:stop] = True
    return found


@pytest.mark.parametrize(("name", "package"), [("rvad", "rVADfast"), ("silero", "silero_vad")])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match="pip install .* or use energy"):
        load_detector(name)
    with pytest.raises(UserError, match="no detector of speech is named 'ears'"):
        load_detector("ears")


def test_silero_gets_a_waveform_and_gives_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is stood in for: it brings weights of its own."""
    stand_in = ModuleType("silero_vad")
    stand_in.load_silero_vad = lambda: "model"

    def timestamps(audio: torch.Tensor, model: str, sampling_rate: int) -> list[dict[str, int]]:
        assert (model, sampling_rate, audio.dtype, audio.ndim) == ("model", RATE, torch.float32, 1)
        return [{"start": 100, "end": 200}, {"start": 300, "end": len(audio)}]

    stand_in.get_speech_timestamps = timestamps
    monkeypatch.setitem(sys.modules, "silero_vad", stand_in)
    assert load_detector("silero")(torch.zeros(1000)) == [(100, 200), (300, 1000)]


def test_rvad_hears_people_where_they_are_loud(speech_root: Path) -> None:
    pytest.importorskip("rVADfast", reason="needs the package rVADfast")
    detect = load_detector("rvad")
    assert detect(torch.zeros(0)) == []
    manifest = read_manifest(speech_root / "kathleen_en" / "manifest.tsv")
    shares = []
    for utterance in manifest.utterances[:5]:
        waveform = manifest.load(utterance)
        silence = torch.zeros(RATE)
        padded = torch.cat([silence, waveform, silence])
        ours, theirs = (covered(f(padded), len(padded)) for f in (speech_intervals, detect))
        assert not theirs[: RATE // 2].any()
        shares.append((ours == theirs).mean())
    assert np.mean(shares) > 0.85  # two definitions of where a word ends
