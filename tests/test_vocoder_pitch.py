"""Pitch as a stream of its own: pulses, levels, bins and codes; a vocoder that is told the pitch follows it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_vocoder_data import HOP, QUANTIZER

from textless.audio import io
from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.encoders.encoder import LayerEncoder
from textless.errors import UserError
from textless.features.extract import store_features
from textless.features.store import FeatureStore
from units.files import Units, read_units, write_units
from units.pitch import PitchTracker
from units.prosody import NormalisedPitch, add_pitch, fit_pitch_bins
from vocoder.conditions import Conditions
from vocoder.config import DataConfig, ModelConfig, VocoderConfig
from vocoder.data import Corpus
from vocoder.f0_config import F0Config, F0ModelConfig
from vocoder.f0_quantizer import F0Quantizer
from vocoder.harmonics import hertz, phases, pulses
from vocoder.intonation import Intonation, level_of
from vocoder.reading import load_corpus
from vocoder.train import train
from vocoder.vocoder import load_vocoder

N_FRAMES = 60
SPEAKERS = {"low": 100.0, "high": 220.0}  # Hz
TINY = {"width": 16, "hidden": 16, "dilations": (1,), "duration_width": 8, "duration_layers": 1}


def voice(f0: np.ndarray) -> np.ndarray:
    """Ten harmonics of F0 `(T,)` at frame rate, silent where it is 0."""
    samples = np.interp(np.arange(len(f0) * HOP), np.arange(len(f0)) * HOP + HOP / 2, np.where(f0 > 0, f0, f0.max()))
    phase = 2 * np.pi * np.cumsum(samples) / io.SAMPLE_RATE
    return 0.1 * sum(np.cos(k * phase) / k for k in range(1, 11)) * np.repeat(f0 > 0, HOP)


def contour(index: int, base: float) -> np.ndarray:
    """A melody of its own around `base`, with an unvoiced stretch."""
    generator = np.random.default_rng(index)
    time = np.arange(N_FRAMES) / N_FRAMES
    semitones = 4 * np.sin(2 * np.pi * (generator.uniform(0.5, 2) * time + generator.random()))
    semitones += generator.uniform(-3, 3)
    f0 = base * 2 ** (semitones / 12)
    f0[25:35] = 0
    return f0


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Units that know only what is voiced; two speakers an octave apart."""
    directory = tmp_path_factory.mktemp("sung")
    items, rows = [], []
    for index in range(16):
        speaker = list(SPEAKERS)[index % 2]
        waveform = voice(contour(index, SPEAKERS[speaker]))
        io.save(directory / f"{index:02d}.wav", waveform)
        items.append(Units(f"{index:02d}", [0, 1, 2], [25, 10, 25]))
        rows.append(Utterance(f"{index:02d}", f"{index:02d}.wav", len(waveform), speaker))
    write_units(directory / "units.jsonl", QUANTIZER, items)
    write_manifest(directory / "manifest.tsv", Manifest(directory, tuple(rows)))
    for rate in (50, 200):
        tracker = PitchTracker(rate)
        encoder = LayerEncoder(tracker.spec, tracker, 0, torch.device("cpu"))
        store_features(read_manifest(directory / "manifest.tsv"), encoder, directory / f"pitch{rate}")
    return directory


def load(directory: Path, conditions: Conditions, **changes: object) -> Corpus:
    settings = {"memory_gb": 1.0, "conditions": conditions, **changes}
    return load_corpus(directory / "units.jsonl", directory / "manifest.tsv", **settings)


def test_pulses_have_the_harmonics_of_the_pitch_and_nothing_between() -> None:
    f0 = torch.full((1, 50), 200.0)
    sound = pulses(f0, phases(f0, HOP), HOP)[0]
    assert len(sound) == 50 * HOP
    middle = sound[4000:12000]  # 2 Hz a bin
    power = torch.fft.rfft(middle * torch.hann_window(8000)).abs().square()
    harmonics = [power[100 * k] for k in range(1, 39)]
    assert min(harmonics) > 0.9 * max(harmonics)  # equally loud, up to 7600 Hz
    assert float(power[50:3800:100].max()) < 1e-4 * float(max(harmonics))
    torch.testing.assert_close(middle.square().mean().sqrt(), torch.tensor(0.1), atol=1e-3, rtol=0)


def test_pulses_follow_a_glide_and_stop_where_nothing_is_voiced() -> None:
    f0 = torch.cat([torch.linspace(150, 200, 60), torch.zeros(20)])[None]
    sound = pulses(f0, phases(f0, HOP), HOP)[0]
    tracked = PitchTracker(50).track(sound)
    assert np.abs(12 * np.log2(tracked[3:57] / f0[0, 3:57].numpy())).max() < 0.5  # a frame's window lasts 46 ms
    assert not sound[61 * HOP :].any()


