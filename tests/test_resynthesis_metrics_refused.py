"""Resyntheses that cannot be judged: what is skipped is said, and what does not fit is refused."""

import json
from pathlib import Path

import numpy as np
import planted_resynthesis
import pytest
import soundfile
from planted_resynthesis import Folders, buzz, run

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.errors import UserError
from zerospeech_eval import resynthesis
from zerospeech_eval.resynthesis import Settings, evaluate

folders = planted_resynthesis.folders
encoder = planted_resynthesis.encoder
recognizer = planted_resynthesis.recognizer


def test_speakers_with_one_recording(folders: Folders, encoder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tmp_path / "original.tsv")
    write_manifest(tmp_path / "two.tsv", Manifest(manifest.root, manifest.utterances[:2]))
    shown = run(tmp_path / "two.tsv", folders.copies, "--speaker-encoder", encoder).stdout
    assert "2 originals are of a speaker who is not named or has no other recording" in shown
    assert "the equal error rate of the resyntheses is undefined" in shown
    assert "4 resyntheses have no original" in shown


def test_recordings_that_cannot_be_compared(folders: Folders) -> None:
    io.save(folders.copies / "a/0.wav", np.zeros(8000))
    io.save(folders.copies / "b/1.wav", buzz(120)[:1000])
    (folders.copies / "a/2.wav").write_text("no audio")
    wrong_rate = folders.copies / "b/3.wav"
    soundfile.write(wrong_rate, np.repeat(buzz(120), 3), 48_000)
    found = json.loads(run(folders.originals, folders.copies, "--json").stdout)
    assert found["recordings"] == 3
    reasons = " ".join(item["reason"] for item in found["skipped"])
    assert "it is silent" in reasons
    assert "0.062 s are too short" in reasons
    assert "not an audio file" in reasons
    assert "1 resyntheses were resampled from 48000 to 16000 Hz" in " ".join(found["notes"])
    assert "1 originals have no resynthesis: left out" in found["notes"]
    shown = run(folders.originals, folders.copies).stdout
    assert "3 recordings skipped, first" in shown


def test_nothing_to_compare(folders: Folders, tmp_path: Path) -> None:
    io.save(tmp_path / "other/z.wav", buzz(120))
    with pytest.raises(
        UserError, match="no recording in common: the first holds 'a/0', 'a/2' and 4 more, the second 'z'"
    ):
        run(folders.originals, tmp_path / "other")
    with pytest.raises(UserError, match="not found"):
        run(folders.originals, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no audio files"):
        run(folders.originals, tmp_path / "empty")
    for path in folders.copies.rglob("*.wav"):
        io.save(path, np.zeros(8000))
    with pytest.raises(UserError, match="none of 6 pairs can be compared.*silent"):
        run(folders.originals, folders.copies)


def test_a_recording_of_minutes_is_refused(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resynthesis, "LONGEST_SECONDS", 0.7)
    result = evaluate(folders.originals, folders.copies, Settings(device="cpu"))
    assert len(result.skipped) == 1  # of 0.75 s
    assert "cut both into utterances" in result.skipped[0].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--text", "t.tsv"], "--recognizer who listens"),
        (["--target", "a"], "need --speaker-encoder"),
        (["--target", "a", "--speaker-encoder", "e"], "give --target-manifest"),
        (["--squim", "none.pth"], "SQUIM weights not found"),
        (["--recognizer", "nothing"], "recogniser not found"),
        (["--speaker-encoder", "nothing"], "no textless-speaker-encoder model"),
    ],
)
def test_options_that_do_not_go_together(folders: Folders, options: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(folders.originals, folders.copies, *options)


def test_texts_and_targets_of_another_corpus(folders: Folders, encoder: Path, recognizer: Path, tmp_path: Path) -> None:
    (tmp_path / "text.tsv").write_text("z\tp q\n")
    with pytest.raises(UserError, match="says nothing of the recordings compared"):
        run(folders.originals, folders.copies, "--recognizer", recognizer, "--text", tmp_path / "text.tsv")
    manifest = read_manifest(tmp_path / "original.tsv")
    nameless = tuple(Utterance(u.id, u.path, u.n_samples) for u in manifest)
    write_manifest(tmp_path / "nameless.tsv", Manifest(manifest.root, nameless))
    with pytest.raises(UserError, match="names no speakers"):
        run(
            folders.originals,
            folders.copies,
            "--speaker-encoder",
            encoder,
            "--target-manifest",
            tmp_path / "nameless.tsv",
        )


def test_plots_are_png(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a plot is a \.png"):
        run(folders.originals, folders.copies, "--plot", tmp_path / "p.gif")
