import json

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from textless.audio.manifest import Manifest, Utterance, read_manifest, write_manifest
from textless.audio.scan import scan
from textless.errors import UserError
from textless.features import store
from units.bpe import SENTENCE, UnitBPE, encode_file, load_bpe, train_bpe
from units.cli import app
from units.files import Units, read_units, write_units
from units.identity import stated_identity
from units.pitch import PitchTracker
from units.prosody import NormalisedPitch, PitchBins, add_pitch, fit_pitch_bins, load_pitch_bins, unit_pitch

IDENTITY = stated_identity("mfcc@50", 30, 50.0)


def run(*arguments, ok=True):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if ok:
        assert result.exit_code == 0, (result.output, result.exception)
    return result


def spoken(n=80, seed=0):
    """Utterances made of a few recurring strings of units; unit 29 never occurs."""
    rng = np.random.default_rng(seed)
    words = [rng.integers(0, 29, rng.integers(2, 7)).tolist() for _ in range(25)]
    items = []
    for i in range(n):
        units = [u for w in rng.integers(0, 25, rng.integers(0, 12)) for u in words[w]]
        items.append(Units(f"ü/{i}", units, rng.integers(1, 9, len(units)).tolist()))
    return items


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bpe")
    write_units(folder / "u.jsonl", IDENTITY, spoken())
    return train_bpe(folder / "u.jsonl", folder / "bpe", 100, max_units=10**6, max_length=6)


@given(st.lists(st.integers(0, 29), max_size=40))
def test_tokens_are_units_again(bpe, units):
    tokens = bpe.encode(Units("a", units))
    assert bpe.decode(tokens) == Units("a", units)


def test_tokens_are_longer_and_last_as_long(bpe):
    items = spoken()
    encoded = [bpe.encode(item) for item in items]
    assert sum(len(item.units) for item in encoded) < 0.5 * sum(len(item.units) for item in items)
    for item, tokens in zip(items, encoded, strict=True):
        ends = np.cumsum([len(bpe.pieces[token]) for token in tokens.units], dtype=int)
        assert np.array_equal(np.cumsum(tokens.durations), np.cumsum(item.durations)[ends - 1])
    assert len(bpe.pieces) == 100
    assert {2, 6} <= {len(piece) for piece in bpe.pieces} <= {1, 2, 3, 4, 5, 6}
    assert bpe.encode(Units("unseen", [29, 29])).units  # a unit that training never met has a token too


def test_bpe_by_command(tmp_path):
    write_units(tmp_path / "u-00000-of-00002.jsonl", IDENTITY, spoken()[:40])
    write_units(tmp_path / "u-00001-of-00002.jsonl", IDENTITY, spoken()[40:])
    options = ["--vocabulary", 80, "--max-length", 4, "--seed", 1]
    run("bpe", "train", tmp_path / "u.jsonl", tmp_path / "bpe", *options, "--max-units", 300)
    model = load_bpe(tmp_path / "bpe")
    assert max(map(len, model.pieces)) <= 4
    drawn = json.loads((tmp_path / "bpe" / "config.json").read_text())["trained"]["units"]
    assert 300 - max(len(item.units) for item in spoken()) < drawn <= 300
    run("bpe", "train", tmp_path / "u.jsonl", tmp_path / "whole", *options)
    assert load_bpe(tmp_path / "whole").tokens != model.tokens  # the sample was smaller
    run("bpe", "train", tmp_path / "u.jsonl", tmp_path / "whole", *options, "--max-units", 300, "--force")
    assert load_bpe(tmp_path / "whole").tokens == model.tokens  # and the same draw gives the same model

    run("bpe", "encode", tmp_path / "u.jsonl", tmp_path / "t.jsonl", "--bpe", tmp_path / "bpe")
    tokens = read_units(tmp_path / "t.jsonl")
    assert tokens.quantizer == model.tokens
    assert (tokens.quantizer.k, tokens.quantizer.frame_rate) == (80, 50.0)
    run("bpe", "decode", tmp_path / "t.jsonl", tmp_path / "v.jsonl", "--bpe", tmp_path / "bpe")
    assert read_units(tmp_path / "v.jsonl").quantizer == IDENTITY
    assert [item.units for item in read_units(tmp_path / "v.jsonl").utterances] == [item.units for item in spoken()]
    wrong = run("bpe", "decode", tmp_path / "u.jsonl", tmp_path / "w.jsonl", "--bpe", tmp_path / "bpe", ok=False)
    assert "K=80" in str(wrong.exception)
    assert "K=30" in str(wrong.exception)
    again = run("bpe", "encode", tmp_path / "u.jsonl", tmp_path / "t.jsonl", "--bpe", tmp_path / "bpe", ok=False)
    assert "exists already" in str(again.exception)
    run("bpe", "encode", tmp_path / "u.jsonl", tmp_path / "t.jsonl", "--bpe", tmp_path / "whole", "--force")
    run("bpe", "decode", tmp_path / "t.jsonl", tmp_path / "v.jsonl", "--bpe", tmp_path / "whole", "--force")
    assert [item.units for item in read_units(tmp_path / "v.jsonl").utterances] == [item.units for item in spoken()]


