"""Predicted pitch: what units say of it is learned; streams and command line agree with the library."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from test_ulm_model import lively
from test_vocoder_streaming import CONFIGS, QUANTIZER, TOLERANCE, make, utterance
from test_vocoder_synthesize import ITEMS, run, save_model, units

from textless.errors import UserError
from textless.pipeline.speech import SpeechPipeline
from textless.speakers.embeddings import Embeddings, write_embeddings
from textless.training.checkpoint import load_model
from textless.training.checkpoint import save_model as save_weights
from ulm.language_model import TransformerLanguageModel
from ulm.sampling import Sampling
from units.files import Stream, Units, write_units
from vocoder.config import ModelConfig
from vocoder.frames import Frames, expand_frames, pad_frames
from vocoder.model import FORMAT, VERSION
from vocoder.pitch_predictor import PitchPredictor, pitch_error
from vocoder.streaming import VocoderStream
from vocoder.vocoder import load_vocoder
from vocoder.voices import Voices

__all__ = ["units"]  # a fixture
HEIGHTS = torch.tensor([0.0, -0.3, 0.0, 0.3])  # of units in log F0; unit 0 is unvoiced
BINS = torch.tensor([0, 2, 1, 4])
PITCHED = ("istft raw pitch", "istft styles, bins", "hifigan raw pitch")


def sung(seed: int) -> Frames:
    """Units whose pitch falls by 0.1 over a run."""
    generator = torch.Generator().manual_seed(seed)
    units = torch.randint(4, (12,), generator=generator).tolist()
    frames = expand_frames(units, torch.randint(1, 9, (12,), generator=generator).tolist())
    voiced = (frames.units > 0).float()
    falling = HEIGHTS[frames.units] - 0.05 * frames.features[:, 0]
    return Frames(frames.units, frames.features, torch.stack([falling * voiced, voiced], dim=1))


def binned(frames: Frames) -> Frames:
    return Frames(frames.units, frames.features, BINS[frames.units])


@pytest.mark.parametrize("form", ["raw", "bins"])
def test_the_pitch_of_units_is_learned(form: str) -> None:
    config = ModelConfig(pitch=form, n_pitch_bins=5 if form == "bins" else 0, pitch_width=32, pitch_dilations=(1,))
    model = PitchPredictor(config, 4, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    make_one = sung if form == "raw" else lambda seed: binned(sung(seed))
    for step in range(150):
        frames, lengths = pad_frames([make_one(8 * step + i) for i in range(8)])
        loss = pitch_error(model(frames, Voices(torch.zeros(8).long()), lengths), frames.pitch, lengths)
        optimizer.zero_grad()
        (loss / lengths.sum()).backward()
        optimizer.step()
    frames, lengths = pad_frames([make_one(-1)])
    with torch.no_grad():
        found = model.predict(frames, Voices(torch.zeros(1).long()), lengths)
    if form == "bins":
        assert torch.equal(found, frames.pitch)
    else:
        assert torch.equal(found[:, :, 1], frames.pitch[:, :, 1])
        assert float((found - frames.pitch).abs().max()) < 0.03  # half a semitone, of heights five apart


@pytest.mark.parametrize("form", ["raw", "bins"])
def test_the_error_does_not_hear_padding(form: str) -> None:
    config = ModelConfig(pitch=form, n_pitch_bins=5 if form == "bins" else 0, pitch_width=16)
    model, items = PitchPredictor(config, 4, 1), [sung(i) if form == "raw" else binned(sung(i)) for i in range(4)]
    single = [pad_frames([item]) for item in items]
    together, lengths = pad_frames(items)
    whole = pitch_error(model(together, Voices(torch.zeros(4).long()), lengths), together.pitch, lengths)
    parts = [pitch_error(model(f, Voices(torch.zeros(1).long()), n), f.pitch, n) for f, n in single]
    torch.testing.assert_close(whole, torch.stack(parts).sum())


@pytest.mark.parametrize("name", PITCHED)
def test_a_stream_predicts_as_offline(name: str) -> None:
    vocoder, item = make(CONFIGS[name]), utterance(60, 8)
    assert item.durations is not None
    semitones = 2.0 if vocoder.model.config.pitch == "raw" else 0.0
    offline = vocoder.synthesize([item], ["b"], semitones=semitones, predict_pitch=True)[0]
    stream = VocoderStream(vocoder, vocoder.voice("b"), semitones=semitones, predict_pitch=True)
    assert stream.latency == (vocoder.model.generator.context + sum(ModelConfig().pitch_dilations)) / 50
    pieces, frame = [], 0
    for unit, duration in zip(item.units, item.durations, strict=True):
        pieces.append(stream.push([unit], [duration]))
        frame += duration
        assert sum(map(len, pieces)) == max(0, frame - stream.latency_frames) * 320
    torch.testing.assert_close(torch.cat([*pieces, stream.finish()]), offline, **TOLERANCE)


def test_given_pitch_comes_before_predicted() -> None:
    stream = VocoderStream(make(CONFIGS["istft raw pitch"]), predict_pitch=True)
    stream.push([1], [3], torch.zeros(3, 2))
    stream.push([2], [3])
    with pytest.raises(ValueError, match="with pitch come before those without"):
        stream.push([1], [3], torch.zeros(3, 2))


def test_predicted_pitch_is_of_the_new_durations() -> None:
    """At half the speed the same units are other frames, whose pitch is that of units that lasted so long."""
    vocoder, item = make(CONFIGS["istft raw pitch"]), Units("x", [1, 2, 3], [4, 6, 2])
    slow = vocoder.synthesize([item], speed=0.5, predict_pitch=True)[0]
    assert torch.equal(slow, vocoder.synthesize([Units("x", [1, 2, 3], [8, 12, 4])], predict_pitch=True)[0])


def test_a_continuation_has_the_pitch_of_its_prompt_and_goes_on() -> None:
    prompt = Units("speech", [3, 1, 4, 0, 5], [5, 7, 5, 6, 7])
    encoder = SimpleNamespace(encode=lambda waveforms, _ids: [prompt] * len(waveforms))
    model = TransformerLanguageModel(lively(k=7), QUANTIZER, 64, units_per_second=20.0)
    vocoder = make(CONFIGS["istft raw pitch"])
    pipeline = SpeechPipeline(SimpleNamespace(speech_to_units=encoder, language_model=model, vocoder=vocoder))
    time = torch.arange(prompt.n_frames * 320) / 16_000
    waveform = 0.3 * torch.cos(2 * torch.pi * 150 * time) + 0.2 * torch.cos(2 * torch.pi * 300 * time)
    whole = pipeline.continue_(waveform, n=1, seconds=1.0, temperature=1.0, seed=3, speaker="b")[0]
    told = pipeline.converter.pitch(waveform, prompt)
    predicted = vocoder.predict_pitch(expand_frames(whole.units.units, whole.units.durations), vocoder.voice("b"))
    pitch = torch.cat([told, predicted[prompt.n_frames :]])
    assert float(told[:, 1].sum()) > 20
    torch.testing.assert_close(whole.waveform, vocoder.synthesize([whole.units], ["b"], pitch=[pitch])[0], **TOLERANCE)
    pieces = pipeline.stream_continue(waveform, Sampling(temperature=1.0, seed=3), seconds=1.0, speaker="b")
    torch.testing.assert_close(torch.cat(list(pieces)), whole.waveform, **TOLERANCE)


def test_pitch_from_model(units: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", pitch="raw")
    with pytest.raises(UserError, match="a has no pitch.*--pitch-from model"):
        run("synthesize", units, tmp_path / "out", "--model", model)
    run("synthesize", units, tmp_path / "out", "--model", model, "--pitch-from", "model")
    expected = load_vocoder(model, "cpu").synthesize(ITEMS, predict_pitch=True)
    for item, waveform in zip(ITEMS, expected, strict=True):
        found = soundfile.read(tmp_path / "out" / f"{item.id}.wav", dtype="float32")[0]
        np.testing.assert_allclose(found, waveform.clamp(-1, 1), atol=2**-15)
    with pytest.raises(UserError, match="either read from .* or predicted"):
        run("synthesize", units, tmp_path / "no", "--model", model, "--pitch-from", "model", "--f0", tmp_path)


def test_pitch_from_model_overrides_bins_of_the_units(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", pitch="bins", n_pitch_bins=5)
    streams = [Units(item.id, item.units, item.durations, {"f0": [1] * len(item.units)}) for item in ITEMS]
    write_units(tmp_path / "units.jsonl", QUANTIZER, streams, {"f0": Stream(size=5, sha256="5" * 64)})
    run("synthesize", tmp_path / "units.jsonl", tmp_path / "out", "--model", model, "--pitch-from", "model")
    vocoder = load_vocoder(model, "cpu")
    expected = vocoder.synthesize(ITEMS, predict_pitch=True)[0]
    assert not torch.equal(expected, vocoder.synthesize(streams)[0])
    found = soundfile.read(tmp_path / "out" / "a.wav", dtype="float32")[0]
    np.testing.assert_allclose(found, expected.clamp(-1, 1), atol=2**-15)


def test_vocoders_that_do_not_predict_say_so(units: Path, tmp_path: Path) -> None:
    """Without pitch, told not to, and of the version before."""
    told = save_model(tmp_path / "told", pitch="raw", pitch_predictor=False)
    header, weights = load_model(told, FORMAT, VERSION)
    settings = {name: value for name, value in header["model"].items() if not name.startswith("pitch_")}
    known = {name: header[name] for name in ("quantizer", "speakers", "sample_rate")}
    save_weights(tmp_path / "old", FORMAT, 2, weights, model=settings, **known)
    for model in (save_model(tmp_path / "plain"), told, tmp_path / "old"):
        with pytest.raises(UserError, match="a has no pitch and the vocoder does not predict it"):
            run("synthesize", units, tmp_path / "out", "--model", model, "--pitch-from", "model")


def test_predicted_pitch_needs_the_height_of_the_voice(units: Path, tmp_path: Path) -> None:
    """Of embeddings, those of training speakers have one; a stranger's is asked for."""
    model = save_model(tmp_path / "model", pitch="raw", speaker="embedding", speaker_size=4)
    vectors = torch.nn.functional.normalize(torch.randn(2, 4), dim=1)
    write_embeddings(tmp_path / "speakers", Embeddings(["m", "stranger"], vectors, "speaker", "x", "0" * 64))
    arguments = ["synthesize", units, tmp_path / "out", "--model", model, "--embeddings", tmp_path / "speakers"]
    run(*arguments, "--pitch-from", "model", "--speaker", "m")
    vocoder = load_vocoder(model, "cpu")
    voice = vocoder.voice(embedding=vectors[0], level=float(vocoder.model.levels[1]))
    expected = vocoder.synthesize(ITEMS[:1], [voice], predict_pitch=True)[0]
    found = soundfile.read(tmp_path / "out" / "a.wav", dtype="float32")[0]
    np.testing.assert_allclose(found, expected.clamp(-1, 1), atol=2**-15)
    with pytest.raises(UserError, match="height of 'stranger', whom"):
        run(*arguments, "--pitch-from", "model", "--speaker", "stranger", "--force")
