"""Training a speaker encoder: resuming, two processes, the verb, losses that are not finite, speakers never heard."""

import os
import subprocess
import sys
from pathlib import Path

import planted_voices
import pytest
import torch
from planted_voices import run, write_toml

from textless.audio.manifest import Manifest, read_manifest, write_manifest
from textless.errors import UserError
from textless.speakers import train as training
from textless.speakers.config import DataConfig, SpeakerTrainingConfig
from textless.speakers.model import SpeakerEncoder
from textless.speakers.train import train
from textless.training.run import read_metrics

corpus = planted_voices.corpus


def test_resumed_is_uninterrupted(corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SpeakerTrainingConfig.load(write_toml(tmp_path / "c.toml", corpus[0], steps=6, log_every=1))
    train(config, tmp_path / "whole", device_name="cpu")
    stops = iter([False, False, True])
    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "stopping", lambda _: next(stops))
        train(config, tmp_path / "parts", device_name="cpu")
    assert [row["step"] for row in read_metrics(tmp_path / "parts")] == [1, 2, 3]
    train(config, tmp_path / "parts", device_name="cpu")
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    assert [row["loss"] for row in read_metrics(tmp_path / "whole")] == [
        row["loss"] for row in read_metrics(tmp_path / "parts")
    ]


def test_two_processes_train_what_one_trains(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    """Same crops, and a batch norm over all of them: equal up to the order of sums, magnified by Adam's division."""
    toml = write_toml(tmp_path / "c.toml", corpus[0], steps=3, log_every=1)
    train(SpeakerTrainingConfig.load(toml), tmp_path / "one", device_name="cpu")
    port = str(20_000 + os.getpid() % 20_000)
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [
        sys.executable,
        "-m",
        "textless",
        "speaker",
        "train",
        str(toml),
        str(tmp_path / "two"),
        "--device",
        "cpu",
    ]
    two = [subprocess.Popen(command, env=environment | {"RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in two] == [0, 0]
    one, shared = (SpeakerEncoder.load(tmp_path / name)[0].state_dict() for name in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(shared[name], weight, atol=2e-4, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")
    for a, b in zip(read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)


def test_train_verb_continues_and_refuses(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    toml = write_toml(tmp_path / "c.toml", corpus[0])
    assert run("train", toml, tmp_path / "out", "--set", "steps=1", "--device", "cpu").exit_code == 0
    assert "nothing to do" in run("train", toml, tmp_path / "out", "--set", "steps=1").stderr
    with pytest.raises(UserError, match="steps differ"):
        run("train", toml, tmp_path / "out", "--set", "steps=2")
    assert run("train", toml, tmp_path / "out", "--set", "steps=2", "--force").exit_code == 0
    assert SpeakerEncoder.load(tmp_path / "out")[1]["step"] == 2
    header = (tmp_path / "out/config.json").read_text()
    assert str(corpus[0]) not in header  # no places of this machine


def test_a_loss_that_is_not_finite_keeps_the_last_model(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    toml = write_toml(tmp_path / "c.toml", corpus[0], steps=40, save_every=1)
    with pytest.raises(UserError, match=r"the loss is nan at step \d+: lower optimizer.lr"):
        train(SpeakerTrainingConfig.load(toml, ["optimizer.lr=1e30"]), tmp_path / "out", device_name="cpu")
    kept = SpeakerEncoder.load(tmp_path / "out")[0]
    assert all(weight.isfinite().all() for weight in kept.parameters())


@pytest.mark.slow
def test_speakers_of_the_embedded_corpus(tmp_path: Path) -> None:
    """Synthetic speakers that were never heard in training; guessing gives 0.5."""
    from textless.corpora.synth import SynthesisConfig, synthesize_corpus

    synthesize_corpus(SynthesisConfig(hours=0.3, speakers=16, pairs=40), tmp_path / "corpus")
    out = tmp_path / "out"
    data = DataConfig(
        manifest=(tmp_path / "corpus/train/manifest.tsv",), valid_manifest=tmp_path / "corpus/test/manifest.tsv"
    )
    train(SpeakerTrainingConfig(data=data, steps=150, batch_size=32), out, device_name="cpu")
    assert [row["valid_eer"] for row in read_metrics(out) if "valid_eer" in row][-1] < 0.15


@pytest.mark.slow
def test_real_speakers(speech_root: Path, tmp_path: Path) -> None:
    manifest = read_manifest(speech_root / "librispeech_multi" / "manifest.tsv")
    names = sorted({str(u.speaker) for u in manifest})
    for name, chosen in (("train", set(names[20:])), ("test", set(names[:20]))):
        utterances = tuple(u for u in manifest if u.speaker in chosen)
        write_manifest(tmp_path / f"{name}.tsv", Manifest(manifest.root, utterances))
    data = DataConfig(manifest=(tmp_path / "train.tsv",), valid_manifest=tmp_path / "test.tsv", speeds=(1.0,))
    train(SpeakerTrainingConfig(data=data, steps=200), tmp_path / "out", device_name="cpu")
    assert [row["valid_eer"] for row in read_metrics(tmp_path / "out") if "valid_eer" in row][-1] < 0.15
