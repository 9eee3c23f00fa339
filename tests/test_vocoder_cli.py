"""Every verb and option of `textless vocoder`, and what it says to mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from test_vocoder_data import HOP, OTHER, QUANTIZER, tones
from typer.testing import CliRunner, Result

from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.errors import UserError
from textless.files import read_json
from units.files import Units, write_units
from vocoder import synthesize as synthesis
from vocoder.cli import app
from vocoder.model import VocoderModel
from vocoder.vocoder import load_vocoder

__all__ = ["tones"]  # a fixture
ITEMS = [Units("loud/new", [0, 1, 2], [3, 5, 8]), Units("soft/new", [3, 0], [12, 3]), Units("other", [2, 1], [1, 1])]
TOML = """
steps = 2
batch_size = 2
segment_seconds = 0.2
model = {width = 16, hidden = 16, dilations = [1], duration_width = 8, duration_layers = 1}
[data]
units = "units.jsonl"
manifest = "manifest.tsv"
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def model(tones: Path) -> Path:
    (tones / "vocoder.toml").write_text(TOML)
    run("train", tones / "vocoder.toml", tones / "vocoder")
    return tones / "vocoder"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    write_units(tmp_path / "new.jsonl", QUANTIZER, ITEMS)
    return tmp_path / "new.jsonl"


def waveform(out: Path, utterance_id: str) -> torch.Tensor:
    return torch.from_numpy(soundfile.read(out / f"{utterance_id}.wav", dtype="float32")[0])


def test_train_set_device_and_force(model: Path, tones: Path, tmp_path: Path) -> None:
    result = run("train", tones / "vocoder.toml", tmp_path / "run", "--set", "steps=1", "--device", "cpu")
    assert result.exit_code == 0
    assert read_json(tmp_path / "run/config.json")["training"]["steps"] == 1
    with pytest.raises(UserError, match="steps differ"):
        run("train", tones / "vocoder.toml", tmp_path / "run")
    assert run("train", tones / "vocoder.toml", tmp_path / "run", "--force").exit_code == 0
    assert "nothing to do" in run("train", tones / "vocoder.toml", tmp_path / "run").stderr


