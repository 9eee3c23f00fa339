"""The F0 quantizer: its codebook, what it learns of planted contours, its directory, its command."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_vocoder_train import assert_same, state, stop_after
from typer.testing import CliRunner

from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from textless.training.run import read_metrics
from units.pitch import PitchTracker
from units.prosody import NormalisedPitch
from vocoder.cli import app
from vocoder.codebook import Codebook
from vocoder.f0_config import F0Config, F0ModelConfig
from vocoder.f0_quantizer import F0Quantizer, f0_loss
from vocoder.fit_f0 import fit_f0
from vocoder.frames import raw_pitch

SMALL = F0ModelConfig(codes=8, dimension=8, width=16, halvings=3, depth=2)
CODE = 8  # frames of pitch a code
LEVELS = {"low": 110.0, "high": 220.0}


def melody(seed: int, level: float, n_codes: int = 80) -> np.ndarray:
    """Stretches of four notes and of silence, each eight codes long."""
    generator = np.random.default_rng(seed)
    notes = np.array([0.0, *(level * 2 ** (np.array([-4, -1, 1, 4]) / 12))])
    return np.repeat(notes[generator.integers(5, size=n_codes // 8)], 8 * CODE).astype(np.float32)[:, None]


def write_store(directory: Path, contours: dict[str, np.ndarray], rate: int = 200) -> Path:
    tracker = PitchTracker(rate)
    write_header(directory, StoreHeader(tracker.spec, tracker.sha256(), 1, float(rate), 1, "0" * 64))
    write_shard(directory, 0, 1, contours)
    return directory


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("f0")
    names = list(LEVELS) * 6
    contours = {f"{i:02d}": melody(i, LEVELS[name]) for i, name in enumerate(names)}
    rows = tuple(Utterance(f"{i:02d}", f"{i:02d}.wav", 1, name) for i, name in enumerate(names))
    write_manifest(directory / "manifest.tsv", Manifest(directory, rows))
    return write_store(directory, {**contours, "silent": np.zeros((400, 1), dtype=np.float32)})


def settings(**changes: object) -> F0Config:
    values = {"model": SMALL, "steps": 6, "batch_size": 8, "segment_seconds": 0.64, "save_every": 0, "log_every": 2}
    return F0Config.model_validate({**values, **changes})


def test_planted_melodies_come_back_from_their_codes(store: Path, tmp_path: Path) -> None:
    fit_f0(store, tmp_path / "f0", settings(steps=300, lr=3e-3, log_every=100), manifest=store / "manifest.tsv")
    quantizer = F0Quantizer.load(tmp_path / "f0")
    right = both = wrong_voicing = total = 0
    for seed, level in enumerate(LEVELS.values(), 100):  # melodies it has not seen
        hertz = melody(seed, level)[:, 0]
        logs = np.where(hertz > 0, np.log(np.maximum(hertz, 1) / level), np.nan)
        pitch = raw_pitch(logs)
        codes = quantizer.encode(pitch)
        assert len(codes) == len(pitch) // CODE
        back = quantizer.decode(codes)
        voiced = (pitch[:, 1] > 0) & (back[:, 1] > 0)
        semitones = 12 / np.log(2) * (back[voiced, 0] - pitch[voiced, 0]).abs()
        right, both = right + int((semitones < 1).sum()), both + int(voiced.sum())
        wrong_voicing, total = wrong_voicing + int((back[:, 1] != pitch[:, 1]).sum()), total + len(pitch)
    assert right / both > 0.9
    assert wrong_voicing / total < 0.05


def test_the_loss_counts_pitch_only_where_it_is_voiced() -> None:
    pitch = torch.tensor([[[0.5, 1.0], [0.0, 0.0]]])
    found = torch.tensor([[[4 * 0.5 + 1, 1.0], [9.0, 0.5]]])  # one off where voiced; half a voicing off elsewhere
    assert float(f0_loss(found, pitch)) == pytest.approx(1 + 0.25 / 2)


def test_the_codebook_is_the_moving_average_of_what_is_near() -> None:
    torch.manual_seed(0)
    book = Codebook(3, 2, decay=0.9)
    centres = torch.tensor([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0]])
    for _ in range(200):
        x = centres.repeat_interleave(10, dim=0) + 0.1 * torch.randn(30, 2)
        codes, error = book.train()(x)
    book.eval()
    assert sorted(book.nearest(centres).tolist()) == [0, 1, 2]  # none shares a code, though the start may have
    torch.testing.assert_close(book.codes[book.nearest(centres)], centres, atol=0.2, rtol=0)
    assert float(error) < 0.05
    before = book.codes.clone()
    codes, _ = book(x)
    assert torch.equal(book.codes, before)  # nothing is learned in evaluation
    torch.testing.assert_close(codes, book.codes[book.nearest(x)])


def test_gradients_pass_the_codebook() -> None:
    book = Codebook(2, 2, decay=0.9).eval()
    book.codes.copy_(torch.eye(2))
    x = torch.tensor([[0.9, 0.2]], requires_grad=True)
    codes, _ = book(x)
    (codes * torch.tensor([[2.0, 3.0]])).sum().backward()
    assert codes.tolist() == [[1.0, 0.0]]
    assert x.grad.tolist() == [[2.0, 3.0]]


def test_rates_are_the_published_ones() -> None:
    """200 Hz to 12.5 codes a second, of 20 entries of size 128."""
    quantizer = F0Quantizer(F0ModelConfig(), 200.0, "0" * 64)
    assert quantizer.shrink == 16
    assert quantizer.codebook.codes.shape == (20, 128)
    for n_frames, n_codes in ((0, 0), (1, 1), (160, 10), (161, 11)):
        assert len(quantizer.encode(torch.zeros(n_frames, 2))) == n_codes
    assert quantizer.decode(torch.tensor([3, 4])).shape == (32, 2)


def test_resumed_is_uninterrupted(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_f0(store, tmp_path / "whole", settings())
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        fit_f0(store, tmp_path / "halves", settings())
    assert 0 < state(tmp_path / "halves")["step"] < 6
    fit_f0(store, tmp_path / "halves", settings())
    assert_same(state(tmp_path / "whole")["parts"], state(tmp_path / "halves")["parts"])
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "halves/model.safetensors").read_bytes()
    rows = [[row["error"] for row in read_metrics(tmp_path / name)] for name in ("whole", "halves")]
    assert rows[0] == rows[1]


def test_a_loaded_quantizer_is_the_saved_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    quantizer = F0Quantizer(SMALL, 200.0, "a" * 64).eval()
    quantizer.codebook.codes.copy_(torch.randn(8, 8))
    quantizer.save(tmp_path / "f0", settings())
    loaded = F0Quantizer.load(tmp_path / "f0")
    pitch = torch.randn(100, 2)
    assert torch.equal(loaded.encode(pitch), quantizer.encode(pitch))
    assert loaded.stream == quantizer.stream
    quantizer.codebook.codes.mul_(2)
    assert loaded.stream != quantizer.stream


def test_command(store: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["fit-f0", *map(str, arguments)], catch_exceptions=False)
        assert result.exit_code == 0
        return " ".join(result.stderr.split())

    small = ["--set", "steps=2", "--set", "model.width=4", "--set", "batch_size=2", "--device", "cpu"]
    assert "1 without a voiced frame skipped" in run(
        store, tmp_path / "a", "--manifest", store / "manifest.tsv", *small
    )
    (tmp_path / "f0.toml").write_text("steps = 2\nbatch_size = 2\nmodel = {width = 4}\n")
    run(store, tmp_path / "b", "--config", tmp_path / "f0.toml", "--manifest", store / "manifest.tsv")
    assert F0Quantizer.load(tmp_path / "a").stream == F0Quantizer.load(tmp_path / "b").stream
    run(store, tmp_path / "a", *small, "--force")  # without speakers, another normalisation
    assert F0Quantizer.load(tmp_path / "a").stream != F0Quantizer.load(tmp_path / "b").stream


def test_what_cannot_be_fitted(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = write_store(tmp_path / "slow", {"a": melody(0, 110.0)}, rate=50)
    with pytest.raises(UserError, match="--frame-rate 200"):
        fit_f0(slow, tmp_path / "out", settings())
    silent = write_store(tmp_path / "silent", {"a": np.zeros((400, 1), dtype=np.float32)})
    with pytest.raises(UserError, match="no utterance has a voiced frame"):
        fit_f0(silent, tmp_path / "out", settings())
    with pytest.raises(UserError, match="no textless-f0-quantizer model"):
        F0Quantizer.load(store)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="runs in one process"):
        fit_f0(store, tmp_path / "out", settings())


def test_levels_of_speakers_are_taken_off(store: Path) -> None:
    manifest = Manifest(store, tuple(Utterance(f"{i:02d}", "x", 1, n) for i, n in enumerate(list(LEVELS) * 6)))
    pitch = NormalisedPitch.of(FeatureStore(store), manifest)
    values = np.concatenate([pitch[f"{i:02d}"] for i in range(12)])
    assert np.nanmax(np.abs(values)) < 6 / 12 * np.log(2)  # an octave lies between the voices, not between their notes
