"""Voice activity: planted bursts are found, silence is removed and its place remembered."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.audio.vad import VadOptions, frame_levels, speech_intervals
from textless.corpora.cli import app
from textless.corpora.silence import read_kept

RATE = io.SAMPLE_RATE


def bursts(*spans: tuple[float, float], seconds: float = 4.0, noise: float = 1e-3) -> torch.Tensor:
    """Loud noise in some spans (seconds), quiet noise elsewhere."""
    generator = torch.Generator().manual_seed(0)
    waveform = noise * torch.randn(round(seconds * RATE), generator=generator)
    for start, stop in spans:
        piece = slice(round(start * RATE), round(stop * RATE))
        waveform[piece] += 0.1 * torch.randn(piece.stop - piece.start, generator=generator)
    return waveform


def test_a_full_scale_sine_has_the_level_that_pre_emphasis_leaves() -> None:
    time = torch.arange(RATE) / RATE
    levels = frame_levels(torch.sin(2 * torch.pi * 4000 * time))
    # |1 - 0.97 e^{-iπ/2}|² = 1.9409, and the mean square of a sine is 1/2
    assert levels[5:-5] == pytest.approx(10 * np.log10(1.9409 / 2), abs=1e-2)
    assert len(levels) == 100


def test_bursts_are_found_to_the_frame_gaps_are_closed_and_clicks_dropped() -> None:
    waveform = bursts((0.5, 1.0), (1.15, 1.5), (2.5, 3.0), (3.5, 3.52))
    found = np.array(speech_intervals(waveform, VadOptions(margin=0.0))) / RATE
    # Levels are over 25 ms, so an edge may lie one frame or a window's half further out.
    np.testing.assert_allclose(found, [[0.5, 1.5], [2.5, 3.0]], atol=0.021)
    wide = np.array(speech_intervals(waveform)) / RATE
    np.testing.assert_allclose(wide - found, [[-0.05, 0.05]] * 2, atol=1e-9)


def test_level_changes_nothing_and_speech_without_silence_is_kept_whole() -> None:
    waveform = bursts((0.5, 1.0), (2.5, 3.0))
    assert speech_intervals(waveform) == speech_intervals(0.1 * waveform)
    assert speech_intervals(bursts((0.0, 4.0))) == [(0, 4 * RATE)]
    assert speech_intervals(torch.zeros(RATE)) == []
    assert speech_intervals(torch.zeros(0)) == []


def test_the_verb_shortens_recordings_and_says_what_it_kept(tmp_path: Path) -> None:
    waveforms = {"a/one": bursts((0.5, 1.0), (2.5, 3.0)), "two": bursts((1.0, 2.0)), "silent": torch.zeros(RATE)}
    for name, waveform in waveforms.items():
        io.save(tmp_path / "in" / f"{name}.wav", waveform)
    rows = tuple(Utterance(name, f"{name}.wav", len(w), speaker="s") for name, w in waveforms.items())
    write_manifest(tmp_path / "in" / "manifest.tsv", Manifest(tmp_path / "in", rows))
    arguments = ["remove-silence", str(tmp_path / "in" / "manifest.tsv"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    report = json.loads(result.stdout)
    assert (report["utterances"], report["skipped"]) == (2, 1)
    assert "silent.wav\tno speech" in (tmp_path / "out" / "skipped.tsv").read_text()
    kept = read_kept(tmp_path / "out" / "kept.tsv")
    original = io.load(tmp_path / "in" / "a/one.wav")
    manifest = read_manifest(tmp_path / "out" / "manifest.tsv")
    shortened = manifest.load(manifest.utterances[0])
    expected = torch.cat([original[round(start * RATE) : round(stop * RATE)] for start, stop in kept["a/one"]])
    torch.testing.assert_close(shortened, expected, atol=1 / 32768, rtol=0)  # 16 bits
    assert report["kept_seconds"] == pytest.approx(sum(b - a for spans in kept.values() for a, b in spans), abs=1e-3)

    assert CliRunner().invoke(app, arguments).exit_code != 0  # it is finished
    sharded = [*arguments[:2], str(tmp_path / "sharded"), "--shards", "2"]
    CliRunner().invoke(app, sharded, catch_exceptions=False)
    assert (tmp_path / "sharded" / "manifest-00001-of-00002.tsv").exists()
    assert read_manifest(tmp_path / "sharded" / "manifest.tsv").utterances == manifest.utterances
