"""Training of CTC students: batches, learning, two processes, resuming, what is left out or refused."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_students import DIM, PHONES, SMALL, configured, plant, text_folder

from textless.distributed import World
from textless.errors import UserError
from textless.training.run import Run, read_metrics
from unsup_asr.ctc.config import MaskConfig, StudentConfig, TunedEncoderConfig
from unsup_asr.ctc.data import PairedSpeech
from unsup_asr.ctc.model import CtcRecognizer
from unsup_asr.ctc.train import read_task, train, train_on
from unsup_asr.ctc.tuned_encoder import open_tuned
from unsup_asr.decoding.decoder import GreedyDecoder
from unsup_asr.recognizers import load_recognizer
from unsup_asr.transcripts import write_transcripts


def test_every_utterance_comes_once_an_epoch_and_processes_share_a_batch(tmp_path: Path) -> None:
    plant(tmp_path, n=23)
    paired = read_task(configured(tmp_path)).training
    seen, step = [], 0
    while len(seen) < len(paired.ids):
        batch, weight = paired.batch(step, 3.0, 7, World())
        assert weight == 1 / int(batch.counts.sum())
        assert batch.rows.shape[0] * batch.rows.shape[1] <= 3.0 * 50 or len(batch.rows) == 1
        parts = [paired.batch(step, 3.0, 7, World(rank, 2)) for rank in range(2)]
        assert sum(float(w) * int(b.counts.sum()) for b, w in parts) == pytest.approx(1)
        seen += batch.counts.tolist()
        step += 1
    assert sorted(seen) == sorted(len(paired.symbols[i]) for i in paired.ids)
    again, _ = PairedSpeech(paired.speech, paired.symbols, paired.left_out).batch(step + 1, 3.0, 7, World())
    assert torch.equal(again.rows, paired.batch(step + 1, 3.0, 7, World())[0].rows)


def test_it_learns_planted_phones_by_ctc_and_by_attention(tmp_path: Path) -> None:
    transcripts = plant(tmp_path, n=200)
    config = configured(
        tmp_path, network={**SMALL, "decoder_blocks": 1}, steps=160, valid_every=80, save_every=0, log_every=80
    )
    train(config, tmp_path / "run")
    # Chance, the most frequent phone everywhere, is 0.8; 0.05 is what noise and short training leave at most.
    assert min(row["valid_disagreement"] for row in read_metrics(tmp_path / "run") if "valid_nats" in row) < 0.05
    recognizer = load_recognizer(tmp_path / "run")
    assert isinstance(recognizer, CtcRecognizer)
    assert (recognizer.phones, recognizer.silence, recognizer.topology) == (PHONES, None, "ctc")
    assert (recognizer.source.encoder, recognizer.source.frame_rate) == ("planted", 50.0)
    task = read_task(config)
    features = [task.held_out.speech.load(i).numpy() for i in task.held_out.ids]
    found = recognizer.posteriors([*features, np.empty((0, DIM), np.float32)])
    assert found[-1].log_probs.shape == (0, len(PHONES) + 1)
    decode = GreedyDecoder("ctc")
    right = [
        [PHONES[p] for p in decode(rows).phones] == transcripts[i]
        for i, rows in zip(task.held_out.ids, found, strict=False)
    ]
    assert np.mean(right) > 0.8
    for rows, frames in zip(found, features, strict=False):
        assert rows.starts[0] == 0
        assert rows.ends[-1] == len(frames)
        assert (rows.starts[1:] == rows.ends[:-1]).all()
    alone = recognizer.posteriors(features[:1])[0]
    assert np.allclose(alone.log_probs, found[0].log_probs, atol=1e-4)
    # What the attention decoder says of the next symbol: ln 6 nats would be chance.
    batch = task.held_out.collate(range(len(task.held_out.ids)))
    with torch.no_grad():
        states = recognizer.network(batch.rows, batch.lengths)
        nats = recognizer.network.attention_nats(states, batch.symbols, batch.counts)
    assert nats.sum() / (batch.counts + 1).sum() < 0.6 * math.log(6)
    header = json.loads((tmp_path / "run" / "config.json").read_text())
    assert header["labels"] == "pseudo"


def test_two_processes_train_what_one_trains(tmp_path: Path) -> None:
    """Each takes its share of a batch; weights differ only by the order of sums, magnified by Adam's division."""
    plant(tmp_path, n=30)
    toml = tmp_path / "student.toml"
    toml.write_text(
        'steps = 3\nlog_every = 1\nbatch_seconds = 6.0\nprecision = "fp32"\n'
        '[data]\nspeech = "features"\ntranscripts = "phones.tsv"\nheld_out = 0.2\n'
        "[network]\ndim = 16\nheads = 2\nffn = 32\nblocks = 1\ndropout = 0.0\ndecoder_blocks = 1\n"
        "[mask]\ntime = 0.0\nchannel = 0.0\n"
    )
    train(StudentConfig.load(toml).of_round(tmp_path / "phones.tsv"), tmp_path / "one")
    port = str(20_000 + os.getpid() % 20_000)
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-m", "textless", "asr", "student", str(toml), str(tmp_path / "two"), "--device", "cpu"]
    two = [subprocess.Popen(command, env=environment | {"RANK": str(rank)}) for rank in range(2)]
    assert [process.wait(timeout=300) for process in two] == [0, 0]
    one, shared = (CtcRecognizer.load(tmp_path / name).network.state_dict() for name in ("one", "two"))
    for name, weight in one.items():
        assert torch.allclose(weight, shared[name], atol=1e-4)
    losses = [[row["loss_nats"] for row in read_metrics(tmp_path / n) if "loss_nats" in row] for n in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    plant(tmp_path)
    config = configured(tmp_path, network={**SMALL, "decoder_blocks": 1, "dropout": 0.1})
    task = read_task(config)
    with Run(tmp_path / "whole", config) as run:
        train_on(task, config, run, torch.device("cpu"))

    class Stopping(Run):
        asked = 0

        def stopping(self) -> bool:
            return self.asked > 6

        def due(self, step: int, every: int) -> bool:  # type: ignore[override]
            self.asked = step
            return Run.due(step, every)

    with Stopping(tmp_path / "parts", config) as run:
        train_on(read_task(config), config, run, torch.device("cpu"))
    assert read_metrics(tmp_path / "parts")[-1]["step"] < 12
    with Run(tmp_path / "parts", config) as run:
        train_on(read_task(config), config, run, torch.device("cpu"))
    one, other = (torch.load(tmp_path / name / "resume.pt", weights_only=True)["parts"] for name in ("whole", "parts"))
    for name, value in one["learner"].items():
        assert torch.equal(value, other["learner"][name])
    assert one["best"] == other["best"]
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]
    train(config, tmp_path / "parts")  # a finished run is left alone


