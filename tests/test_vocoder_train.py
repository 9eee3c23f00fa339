"""Training learns planted units, voices and durations; stopping, resuming and sharing it out change nothing."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_vocoder_data import DURATIONS, FREQUENCIES, HOP, OTHER, QUANTIZER, sequences, tones, write_tones

from textless.errors import UserError
from textless.training.run import Run, read_metrics
from units.files import Units, write_units
from vocoder.config import (
    AdversarialConfig,
    DataConfig,
    HifiganConfig,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
    VocoderConfig,
    VocoderSchedule,
)
from vocoder.model import VocoderModel
from vocoder.train import train
from vocoder.vocoder import Vocoder, load_vocoder

__all__ = ["tones"]  # a fixture
TINY = ModelConfig(width=16, hidden=16, dilations=(1,), duration_width=8, duration_layers=1)
ADVERSARIAL = AdversarialConfig(start_step=1, channels=4)
HIFIGAN = {
    "model": ModelConfig(
        kind="hifigan",
        duration="variance",
        duration_width=8,
        hifigan=HifiganConfig(embedding=8, channels=32, block_kernels=(3,), block_dilations=((1,),)),
    ),
    "adversarial": AdversarialConfig(kind="hifigan", start_step=1, channels=4, weight=1.0, feature_matching=2.0),
    "loss": LossConfig(mel=45.0, stft=0.0, fft_sizes=(1024,)),
    "steps": 3,
}


def settings(directory: Path, **changes: object) -> VocoderConfig:
    data = DataConfig(units=directory / "units.jsonl", manifest=directory / "manifest.tsv")
    values = {"model": TINY, "steps": 4, "batch_size": 4, "segment_seconds": 0.2, "precision": "fp32", "save_every": 0}
    return VocoderConfig.model_validate({"data": data, "log_every": 1, "valid_every": 0, **values, **changes})


@pytest.fixture(scope="module")
def trained(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Vocoder:
    out = tmp_path_factory.mktemp("run") / "vocoder"
    model = ModelConfig(width=64, hidden=64, dilations=(1, 2), duration_width=32, duration_layers=2)
    config = settings(tones, model=model, steps=350, batch_size=8, segment_seconds=0.32, log_every=50)
    train(config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": 4e-3})}), out)
    return load_vocoder(out, "cpu")


def spectrum(waveform: torch.Tensor) -> torch.Tensor:
    return torch.fft.rfft(waveform * torch.hann_window(len(waveform))).abs()


def test_held_out_sequences_sound_at_their_units_frequencies(trained: Vocoder) -> None:
    for units in sequences(6, 8, seed=99):
        item = Units("new", units, [DURATIONS[unit] for unit in units])
        for waveform in trained.synthesize([item] * 2, ["loud", "soft"]):
            start = 0
            for unit, duration in zip(units, item.durations or [], strict=True):
                stop = start + duration * HOP
                if duration >= 5:  # the middle of a longer tone, away from its neighbours
                    middle = waveform[start + HOP : stop - HOP]
                    low = spectrum(middle)[: round(len(middle) * FREQUENCIES[unit] * 1.5 / 16000)]
                    peak = float(low.argmax()) * 16000 / len(middle)
                    assert abs(peak - FREQUENCIES[unit]) < 16000 / len(middle) + 25
                start = stop


def test_speakers_differ_in_loudness_and_timbre(trained: Vocoder) -> None:
    loud, soft = trained.synthesize([Units("new", [2, 3, 2, 3], [8, 12, 8, 12])] * 2, ["loud", "soft"])
    assert loud.square().mean().sqrt() > 3 * soft.square().mean().sqrt()
    tone = slice(8 * HOP + 2 * HOP, 20 * HOP - 2 * HOP)  # the first 2000 Hz
    octave = []
    for waveform in (loud, soft):
        bins = spectrum(waveform[tone])
        size = len(waveform[tone])
        first, second = (float(bins[round(f * size / 16000) - 3 :][:7].max()) for f in (2000, 4000))
        octave.append(second / first)
    assert octave[1] > 20 * octave[0]  # in the data only the soft voice has the octave


def test_durations_are_predicted(trained: Vocoder) -> None:
    units = sequences(1, 40, seed=5)[0]
    predicted = trained.predict_durations([Units("new", units)], [0])[0]
    expected = [DURATIONS[unit] for unit in units]
    assert sum(p == e for p, e in zip(predicted, expected, strict=True)) >= 36
    assert all(abs(p - e) <= 1 for p, e in zip(predicted, expected, strict=True))


def state(directory: Path) -> dict[str, object]:
    found: dict[str, object] = torch.load(directory / "resume.pt", weights_only=True)
    return found


def assert_same(a: object, b: object) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Ask the run to stop as SIGTERM would, during its step number `steps`."""
    asked = iter(range(1000))
    monkeypatch.setattr(Run, "stopping", lambda _run: next(asked) >= steps)