def test_pulses_of_a_stretch_go_on_where_the_last_stopped() -> None:
    f0 = torch.from_numpy(contour(3, 150.0)).float()[None]
    phase = phases(f0, HOP)
    whole = pulses(f0, phase, HOP)
    part = pulses(f0[:, 10:50], phase[:, 10:50], HOP)
    inner = slice(1 * HOP, 39 * HOP)  # the frames at the ends do not know their neighbours
    torch.testing.assert_close(part[:, inner], whole[:, 10 * HOP : 50 * HOP][:, inner], atol=1e-6, rtol=0)


def test_levels_are_the_speakers_and_what_is_left_is_their_melody(sung: Path) -> None:
    corpus = load(sung, Conditions(pitch="raw"))
    for name in SPEAKERS:
        mine = [r for r in corpus.recordings if r.speaker == name]
        tracked = [PitchTracker(50).track(r.waveform.float() / 32768) for r in mine]
        assert corpus.cast.levels[name] == pytest.approx(level_of(tracked))
        assert {r.level for r in mine} == {corpus.cast.levels[name]}
        left = torch.cat([r.frames.pitch[r.frames.pitch[:, 1] > 0, 0] for r in mine])
        assert abs(float(left.mean())) < 1e-6
        batch = corpus.collate([(corpus.recordings.index(mine[0]), 0)], None)
        torch.testing.assert_close(
            hertz(batch.frames.pitch, batch.voices.levels)[0], torch.from_numpy(tracked[0]), rtol=1e-5, atol=0
        )


def test_stored_pitch_is_tracked_pitch(sung: Path) -> None:
    """A recording and its 16-bit copy, and what a store rounds to, differ by 0.01 semitones."""
    tracked, stored = (load(sung, Conditions(pitch="raw", store=store)) for store in (None, sung / "pitch50"))
    for a, b in zip(tracked.recordings, stored.recordings, strict=True):
        torch.testing.assert_close(a.frames.pitch, b.frames.pitch, atol=6e-4, rtol=0)


def test_validation_uses_the_levels_of_training(sung: Path, tmp_path: Path) -> None:
    corpus = load(sung, Conditions(pitch="raw"))
    file = read_units(sung / "units.jsonl")
    write_units(tmp_path / "units.jsonl", file.quantizer, file.utterances[:1])
    valid = load_corpus(
        tmp_path / "units.jsonl",
        sung / "manifest.tsv",
        memory_gb=1.0,
        conditions=Conditions(pitch="raw"),
        like=corpus,
    )
    assert torch.equal(valid.recordings[0].frames.pitch, corpus.recordings[0].frames.pitch)


def test_bins_come_from_the_units_file(sung: Path, tmp_path: Path) -> None:
    pitch = NormalisedPitch.of(FeatureStore(sung / "pitch50"), read_manifest(sung / "manifest.tsv"))
    bins = fit_pitch_bins(pitch, tmp_path / "prosody.json", bins=8)
    add_pitch(sung / "units.jsonl", tmp_path / "units.jsonl", pitch, bins)
    corpus = load_corpus(
        tmp_path / "units.jsonl", sung / "manifest.tsv", memory_gb=1.0, conditions=Conditions(pitch="bins")
    )
    assert corpus.pitch == bins.stream
    for recording in corpus.recordings:
        values = recording.units.streams["f0"]
        assert recording.frames.pitch.tolist() == np.repeat(values, [25, 10, 25]).tolist()
    other = fit_pitch_bins(pitch, tmp_path / "other.json", bins=9)
    add_pitch(sung / "units.jsonl", tmp_path / "valid.jsonl", pitch, other)
    with pytest.raises(UserError, match="pitch in other bins"):
        load_corpus(
            tmp_path / "valid.jsonl",
            sung / "manifest.tsv",
            memory_gb=1.0,
            conditions=corpus.conditions,
            like=corpus,
        )


def quantizer(rate: float = 200.0, tracker: PitchTracker | None = None) -> F0Quantizer:
    torch.manual_seed(1)
    found = F0Quantizer(F0ModelConfig(codes=5, width=4, dimension=4), rate, (tracker or PitchTracker(200)).sha256())
    found.codebook.codes.copy_(torch.randn(5, 4))
    return found.eval().requires_grad_(False)


def test_codes_of_an_f0_quantizer_cover_the_frames_of_units(sung: Path) -> None:
    own = quantizer()
    corpus = load(sung, Conditions(pitch="bins", f0_quantizer=own, store=sung / "pitch200"))
    assert corpus.pitch == own.stream
    found = corpus.recordings[0].frames.pitch
    assert found.shape == (N_FRAMES,)
    assert torch.equal(found, found[::4].repeat_interleave(4))  # 12.5 Hz at 50 Hz
    assert len(found.unique()) > 1


def test_what_does_not_fit_is_refused_with_the_remedy(sung: Path) -> None:
    with pytest.raises(UserError, match="prosody pitch --frame-rate 50"):
        load(sung, Conditions(pitch="raw", store=sung / "pitch200"))
    with pytest.raises(UserError, match="has no stream 'f0'.*prosody"):
        load(sung, Conditions(pitch="bins"))
    with pytest.raises(UserError, match="tracker with other settings"):
        load(sung, Conditions(pitch="bins", f0_quantizer=quantizer(tracker=PitchTracker(200, floor=80.0))))
    with pytest.raises(UserError, match="pitch cannot be tracked at 33.5 Hz"):
        Intonation(33.5)