def test_train_refuses_unknown_keys_and_foreign_folders(model: Path, tones: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown key optimizer\.rate"):
        run("train", tones / "vocoder.toml", tmp_path / "run", "--set", "optimizer.rate=1")
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not a training run"):
        run("train", tones / "vocoder.toml", tmp_path)


def test_synthesize_writes_what_the_library_returns(model: Path, units: Path, tmp_path: Path) -> None:
    result = run("synthesize", units, tmp_path / "out", "--model", model)
    assert result.exit_code == 0
    assert "spoken by loud, the first of 2 speakers" in " ".join(result.stderr.split())
    expected = load_vocoder(model, "cpu").synthesize(ITEMS)
    manifest = read_manifest(tmp_path / "out/manifest.tsv")
    assert [(u.id, u.speaker, u.n_samples) for u in manifest] == [
        (item.id, "loud", item.n_frames * HOP) for item in ITEMS
    ]
    for item, wanted in zip(ITEMS, expected, strict=True):
        torch.testing.assert_close(waveform(tmp_path / "out", item.id), wanted.clamp(-1, 1), atol=2**-15, rtol=0)


def test_speaker_by_name_and_by_manifest(model: Path, units: Path, tones: Path, tmp_path: Path) -> None:
    run("synthesize", units, tmp_path / "loud", "--model", model, "--speaker", "loud")
    run("synthesize", units, tmp_path / "soft", "--model", model, "--speaker", "soft")
    own = Manifest(tmp_path, (Utterance("soft/new", "x.wav", 1, "soft"), Utterance("other", "y.wav", 1, "stranger")))
    write_manifest(tmp_path / "own.tsv", own)
    result = run("synthesize", units, tmp_path / "own", "--model", model, "--manifest", tmp_path / "own.tsv")
    assert "2 of 3 utterances have no speaker that the vocoder knows" in " ".join(result.stderr.split())
    speakers = {u.id: u.speaker for u in read_manifest(tmp_path / "own/manifest.tsv")}
    assert speakers == {"loud/new": "loud", "soft/new": "soft", "other": "loud"}
    for utterance_id, speaker in speakers.items():
        assert torch.equal(waveform(tmp_path / "own", utterance_id), waveform(tmp_path / str(speaker), utterance_id))
    assert not torch.equal(waveform(tmp_path / "loud", "other"), waveform(tmp_path / "soft", "other"))


@pytest.mark.parametrize(("name", "hint"), [("sfot", "did you mean soft"), ("xyz", "it knows: loud, soft")])
def test_unknown_speaker(model: Path, units: Path, tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        run("synthesize", units, tmp_path / "out", "--model", model, "--speaker", name)


def test_durations_known_predicted_and_missing(model: Path, units: Path, tmp_path: Path) -> None:
    write_units(tmp_path / "untimed.jsonl", QUANTIZER, [Units(item.id, item.units) for item in ITEMS])
    run("synthesize", units, tmp_path / "predicted", "--model", model, "--predict-durations")
    run("synthesize", tmp_path / "untimed.jsonl", tmp_path / "untimed", "--model", model)
    expected = load_vocoder(model, "cpu").predict_durations(ITEMS, [0] * 3)
    for item, durations in zip(ITEMS, expected, strict=True):
        assert len(waveform(tmp_path / "predicted", item.id)) == sum(durations) * HOP
        assert torch.equal(waveform(tmp_path / "predicted", item.id), waveform(tmp_path / "untimed", item.id))


def test_speed_and_device(model: Path, units: Path, tmp_path: Path) -> None:
    run("synthesize", units, tmp_path / "out", "--model", model, "--speed", "2", "--device", "cpu")
    assert len(waveform(tmp_path / "out", "loud/new")) == 8 * HOP


def test_shards_join_and_continue(model: Path, units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("synthesize", units, tmp_path / "whole", "--model", model)
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    for index in (1, 0):
        assert not (tmp_path / "out/manifest.tsv").exists()
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(index))
        run("synthesize", units, tmp_path / "out", "--model", model, "--shards", "2")
    assert (tmp_path / "out/manifest.tsv").read_bytes() == (tmp_path / "whole/manifest.tsv").read_bytes()
    for item in ITEMS:
        torch.testing.assert_close(
            waveform(tmp_path / "out", item.id), waveform(tmp_path / "whole", item.id), atol=2**-15, rtol=0
        )


def test_a_killed_synthesis_goes_on_where_it_stopped(
    model: Path, units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = synthesis.write_pieces

    def write_once(path: Path, pieces: list[torch.Tensor]) -> tuple[int, int]:
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        return write(path, pieces)

    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "write_pieces", write_once)
        run("synthesize", units, tmp_path / "out", "--model", model)
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 1
    result = run("synthesize", units, tmp_path / "out", "--model", model)
    assert "2 utterances" in result.stderr
    assert "1 were there already" in result.stderr
    assert "nothing to do" in run("synthesize", units, tmp_path / "out", "--model", model).stderr


def test_another_synthesis_needs_force_and_leaves_nothing_behind(model: Path, units: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("synthesize", units, out, "--model", model)
    before = waveform(out, "other")
    with pytest.raises(UserError, match="another synthesis.*speed differ"):
        run("synthesize", units, out, "--model", model, "--speed", "0.5")
    run("synthesize", units, out, "--model", model, "--speed", "0.5", "--force")
    assert len(waveform(out, "other")) == 2 * len(before)


def test_a_folder_with_other_things_is_refused(model: Path, units: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a synthesis"):
        run("synthesize", units, tmp_path, "--model", model)
    (tmp_path / "out").mkdir()
    assert run("synthesize", units, tmp_path / "out", "--model", model).exit_code == 0


def test_clipping_and_empty_utterances_are_counted(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_units(tmp_path / "new.jsonl", QUANTIZER, [ITEMS[2], Units("silent", [], [])])

    def shout(self: Any, items: list[Units], *_: object, **__: object) -> list[torch.Tensor]:
        return [torch.tensor([0.5, 1.5, -2.0, 1.0])]

    monkeypatch.setattr("vocoder.vocoder.Vocoder.synthesize", shout)
    result = run("synthesize", tmp_path / "new.jsonl", tmp_path / "out", "--model", model)
    said = " ".join(result.stderr.split())
    assert "2 samples clipped (50.000 %)" in said
    assert "1 without units skipped" in said
    assert (tmp_path / "out/skipped.tsv").read_text().splitlines()[1] == "silent\tit has no units"
    assert [u.id for u in read_manifest(tmp_path / "out/manifest.tsv")] == ["other"]


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/../../b", ""])
def test_ids_that_leave_the_folder_are_refused(model: Path, tmp_path: Path, name: str) -> None:
    write_units(tmp_path / "new.jsonl", QUANTIZER, [Units(name, [1], [1])])
    with pytest.raises(UserError, match="cannot be a file name"):
        run("synthesize", tmp_path / "new.jsonl", tmp_path / "out", "--model", model)
    assert not (tmp_path / "out").exists()


def test_units_of_another_quantizer(model: Path, tmp_path: Path) -> None:
    write_units(tmp_path / "new.jsonl", OTHER, ITEMS)
    with pytest.raises(UserError, match="was made with the quantizer"):
        run("synthesize", tmp_path / "new.jsonl", tmp_path / "out", "--model", model)


def test_what_is_not_a_vocoder(model: Path, units: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no textless-vocoder model"):
        run("synthesize", units, tmp_path / "out", "--model", tmp_path)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    header = read_json(model / "config.json")
    (foreign / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    (foreign / "config.json").write_text(json.dumps(header | {"format": "textless-ulm"}))
    with pytest.raises(UserError, match="not a textless-vocoder file"):
        VocoderModel.load(foreign)
    (foreign / "config.json").write_text(json.dumps(header | {"version": 99}))
    with pytest.raises(UserError, match="upgrade"):
        VocoderModel.load(foreign)