def test_bpe_that_cannot_be_trained_or_read(tmp_path):
    write_units(tmp_path / "u.jsonl", IDENTITY, spoken(5))
    for vocabulary, message in ((30, "30 tokens for 30 units"), (5000, "does not make 5000 tokens")):
        with pytest.raises(UserError, match=message):
            train_bpe(tmp_path / "u.jsonl", tmp_path / "bpe", vocabulary, max_units=9999, max_length=8)
    write_units(tmp_path / "e.jsonl", IDENTITY, [])
    with pytest.raises(UserError, match="holds no units"):
        train_bpe(tmp_path / "e.jsonl", tmp_path / "bpe", 40, max_units=9999, max_length=8)
    with pytest.raises(UserError, match=r"config\.json is missing"):
        load_bpe(tmp_path / "bpe")
    train_bpe(tmp_path / "u.jsonl", tmp_path / "bpe", 40, max_units=9999, max_length=8)
    (tmp_path / "bpe" / "bpe.model").write_bytes(b"x")
    with pytest.raises(UserError, match="not the file that"):
        load_bpe(tmp_path / "bpe")


def test_a_long_utterance_is_learnt_from_too(tmp_path):
    units = [1, 2, 3, 4] * (SENTENCE // 2) + [5]
    write_units(tmp_path / "u.jsonl", IDENTITY, [Units("long", units)])
    model = train_bpe(tmp_path / "u.jsonl", tmp_path / "bpe", 33, max_units=10**6, max_length=8)
    assert [1, 2, 3, 4] in model.pieces
    assert UnitBPE(IDENTITY, model.model).decode(model.encode(Units("long", units))).units == units


def harmonics(frequency, seconds=1.0, top=4000):
    time = np.arange(round(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * np.cumsum(np.broadcast_to(frequency, time.shape)) / 16_000
    count = int(top / np.max(frequency))
    return torch.tensor(sum(np.sin(n * phase) / n for n in range(1, count + 1)) * 0.2, dtype=torch.float32)


@pytest.mark.parametrize("frequency", [75, 110, 233, 480])
def test_the_pitch_of_a_steady_voice(frequency):
    pitch = PitchTracker(50).track(harmonics(frequency))
    assert pitch.shape == (50,)
    assert pitch[3:-3] == pytest.approx(np.full(44, frequency), rel=2e-3)  # a parabola between samples at 16 kHz


def test_a_glide_is_followed_and_frames_are_centred():
    glide = np.linspace(100, 200, 32_000)
    tracker = PitchTracker(100)
    pitch = tracker.track(harmonics(glide, 2.0))
    centres = ((np.arange(200) + 0.5) * 160).astype(int)
    assert pitch[5:-5] == pytest.approx(glide[centres][5:-5], rel=0.01)  # half a frame early would be 0.25 Hz off


def test_silence_noise_and_hum_have_no_pitch():
    tracker = PitchTracker(50)
    assert not tracker.track(torch.zeros(16_000)).any()
    assert (tracker.track(torch.randn(32_000) * 0.1) > 0).mean() < 0.02
    assert not tracker.track(torch.full((8_000,), 0.5)).any()
    half = torch.cat([harmonics(150), torch.zeros(16_000)])
    pitch = tracker.track(half)
    assert (pitch[2:48] > 0).all()
    assert not pitch[52:].any()
    assert len(tracker.track(torch.zeros(100))) == 0
    for rate, floor, ceiling in ((51, 65, 500), (50, 300, 200)):
        with pytest.raises(UserError, match="must divide 16000, and the floor"):
            PitchTracker(rate, floor, ceiling)


def test_the_pitch_of_human_speech_is_that_of_praat(speech_root):
    parselmouth = pytest.importorskip("parselmouth", reason="praat-parselmouth is not installed")
    manifest = scan(speech_root)[0]
    tracker, frames, same, far, both = PitchTracker(100), 0, 0, 0, 0
    for utterance in manifest.utterances[:: max(1, len(manifest) // 10)]:
        waveform = manifest.load(utterance)
        ours = tracker.track(waveform)
        sound = parselmouth.Sound(waveform.numpy().astype(np.float64), 16_000)
        praat = sound.to_pitch_ac(time_step=0.01, pitch_floor=tracker.floor, pitch_ceiling=tracker.ceiling)
        theirs = np.nan_to_num([praat.get_value_at_time((i + 0.5) / 100) for i in range(len(ours))])
        voiced = (ours > 0) & (theirs > 0)
        frames, same = frames + len(ours), same + ((ours > 0) == (theirs > 0)).sum()
        both, far = both + voiced.sum(), far + (np.abs(np.log2(ours[voiced] / theirs[voiced])) > np.log2(1.2)).sum()
    # Praat interpolates peaks by a sinc where we take a parabola: decisions at the threshold differ.
    assert same > 0.93 * frames
    assert far < 0.01 * both


def test_padding_does_not_change_pitch():
    waves = [harmonics(120, 0.7), harmonics(200, 0.31)]
    tracker = PitchTracker(50)
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    padded[1, len(waves[1]) :] = torch.randn(len(waves[0]) - len(waves[1]))
    pitch, counts = tracker.forward(padded, torch.tensor([len(wave) for wave in waves]))
    assert counts.tolist() == [35, 15]
    for row, wave, count in zip(pitch, waves, counts.tolist(), strict=True):
        assert np.array_equal(row[:count, 0], tracker.track(wave))


def test_pitch_falls_into_bins_by_unit():
    bins = PitchBins(pitch="pitch@50", pitch_sha256="", frame_rate=50, edges=[-0.1, 0.1])
    values = np.array([0.5, np.nan, 0.3, np.nan, np.nan, -0.2, 0.0, np.nan])
    item = Units("a", [1, 2, 3, 4], [3, 2, 1, 2])
    assert unit_pitch(values, item, bins) == [3, 0, 1, 2]  # means 0.4, -, -0.2, and 0.0 with half its frames voiced
    assert bins.stream.size == 4
    assert unit_pitch(np.zeros(0), Units("b", [], []), bins) == []


@pytest.fixture
def voices(tmp_path):
    """Two speakers an octave apart, who say the same: a rise, a fall, and something unvoiced."""
    utterances = []
    for speaker, base in (("low", 100), ("high", 200)):
        for number, (start, end) in enumerate([(0.9, 1.2), (1.2, 0.9), (1.0, 1.1)]):
            path = f"{speaker}/{number}.wav"
            (tmp_path / speaker).mkdir(exist_ok=True)
            wave = torch.cat([harmonics(base * np.linspace(start, end, 16_000)), 0.001 * torch.randn(4_000)])
            soundfile.write(tmp_path / path, wave.numpy(), 16_000)
            utterances.append(Utterance(path.removesuffix(".wav"), path, len(wave), speaker))
    write_manifest(tmp_path / "m.tsv", Manifest(tmp_path, tuple(utterances)))
    return read_manifest(tmp_path / "m.tsv")


def test_pitch_is_relative_to_the_speaker(voices, tmp_path):
    manifest = tmp_path / "m.tsv"
    run("prosody", "pitch", manifest, tmp_path / "pitch", "--shards", 2)
    header = store.read_header(tmp_path / "pitch")
    assert (header.encoder, header.dim, header.frame_rate) == ("pitch@50", 1, 50.0)
    rng = np.random.default_rng(0)
    items = []
    for utterance in voices:
        durations = rng.multinomial(63 - 12, np.ones(12) / 12) + 1  # 62 frames of pitch, and one that is the encoder's
        items.append(Units(utterance.id, rng.integers(0, 30, 12).tolist(), durations.tolist()))
    write_units(tmp_path / "u.jsonl", IDENTITY, items)
    run("prosody", "fit", tmp_path / "pitch", tmp_path / "p.json", "--manifest", manifest, "--bins", 8)
    options = ["--pitch", tmp_path / "pitch", "--bins", tmp_path / "p.json"]
    run("prosody", "add", tmp_path / "u.jsonl", tmp_path / "v.jsonl", *options, "--manifest", manifest)
    found = read_units(tmp_path / "v.jsonl")
    assert found.streams == {"f0": load_pitch_bins(tmp_path / "p.json").stream}
    assert found.streams["f0"].size == 9
    assert [(u.id, u.units, u.durations) for u in found.utterances] == [(u.id, u.units, u.durations) for u in items]

    pitch = NormalisedPitch.of(store.FeatureStore(tmp_path / "pitch"), voices)
    voiced = np.concatenate([pitch[u.id][~np.isnan(pitch[u.id])] for u in voices])
    filled = np.bincount(np.searchsorted(load_pitch_bins(tmp_path / "p.json").edges, voiced), minlength=8) / len(voiced)
    assert filled == pytest.approx(np.full(8, 1 / 8), abs=0.02)
    for number in range(3):
        low, high = (pitch[f"{speaker}/{number}"] for speaker in ("low", "high"))
        both = ~np.isnan(low) & ~np.isnan(high)
        assert both.sum() > 45
        assert low[both] == pytest.approx(high[both], abs=0.02)  # an octave apart, but not from themselves
    rising = found.utterances[0].streams["f0"]
    assert rising[0] < rising[6] > 0
    assert rising[-1] == 0

    alone = NormalisedPitch.of(store.FeatureStore(tmp_path / "pitch"), None)
    assert np.nanmean(alone["low/0"]) == pytest.approx(0, abs=1e-9)
    run("prosody", "fit", tmp_path / "pitch", tmp_path / "alone.json", "--bins", 8)
    assert json.loads((tmp_path / "alone.json").read_text())["edges"] != load_pitch_bins(tmp_path / "p.json").edges
    run("prosody", "pitch", manifest, tmp_path / "pitch", "--floor", 80, "--force")
    assert store.read_header(tmp_path / "pitch").encoder_sha256 != header.encoder_sha256
    run("prosody", "fit", tmp_path / "pitch", tmp_path / "p.json", "--bins", 4, "--force")
    run("prosody", "add", tmp_path / "u.jsonl", tmp_path / "v.jsonl", *options, "--force")
    assert read_units(tmp_path / "v.jsonl").streams["f0"].size == 5


def test_pitch_that_does_not_belong_to_the_units(voices, tmp_path):
    run("prosody", "pitch", tmp_path / "m.tsv", tmp_path / "pitch", "--floor", 70, "--ceiling", 400)
    run("prosody", "pitch", tmp_path / "m.tsv", tmp_path / "other", "--frame-rate", 100)
    pitch = NormalisedPitch.of(store.FeatureStore(tmp_path / "pitch"), voices)
    other = NormalisedPitch.of(store.FeatureStore(tmp_path / "other"), voices)
    bins = fit_pitch_bins(pitch, tmp_path / "p.json", 4)
    for number, (item, source, message) in enumerate(
        [
            (Units("low/0", [1], [62]), other, "all three should agree"),
            (Units("low/0", [1]), pitch, "units without durations"),
            (Units("low/9", [1], [62]), pitch, "no pitch in the store"),
            (Units("low/0", [1], [50]), pitch, "50 frames of units and 62 of pitch"),
        ]
    ):
        write_units(tmp_path / f"{number}.jsonl", IDENTITY, [item])
        with pytest.raises(UserError, match=message):
            add_pitch(tmp_path / f"{number}.jsonl", tmp_path / "v.jsonl", source, bins)
    assert not (tmp_path / "v.jsonl").exists()
    with pytest.raises(UserError, match="exists already"):
        fit_pitch_bins(pitch, tmp_path / "p.json", 4)
    with pytest.raises(UserError, match="do not fill 100000 bins"):
        fit_pitch_bins(pitch, tmp_path / "q.json", 100_000)


def test_other_features_are_no_pitch(noise_corpus, tmp_path):
    from textless.encoders.encoder import load_encoder
    from textless.features.extract import store_features

    write_manifest(tmp_path / "m.tsv", scan(noise_corpus)[0])
    store_features(read_manifest(tmp_path / "m.tsv"), load_encoder("mfcc@50"), tmp_path / "f")
    with pytest.raises(UserError, match="holds features of mfcc@50; make pitch"):
        NormalisedPitch.of(store.FeatureStore(tmp_path / "f"), None)


def test_streams_stay_behind_when_units_are_merged(bpe, tmp_path):
    from units.files import Stream

    item = Units("a", [1, 2], [1, 1], {"f0": [0, 3]})
    write_units(tmp_path / "u.jsonl", IDENTITY, [item], {"f0": Stream(size=5, sha256="")})
    encode_file(tmp_path / "u.jsonl", tmp_path / "t.jsonl", bpe)
    assert read_units(tmp_path / "t.jsonl").streams == {}
