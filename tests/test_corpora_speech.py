"""Synthetic speech: phones fit the signal, the same arguments give the same speech, the channel, the margin."""

import itertools
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("espeakng_loader")

from textless.audio import io
from textless.corpora.alignment import SILENCE, Segment
from textless.corpora.channel import SNR_DB, apply_channel
from textless.corpora.phone_events import Event, align
from textless.corpora.rendering import Job, render
from textless.corpora.synthesizer import Voice, _resample, require_language, synthesize, variants
from textless.errors import UserError

SENTENCE = "the old teacher carried six potatoes past the garden"
VOWELS = "aeiouæɪʊɛɔəɚɑʌɜ"


def energy(waveform: np.ndarray, segment: Segment) -> float:
    part = waveform[round(segment.start * 16000) : round(segment.end * 16000)]
    return float(np.mean(part**2))


@pytest.mark.parametrize("variant", ["f3", "m6", "adam", "pablo"])  # with echo, plain, Klatt synthesis, much echo
def test_phones_tile_the_waveform_and_fit_the_signal(variant: str) -> None:
    speech = synthesize(f"{SENTENCE}.", Voice("en-us", variant), 1)
    waveform = speech.waveform.numpy()
    assert speech.phones[0].start == 0
    assert speech.phones[-1].end == len(waveform) / 16000
    assert all(a.end == b.start and a.start < a.end for a, b in itertools.pairwise(speech.phones))
    by_label = defaultdict(list)
    for phone in speech.phones:
        by_label[phone.label].append(energy(waveform, phone))
    vowels = [e for label, energies in by_label.items() if label[0] in VOWELS for e in energies]
    assert np.median(vowels) > 100 * max(by_label[SILENCE])
    assert min(vowels) > max(by_label["t"]), "a stop is closure and burst"
    assert [word.label for word in speech.words] == SENTENCE.split()
    boundaries = {phone.start for phone in speech.phones}
    assert all(word.start in boundaries for word in speech.words)


def test_fricatives_are_high_and_vowels_low() -> None:
    speech = synthesize("she sees six sisters.", Voice("en-us", "m6"), 0)

    def centroid(segment: Segment) -> float:
        part = speech.waveform[round(segment.start * 16000) : round(segment.end * 16000)]
        power = torch.fft.rfft(part).abs() ** 2
        return float((power * torch.linspace(0, 8000, len(power))).sum() / power.sum())

    hissing = [centroid(phone) for phone in speech.phones if phone.label == "s"]
    vowels = [centroid(phone) for phone in speech.phones if phone.label[0] in VOWELS]
    assert len(hissing) >= 5
    assert min(hissing) > 1.5 * max(vowels)


def test_alignment_of_planted_events() -> None:
    # 0.1 s vowel, 0.05 s closure, burst announced at 0.15 s, a liquid with no time, 0.2 s of silence.
    rate = 1000
    signal = np.concatenate([np.full(100, 9000), np.zeros(50), np.full(50, 9000), np.zeros(200)]).astype(np.float32)
    events = [
        Event("word", 0, position=0, length=2),
        Event("phone", 0, "a"),
        Event("phone", 100, "l"),
        Event("phone", 150, "t"),
        Event("phone", 200, ""),
    ]
    phones, words = align(signal, rate, events, "alt.", len)
    assert [(p.label, p.start, p.end) for p in phones] == [
        ("a", 0.0, pytest.approx(0.065)), ("l", pytest.approx(0.065), 0.1), ("t", 0.1, 0.2), (SILENCE, 0.2, 0.4)
    ]  # fmt: skip
    assert words == [Segment(0.0, 0.2, "alt")]


def test_same_arguments_same_speech_whatever_was_said_before() -> None:
    for variant in ("grandpa", "f2", "Reed"):  # flutter, breath and echo, Klatt
        voice = Voice("en-us", variant)
        first = synthesize("The dog barked.", voice, 5)
        synthesize("Something else entirely.", Voice("de", "f4"), 6)
        again = synthesize("The dog barked.", voice, 5)
        assert torch.equal(first.waveform, again.waveform)
        assert first.phones == again.phones


@pytest.mark.parametrize("length", [1, 440, 441, 22050, 31007])
def test_resampling_is_that_of_audio_io(length: int) -> None:
    waveform = torch.randn(length, generator=torch.Generator().manual_seed(0))
    # The same filter, but audio.io designs it in float32: 90 dB below white noise.
    torch.testing.assert_close(_resample(waveform, 22050), io.resample(waveform, 22050), atol=1e-4, rtol=0)


def test_voices_languages_and_words_said_as_one() -> None:
    assert len(variants()) >= 40
    assert not {"whisper", "croak", "robosoft"} & set(variants())
    with pytest.raises(UserError, match=r"did you mean .*en-us"):
        require_language("en-uss")
    with pytest.raises(UserError, match="finds nothing to say"):
        synthesize("...", Voice("en-us", "m3"), 0)
    words = synthesize("Il fait beau en France.", Voice("fr-fr", "f4"), 0).words
    assert [word.label for word in words] == ["il", "fait", "beau", "en", "france"]
    joined = synthesize("He sat in the house.", Voice("en-us", "m3"), 0).words  # espeak-ng says "in the" as one word
    assert [word.label for word in joined] == ["he", "sat", "in", "the", "house"]


def test_channel_adds_noise_within_its_range_and_no_silence() -> None:
    time = np.arange(32000) / 16000
    tone = (0.3 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)
    for seed in range(5):
        recorded = apply_channel(tone, np.random.default_rng(seed))
        assert recorded.shape == tone.shape
        assert np.abs(recorded).max() < 1
        spectrum = np.abs(np.fft.rfft(recorded * np.hanning(len(tone)))) ** 2
        peak = np.argmax(spectrum)
        assert peak == 2000
        noise = spectrum.sum() - spectrum[peak - 40 : peak + 41].sum()  # the tone does not fill its last block
        assert SNR_DB[0] - 6 < 10 * math.log10(spectrum.sum() / noise) < SNR_DB[1] + 6


def test_render_shifts_the_truth_by_the_margin(tmp_path: Path) -> None:
    rendered = render(Job(tmp_path / "a.flac", f"{SENTENCE}.", Voice("en-us", "f4"), (1, 2)))
    waveform, _ = soundfile.read(str(tmp_path / "a.flac"))
    assert len(waveform) == rendered.n_samples
    first, last = rendered.phones[0], rendered.phones[-1]
    assert (first.label, last.label) == (SILENCE, SILENCE)
    speech = [energy(waveform, p) for p in rendered.phones if p.label[0] in VOWELS]
    assert np.median(speech) > 100 * max(energy(waveform, first), energy(waveform, last)) > 0, "noise, not zeros"