def test_what_cannot_be_learnt_from_is_counted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    transcripts = plant(tmp_path, n=20)
    transcripts["stranger"] = ["a"]
    transcripts["u0"] = []
    transcripts["u1"] = ["a"] * 200
    del transcripts["u2"]
    write_transcripts(tmp_path / "phones.tsv", transcripts)
    config = configured(tmp_path, steps=1)
    left_out = read_task(config).training.left_out
    assert (left_out.no_speech, left_out.no_transcript, left_out.empty, left_out.too_long) == (1, 1, 1, 1)
    train(config, tmp_path / "run")
    assert "left out: 1 without speech, 1 without transcript, 1 with an empty" in " ".join(
        capsys.readouterr().err.split()
    )

    text = text_folder(tmp_path / "text", ("a", "b"), [["a", "b"]])
    with pytest.raises(UserError, match="3 phones that the text has not: c d e"):
        read_task(configured(tmp_path, data={"text": text}))
    write_transcripts(tmp_path / "none.tsv", {"x": ["a"]})
    with pytest.raises(UserError, match=r"none of 1 transcripts can be learnt from; left out: 1 without speech"):
        read_task(configured(tmp_path, data={"transcripts": tmp_path / "none.tsv"}))
    with pytest.raises(UserError, match=r"(?s)gradient is (nan|inf) at step"):
        train(configured(tmp_path, steps=9, optimizer={"lr": 1e30, "clip": 0}), tmp_path / "nan")
    with pytest.raises(UserError, match="cannot be fine-tuned"):
        open_tuned(TunedEncoderConfig(finetune=True, spec="mfcc"), MaskConfig())
    with pytest.raises(UserError, match="rounds need data.text"):
        StudentConfig.parse({"data": {"speech": "x", "transcripts": "y"}, "rounds": 2}, "t")
    with pytest.raises(UserError, match="references are not to be relabelled"):
        data = {"speech": "x", "transcripts": "y", "text": "z", "labels": "reference"}
        StudentConfig.parse({"data": data, "rounds": 2}, "t")
