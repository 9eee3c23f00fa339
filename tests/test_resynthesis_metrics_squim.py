"""SQUIM of a resynthesis: torchaudio's figures with its weights, left out and said without."""

import struct
from pathlib import Path

import planted_resynthesis
import pytest
import torch
from planted_resynthesis import Folders, run

from textless.audio import io
from textless.errors import UserError
from zerospeech_eval.perceived_quality import Squim

folders = planted_resynthesis.folders


def test_squim_reads_torchaudios_weights(folders: Folders, tmp_path: Path) -> None:
    from torchaudio.models import squim_objective_base

    torch.manual_seed(0)
    model = squim_objective_base().eval()
    torch.save(model.state_dict(), tmp_path / "squim.pth")
    waveform = io.load(folders.originals / "a/0.wav")
    with torch.inference_mode():
        expected = [float(value) for value in model(waveform[None])]
    found = Squim(tmp_path / "squim.pth", torch.device("cpu"))(waveform)
    assert [found.stoi, found.pesq, found.si_sdr] == pytest.approx(expected)
    (tmp_path / "bad.pth").write_bytes(struct.pack("<I", 7))
    with pytest.raises(UserError, match="does not hold the weights of SQUIM"):
        Squim(tmp_path / "bad.pth", torch.device("cpu"))
    original, copy = folders.originals / "a", folders.copies / "a"
    shown = run(original, copy, "--squim", tmp_path / "squim.pth").stdout
    assert "SQUIM PESQ" in shown
    assert "no SQUIM" not in shown
    assert "squim_stoi" in _details_of(original, copy, tmp_path)


def _details_of(original: Path, copy: Path, folder: Path) -> str:
    run(original, copy, "--squim", folder / "squim.pth", "--details", folder / "d.tsv")
    return (folder / "d.tsv").read_text().splitlines()[0]


def test_without_weights_squim_is_left_out_and_said(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    assert "no SQUIM: its weights are not at" in run(folders.originals, folders.copies).stdout
    place = tmp_path / "hub/torchaudio/models/squim_objective_dns2020.pth"
    place.parent.mkdir(parents=True)
    place.write_text("no weights")
    with pytest.raises(UserError, match="does not hold the weights"):
        run(folders.originals, folders.copies)