def test_recordings_that_a_store_lacks_are_counted(sung: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    manifest = read_manifest(sung / "manifest.tsv")
    write_manifest(tmp_path / "some.tsv", Manifest(manifest.root, manifest.utterances[:10]))
    tracker = PitchTracker(50)
    encoder = LayerEncoder(tracker.spec, tracker, 0, torch.device("cpu"))
    store_features(read_manifest(tmp_path / "some.tsv"), encoder, tmp_path / "pitch")
    assert len(load(sung, Conditions(pitch="raw", store=tmp_path / "pitch")).recordings) == 10
    assert "6 without pitch in the store" in " ".join(capsys.readouterr().err.split())


def test_silence_has_no_level(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * HOP)
    io.save(tmp_path / "a.wav", noise)
    write_units(tmp_path / "units.jsonl", QUANTIZER, [Units("a", [0], [40])])
    write_manifest(tmp_path / "manifest.tsv", Manifest(tmp_path, (Utterance("a", "a.wav", 40 * HOP, "x"),)))
    with pytest.raises(UserError, match="no recording has a voiced frame"):
        load(tmp_path, Conditions(pitch="raw"))


def settings(directory: Path, model: dict[str, object], **changes: object) -> VocoderConfig:
    data = DataConfig(units=directory / "units.jsonl", manifest=directory / "manifest.tsv", **changes.pop("data", {}))
    values = {"steps": 2, "batch_size": 4, "segment_seconds": 0.4, "precision": "fp32", "valid_every": 0, **changes}
    return VocoderConfig.model_validate(
        {"data": data, "model": ModelConfig.model_validate({**TINY, **model}), **values}
    )


def test_sizes_that_the_data_do_not_have(sung: Path, tmp_path: Path) -> None:
    quantizer().save(tmp_path / "f0", F0Config())
    data = {"f0_quantizer": tmp_path / "f0"}
    with pytest.raises(UserError, match="set model.n_pitch_bins = 5"):
        train(settings(sung, {"pitch": "bins", "n_pitch_bins": 20}, data=data), tmp_path / "run")
    with pytest.raises(UserError, match='f0_quantizer is for model.pitch = "bins"'):
        train(settings(sung, {"pitch": "raw"}, data=data), tmp_path / "run")
    with pytest.raises(UserError, match='model.pitch = "none" reads none'):
        train(settings(sung, {}, data={"pitch": sung / "pitch50"}), tmp_path / "run")
    with pytest.raises(UserError, match="data.embeddings go together"):
        train(settings(sung, {"speaker": "embedding"}), tmp_path / "run")


@pytest.mark.parametrize("kind", ["istft", "hifigan"])
def test_a_vocoder_trained_on_codes_carries_its_f0_quantizer(kind: str, sung: Path, tmp_path: Path) -> None:
    own = quantizer()
    own.save(tmp_path / "f0", F0Config())
    hifigan = {"channels": 32, "block_kernels": (3,), "block_dilations": ((1,),)}
    model = {"kind": kind, "pitch": "bins", "n_pitch_bins": 5, "hifigan": hifigan}
    train(settings(sung, model, data={"f0_quantizer": tmp_path / "f0"}), tmp_path / "run")
    loaded = load_vocoder(tmp_path / "run", "cpu").model
    assert loaded.pitch == own.stream
    pitch = torch.randn(100, 2)
    assert torch.equal(loaded.f0_quantizer.encode(pitch), own.encode(pitch))


def test_a_vocoder_follows_the_pitch_it_is_told(sung: Path, tmp_path: Path) -> None:
    """Melodies and heights that it has not heard; the planted units say nothing of them."""
    model = {"pitch": "raw", "width": 32, "hidden": 32}
    train(settings(sung, model, steps=120, batch_size=8, log_every=40), tmp_path / "run")
    vocoder = load_vocoder(tmp_path / "run", "cpu")
    right = both = 0
    for index, (name, base) in enumerate(SPEAKERS.items()):
        f0 = contour(100 + index, base)
        logs = np.where(f0 > 0, np.log(np.maximum(f0, 1)) - float(vocoder.model.levels[vocoder.speaker_index(name)]), 0)
        pitch = torch.from_numpy(np.stack([logs, f0 > 0], axis=1).astype(np.float32))
        item = Units("new", [0, 1, 2], [25, 10, 25])
        for semitones in (0.0, 3.0):
            spoken = vocoder.synthesize([item], [name], pitch=[pitch], semitones=semitones)[0]
            tracked = PitchTracker(50).track(spoken)
            voiced = (tracked > 0) & (f0 > 0)
            error = 12 * np.log2(tracked[voiced] / f0[voiced]) - semitones
            right += int((np.abs(error) < 1).sum())
            both += int(voiced.sum())
    assert both > 150  # of 200 voiced frames
    assert right / both > 0.9
