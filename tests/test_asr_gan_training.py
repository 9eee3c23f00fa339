"""The adversarial loop: batches by seed and update alone, resumed equals uninterrupted, the best is kept."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from textless.errors import UserError
from textless.training.run import Run
from unsup_asr.gan import adversaries, losses
from unsup_asr.gan.config import DataConfig, DiscriminatorConfig, GanConfig, OptimizerConfig
from unsup_asr.gan.data import Crops, blurred, one_hot
from unsup_asr.gan.discriminator import Discriminator
from unsup_asr.gan.front_end import FrontEnd
from unsup_asr.gan.model import PhoneRecognizer
from unsup_asr.gan.train import train_on
from unsup_asr.gan.unpaired import Unpaired
from unsup_asr.phone_text import SILENCE, PhoneText

FRONT_END = FrontEnd("planted", "0" * 64, 50.0, 4, None, 1)
CPU = torch.device("cpu")


def unpaired() -> Unpaired:
    random = np.random.default_rng(0)
    sentences = [random.integers(5, size=random.integers(6, 20)) for _ in range(60)]
    speech = [random.standard_normal((random.integers(6, 20), 4)).astype(np.float32) for _ in range(40)]
    return Unpaired(speech, speech[:10], PhoneText(tuple("abcde"), sentences), FRONT_END)


def configured(**values: Any) -> GanConfig:
    data = DataConfig(speech=Path("speech"), text=Path("text"), crop=10)
    small = {"discriminator": DiscriminatorConfig(dim=8), "batch_size": 6, "valid_every": 4, "log_every": 4}
    return GanConfig(data=data, **{**small, "updates": 12, "save_every": 4, **values})


def test_every_sequence_comes_once_an_epoch_and_cuts_lie_inside() -> None:
    sequences = [np.arange(100 * i, 100 * i + n) for i, n in enumerate([4, 30, 12, 50, 8, 9])]
    crops = Crops(sequences, 3, 10, seed=1)
    rows = [(row, n) for update in range(2) for row, n in zip(*map(list, crops.batch(update)), strict=True)]
    assert sorted(int(row[0]) // 100 for row, _ in rows) == list(range(6))
    assert all(not row[n:].any() for row, n in rows)
    for row, n in rows:
        whole = sequences[int(row[0]) // 100]
        assert n == min(10, len(whole))
        assert np.isin(row[:n], whole).all()
        assert (np.diff(row[:n]) == 1).all()
    assert torch.equal(Crops(sequences, 3, 10, seed=1).batch(7)[0], crops.batch(7)[0])
    hot = one_hot(torch.tensor([[1, 0]]), torch.tensor([1]), 3)
    assert hot.tolist() == [[[0, 1, 0], [0, 0, 0]]]


def test_the_discriminator_sees_as_much_of_speech_as_of_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    speech = [random.standard_normal((50, 4)).astype(np.float32) for _ in range(20)]
    sentences = [random.integers(5, size=40) for _ in range(20)]
    config = configured(updates=4, generator={"kernel": 1, "dropout": 0.0})
    seen = []
    score = Discriminator.score

    def watched(judge: Discriminator, drive: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        seen.append(lengths.tolist())
        return score(judge, drive, lengths)

    monkeypatch.setattr(Discriminator, "score", watched)
    with Run(tmp_path / "run", config) as run:
        train_on(Unpaired(speech, speech, PhoneText(tuple("abcde"), sentences), FRONT_END), config, run, CPU)
    assert seen == [[10] * 6] * 6  # although some rows are joined: what is cut is what the generator says


def test_noise_is_in_what_counts_and_falls_to_nothing() -> None:
    config = configured(instance_noise=0.5, instance_noise_updates=10)
    assert [config.noise_at(update) for update in (0, 5, 10, 20)] == [0.5, 0.25, 0, 0]
    assert configured(instance_noise=0.5).noise_at(10**6) == 0.5
    phones, lengths = torch.zeros(40, 30, 20), torch.full((40,), 20)
    noise = blurred(phones, lengths, 0.5, torch.Generator())
    assert not noise[:, 20:].any()
    assert noise[:, :20].std().item() == pytest.approx(0.5, abs=0.01)  # 16,000 numbers: 0.5 ± 0.003
    assert blurred(phones, lengths, 0.0, torch.Generator()) is phones


def test_a_resumed_run_is_the_uninterrupted_one_and_keeps_its_best(tmp_path: Path) -> None:
    data, config = unpaired(), configured()
    with Run(tmp_path / "whole", config) as run:
        train_on(data, config, run, CPU)

    class Stopping(Run):
        def stopping(self) -> bool:
            return self.asked > 7

        asked = 0

        def due(self, step: int, every: int) -> bool:  # type: ignore[override]
            self.asked = step
            return Run.due(step, every)

    with Stopping(tmp_path / "parts", config) as run:
        train_on(data, config, run, CPU)
    with Run(tmp_path / "parts", config) as run:
        assert json.loads((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 8
        train_on(data, config, run, CPU)

    states = [torch.load(tmp_path / name / "resume.pt", weights_only=True)["parts"] for name in ("whole", "parts")]
    for name in ("generator", "discriminator"):
        for key, value in states[0][name].items():
            assert torch.equal(value, states[1][name][key])
    assert states[0]["best"] == states[1]["best"]
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    validated = {row["step"]: row["weighted_perplexity"] for row in rows if "weighted_perplexity" in row}
    assert states[0]["best"]["step"] == min(validated, key=lambda step: validated[step])
    saved = PhoneRecognizer.load(tmp_path / "whole")
    assert saved.phones == tuple("abcde")
    alone = [saved.transcribe([sequence])[0].tolist() for sequence in data.valid]
    assert [phones.tolist() for phones in saved.transcribe(list(data.valid))] == alone


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    config = configured(generator_optimizer=OptimizerConfig(lr=1e30))
    with pytest.raises(UserError, match=r"the gradient is (nan|inf) at update \d"), Run(tmp_path / "r", config) as run:
        train_on(unpaired(), config, run, CPU)


def test_a_penalty_that_is_no_number_stops_the_run_which_keeps_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def broken(*arguments: Any) -> torch.Tensor:
        asked.append(arguments)
        return losses.gradient_penalty(*arguments) * (float("nan") if len(asked) > 3 else 1.0)

    monkeypatch.setattr(adversaries, "losses", SimpleNamespace(**{**vars(losses), "gradient_penalty": broken}))
    with (
        pytest.raises(UserError, match="the gradient is nan at update 7; .* keeps the best so far"),
        Run(tmp_path / "r", configured()) as run,
    ):
        train_on(unpaired(), configured(), run, CPU)
    kept = PhoneRecognizer.load(tmp_path / "r").generator.state_dict()
    assert all(value.isfinite().all() for value in kept.values())
    state = torch.load(tmp_path / "r" / "resume.pt", weights_only=True)
    assert state["step"] == 4
    assert all(value.isfinite().all() for value in state["parts"]["discriminator"].values())


def test_utterances_shorter_than_the_kernels_and_a_phone_that_never_occurs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sentences = [random.integers(5, size=random.integers(1, 4)) for _ in range(60)]
    speech = [random.standard_normal((random.integers(1, 4), 4)).astype(np.float32) for _ in range(40)]
    data = Unpaired(speech, speech[:10], PhoneText(tuple("abcdef"), sentences), FRONT_END)
    with Run(tmp_path / "r", configured()) as run:
        train_on(data, configured(), run, CPU)
    rows = [json.loads(line) for line in (tmp_path / "r" / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for row in rows for value in row.values())
    assert {row["usage"] for row in rows if "usage" in row} <= {n / 5 for n in range(7)}  # of the phones that occur
    assert len(PhoneRecognizer.load(tmp_path / "r").transcribe(data.valid)) == 10


def test_text_of_silences_alone_is_refused(tmp_path: Path) -> None:
    data = unpaired()
    silent = PhoneText((*"abcd", SILENCE), [np.full(5, 4), np.full(9, 4)])
    with (
        pytest.raises(UserError, match="the text has no phones to judge by"),
        Run(tmp_path / "r", configured()) as run,
    ):
        train_on(Unpaired(data.speech, data.valid, silent, FRONT_END), configured(), run, CPU)