@pytest.mark.parametrize(
    "changes", [{}, {"adversarial": ADVERSARIAL}, HIFIGAN], ids=["plain", "spectrogram", "hifigan"]
)
def test_resumed_is_uninterrupted(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """Both optimizers and the discriminators, with the vectors of their spectral norm, go on where they were."""
    config = settings(tones, **changes)
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        train(config, tmp_path / "halves")
    assert state(tmp_path / "halves")["step"] == 2
    train(config, tmp_path / "halves")
    whole, halves = state(tmp_path / "whole"), state(tmp_path / "halves")
    assert set(whole["parts"]) == {"model", "optimizer", "critic", "critic_optimizer"}
    assert_same(whole["parts"], halves["parts"])
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_metrics(tmp_path / n)]
        for n in ("whole", "halves")
    ]
    assert rows[0] == rows[1]
    assert (tmp_path / "whole/model.safetensors").read_bytes() == (tmp_path / "halves/model.safetensors").read_bytes()


def test_the_adversarial_phase_begins_where_it_is_told_and_trains_both_sides(tones: Path, tmp_path: Path) -> None:
    train(settings(tones, adversarial=AdversarialConfig(start_step=2, channels=4)), tmp_path / "a")
    rows = read_metrics(tmp_path / "a")
    assert ["critic" in row for row in rows] == [False, False, True, True]
    train(settings(tones), tmp_path / "b")
    parts = [state(tmp_path / name)["parts"] for name in ("a", "b")]
    changed = [
        [key for key in parts[0][part] if not torch.equal(parts[0][part][key], parts[1][part][key])]
        for part in ("model", "critic")
    ]
    assert all(changed)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_model(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(tones, save_every=2, steps=6)
    out = tmp_path / "run"
    steps = iter(range(100))

    def broken(predicted: torch.Tensor, durations: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return predicted.sum() * (torch.nan if next(steps) == 3 else 0.0)

    monkeypatch.setattr("vocoder.train.duration_error", broken)
    with pytest.raises(
        UserError, match=r"step 3: loss nan.*learning rate of 0\.00012.*keeps the model of step 2.*lower"
    ):
        train(config, out)
    assert state(out)["step"] == 2
    assert all(torch.isfinite(weight).all() for weight in load_vocoder(out, "cpu").model.state_dict().values())
    monkeypatch.setattr("vocoder.train.duration_error", lambda predicted, *_: predicted.sum() * torch.inf)
    with pytest.raises(UserError, match="no step was saved before"):
        train(config, tmp_path / "other")


def test_gradients_are_clipped_unless_the_limit_is_zero(tones: Path, tmp_path: Path) -> None:
    weights = []
    for clip in (0.0, 1e9, 1e-6):
        optimizer = OptimizerConfig(clip=clip, schedule=VocoderSchedule(warmup_steps=0))
        train(settings(tones, steps=2, optimizer=optimizer), tmp_path / str(clip))
        weights.append(load_vocoder(tmp_path / str(clip), "cpu").model.generator.head.project.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_rate_decays_every_time_that_each_recording_gave_one_segment(tones: Path, tmp_path: Path) -> None:
    schedule = VocoderSchedule(name="constant", warmup_steps=0)
    optimizer = OptimizerConfig(lr=1e-3, epoch_decay=0.5, schedule=schedule)
    train(settings(tones, steps=7, optimizer=optimizer), tmp_path / "run")  # 12 recordings, 4 segments a step
    rates = [row["lr"] for row in read_metrics(tmp_path / "run")]
    assert rates == pytest.approx([1e-3] * 3 + [5e-4] * 3 + [2.5e-4])


def test_event_files_on_request(tones: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(settings(tones, steps=1, tensorboard=True), tmp_path / "run")
    assert list((tmp_path / "run").rglob("events.out.tfevents*"))


def test_a_finished_run_is_left_alone_unless_forced(
    tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(tones, steps=1)
    train(config, tmp_path / "run")
    before = (tmp_path / "run/resume.pt").stat().st_mtime_ns
    capsys.readouterr()
    train(config, tmp_path / "run")
    assert "nothing to do" in capsys.readouterr().err
    assert (tmp_path / "run/resume.pt").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="steps differ"):
        train(config.model_copy(update={"steps": 2}), tmp_path / "run")
    train(config, tmp_path / "run", force=True)
    assert (tmp_path / "run/resume.pt").stat().st_mtime_ns > before


def test_saving_logging_and_validating_are_independent(
    tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(Run, "save", lambda _run, step, _parts: saved.append(step))
    config = settings(tones, steps=12, save_every=5, log_every=3, valid_every=4)
    data = config.data.model_copy(update={"valid_units": config.data.units})
    train(config.model_copy(update={"data": data}), tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    assert saved == [5, 10, 12]
    assert [row["step"] for row in rows if "mel" in row] == [3, 6, 9, 12]
    assert [row["step"] for row in rows if "valid_mel" in row] == [4, 8, 12]


SCRIPT = """
import sys
from pathlib import Path
from vocoder.config import VocoderConfig
from vocoder.train import train
train(VocoderConfig.load(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def write_toml(path: Path, directory: Path, text: str) -> Path:
    path.write_text(f'{text}\n[data]\nunits = "{directory}/units.jsonl"\nmanifest = "{directory}/manifest.tsv"\n')
    return path


def launch(toml: Path, out: Path, **env: str) -> subprocess.Popen[bytes]:
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(toml), str(out)], env=variables, stderr=subprocess.PIPE)


def test_two_processes_train_what_one_trains(tones: Path, tmp_path: Path) -> None:
    """Same batches, same sums: parameters agree up to the order of float32 sums, magnified by Adam's division."""
    text = 'steps = 3\nbatch_size = 4\nsegment_seconds = 0.2\nprecision = "fp32"\nlog_every = 1\n'
    text += "model = {width = 16, hidden = 16, dilations = [1], duration_width = 8, duration_layers = 1, "
    text += 'pitch = "raw", pitch_width = 8}\n'
    text += 'adversarial = {kind = "hifigan", start_step = 1, channels = 4}'
    toml = write_toml(tmp_path / "config.toml", tones, text)
    port = str(20000 + os.getpid() % 20000)
    two = [
        launch(toml, tmp_path / "two", RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        for rank in range(2)
    ]
    train(VocoderConfig.load(toml), tmp_path / "one")
    for process in two:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
    one, shared = (state(tmp_path / name)["parts"] for name in ("one", "two"))
    for part in ("model", "critic"):
        for name, tensor in one[part].items():
            torch.testing.assert_close(
                shared[part][name], tensor, atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
            )
    for a, b in zip(read_metrics(tmp_path / "one"), read_metrics(tmp_path / "two"), strict=True):
        assert a["mel"] == pytest.approx(b["mel"], rel=1e-4)
        assert a["duration"] == pytest.approx(b["duration"], rel=1e-4)
        assert a["pitch"] == pytest.approx(b["pitch"], rel=1e-4)


def test_sigterm_saves_and_exits_with_zero(tones: Path, tmp_path: Path) -> None:
    toml = write_toml(tmp_path / "config.toml", tones, "steps = 100000\nbatch_size = 2\nlog_every = 1\nsave_every = 0")
    process = launch(toml, tmp_path / "run")
    assert process.stderr is not None
    for line in process.stderr:
        if b"step 2 " in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == 0
    reached = state(tmp_path / "run")["step"]
    assert isinstance(reached, int)
    assert 2 <= reached < 100
    assert VocoderModel.load(tmp_path / "run").speakers == ["loud", "soft"]


def test_a_batch_smaller_than_the_world(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from textless.distributed import World
    from vocoder import train as module

    with pytest.raises(UserError, match="batch_size"):
        module._load(settings(tones, batch_size=2), World(0, 3))


def test_paths_follow_the_toml_and_overrides_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    toml = tmp_path / "configs/vocoder.toml"
    toml.write_text('[data]\nunits = "../units.jsonl"\nmanifest = "m.tsv"\n')
    monkeypatch.chdir(tmp_path)
    config = VocoderConfig.load(toml, ["data.manifest=here.tsv", 'data.valid_units="v.jsonl"', "optimizer.lr=1e-4"])
    assert config.data.units == tmp_path / "units.jsonl"
    assert config.data.manifest == tmp_path / "here.tsv"
    assert config.data.valid_units == tmp_path / "v.jsonl"
    assert config.optimizer.lr == 1e-4
    with pytest.raises(UserError, match="shorter than the longest FFT"):
        VocoderConfig.load(toml, ["segment_seconds=0.01"])


def test_validation_units_of_another_quantizer(tones: Path, tmp_path: Path) -> None:
    write_tones(tmp_path, count=1)
    write_units(tmp_path / "units.jsonl", OTHER, [Units("loud/000", [1], [1])])
    config = settings(tones)
    data = config.data.model_copy(update={"valid_units": tmp_path / "units.jsonl"})
    with pytest.raises(UserError, match="was made with the quantizer"):
        train(config.model_copy(update={"data": data}), tmp_path / "run")


def test_the_model_states_its_quantizer_and_no_paths(tones: Path, tmp_path: Path) -> None:
    train(settings(tones, steps=1), tmp_path / "run")
    assert str(tones) not in (tmp_path / "run/config.json").read_text()
    vocoder = load_vocoder(tmp_path / "run", "cpu")
    assert vocoder.quantizer == QUANTIZER
    assert vocoder.speakers == ["loud", "soft"]
