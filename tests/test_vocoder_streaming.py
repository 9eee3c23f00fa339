"""Streaming and chunked synthesis equal offline synthesis, for every generator and stream; padding changes nothing."""

import math
from typing import Any

import pytest
import torch

from textless.errors import UserError
from textless.training.precision import Precision
from units.files import Units
from units.identity import QuantizerIdentity, stated_identity
from vocoder import vocoder as vocoder_module
from vocoder.config import HifiganConfig, ModelConfig
from vocoder.frames import expand_frames, pad_frames
from vocoder.hifigan import UnitHifigan
from vocoder.model import VocoderModel
from vocoder.streaming import VocoderStream
from vocoder.vocoder import Vocoder

QUANTIZER = stated_identity("log-mel", 7, 50.0)
HIFIGAN: dict[str, Any] = {
    "kind": "hifigan",
    "hifigan": HifiganConfig(embedding=8, channels=32, pitch_channels=2),
    "duration_width": 8,
}
ISTFT: dict[str, Any] = {"width": 16, "hidden": 16, "duration_width": 8}
CONFIGS = {
    "istft": ModelConfig(**ISTFT),
    "istft upsampled": ModelConfig(**ISTFT, upsample=2),
    "istft raw pitch": ModelConfig(**ISTFT, pitch="raw"),
    "istft styles, bins": ModelConfig(**ISTFT, pitch="bins", n_pitch_bins=5, n_styles=2),
    "hifigan": ModelConfig(**HIFIGAN, speaker="none", duration="variance"),
    "hifigan raw pitch": ModelConfig(**HIFIGAN, pitch="raw"),
    "hifigan embedding": ModelConfig(**HIFIGAN, speaker="embedding", speaker_size=4, duration="none"),
    "hifigan repeated units": ModelConfig(
        **HIFIGAN
        | {"hifigan": HifiganConfig(embedding=8, channels=32, rates=(5, 4, 2, 2, 2), kernels=(11, 8, 4, 4, 4))},
        upsample=2,
    ),
}
# The same sums in another order, at a peak near 1: float32 rounding.
TOLERANCE = {"atol": 2e-5, "rtol": 0}


def make(config: ModelConfig, quantizer: QuantizerIdentity = QUANTIZER, precision: Precision = "fp32") -> Vocoder:
    """A model whose weights make a sound of usual loudness, biases included."""
    torch.manual_seed(0)
    styles = ["calm", "loud"][: config.n_styles]
    model = VocoderModel(config, quantizer, ["a", "b"], styles=styles)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("original0"):  # the scale of weight norm: output about as large as input
                parameter.uniform_(0.8, 1.8)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        if config.pitch == "raw":
            model.levels.copy_(torch.tensor([math.log(100.0), math.log(200.0)]))
    return Vocoder(model, torch.device("cpu"), precision)


def contour(vocoder: Vocoder, n_frames: int, seed: int) -> torch.Tensor | None:
    generator = torch.Generator().manual_seed(seed)
    match vocoder.model.config.pitch:
        case "raw":
            voiced = torch.arange(n_frames) % 13 < 9
            return torch.stack([0.2 * torch.randn(n_frames, generator=generator) * voiced, voiced.float()], dim=1)
        case "bins":
            return torch.randint(5, (n_frames,), generator=generator)
    return None


def utterance(n: int, seed: int) -> Units:
    generator = torch.Generator().manual_seed(seed)
    units = torch.randint(7, (n,), generator=generator).tolist()
    return Units(str(seed), units, torch.randint(1, 6, (n,), generator=generator).tolist())


@pytest.fixture(scope="module", params=list(CONFIGS))
def vocoder(request: pytest.FixtureRequest) -> Vocoder:
    return make(CONFIGS[request.param])


def voices(vocoder: Vocoder) -> list[Any]:
    if vocoder.model.config.speaker == "embedding":
        return [vocoder.voice(embedding=torch.randn(4)) for _ in range(3)]
    return [vocoder.voice(name) for name in ("b", "a", "b")]


def test_batches_and_padding_change_nothing(vocoder: Vocoder) -> None:
    items = [utterance(n, seed) for seed, n in enumerate((40, 3, 17))]
    contours = [contour(vocoder, item.n_frames, 1) for item in items]
    speakers = voices(vocoder)
    together = vocoder.synthesize(items, speakers, pitch=contours)
    for item, speaker, pitch, waveform in zip(items, speakers, contours, together, strict=True):
        alone = vocoder.synthesize([item], [speaker], pitch=[pitch])[0]
        assert len(alone) == item.n_frames * 320
        assert alone.std() > 1e-3
        torch.testing.assert_close(waveform, alone, **TOLERANCE)
    frames, _ = pad_frames([expand_frames(items[0].units, items[0].durations or [], contours[0])])
    shorter = torch.tensor([20])
    cut = vocoder.model.generator(frames, speakers[0], shorter)[0]
    assert not cut[20 * 320 :].any()  # silent beyond the length


def test_stretches_equal_the_whole(vocoder: Vocoder, monkeypatch: pytest.MonkeyPatch) -> None:
    item = utterance(60, 5)
    pitch, speaker = contour(vocoder, item.n_frames, 2), voices(vocoder)[0]
    whole = vocoder.synthesize([item], [speaker], pitch=[pitch])[0]
    monkeypatch.setattr(vocoder_module, "MAX_FRAMES", 31)
    pieces = list(vocoder.pieces(item, speaker, pitch=pitch))
    assert len(pieces) > 4
    assert max(map(len, pieces)) <= (31 + vocoder.model.generator.context) * 320
    torch.testing.assert_close(torch.cat(pieces), whole, **TOLERANCE)
    torch.testing.assert_close(vocoder.synthesize([item], [speaker], pitch=[pitch])[0], whole, **TOLERANCE)


@pytest.mark.parametrize("name", CONFIGS)
def test_context_is_what_a_frame_depends_on(name: str) -> None:
    """The gradient of one frame's samples, by a unit that occurs once: zero beyond the context, and not before."""
    config, n, middle = CONFIGS[name], 80, 40
    vocoder = make(config, stated_identity("log-mel", n, 50.0))
    generator, pitch = vocoder.model.generator, contour(vocoder, n, 4)
    frames, length = pad_frames([expand_frames(list(range(n)), [1] * n, pitch)])
    generator(frames, voices(vocoder)[0], length)[0, middle * 320 : (middle + 1) * 320].sum().backward()
    table = generator.streams.unit if isinstance(generator, UnitHifigan) else generator.features.unit
    heard = table.weight.grad.abs().sum(dim=1).nonzero().flatten()
    reach = int((heard - middle).abs().max())
    assert reach <= generator.context
    assert reach >= generator.context - 1 or vocoder.model.needs_phase


@pytest.mark.parametrize("speed", [1.0, 1.3])
def test_stream_equals_offline(vocoder: Vocoder, speed: float) -> None:
    item, speaker = utterance(50, 6), voices(vocoder)[0]
    pitch = contour(vocoder, item.n_frames, 7)
    assert item.durations is not None
    offline = vocoder.synthesize([item], [speaker], pitch=[pitch], speed=speed)[0]
    stream = VocoderStream(vocoder, speaker, speed=speed)
    assert stream.latency == vocoder.model.generator.context / 50
    for _ in range(2):  # a stream may be used again
        pieces, frame, pushed = [], 0, 0
        for start, stop in ((0, 1), (1, 1), (1, 20), (20, 21), (21, 50)):
            durations = item.durations[start:stop]
            part = None if pitch is None else pitch[frame : frame + sum(durations)]
            pieces.append(stream.push(item.units[start:stop], durations, part))
            frame += sum(durations)
            pushed = sum(map(len, pieces))
            if speed == 1.0:  # what the latency promises
                assert pushed == max(0, frame - stream.latency_frames) * 320
        pieces.append(stream.finish())
        torch.testing.assert_close(torch.cat(pieces), offline, **TOLERANCE)


def test_stream_predicts_durations_as_offline() -> None:
    for name in ("istft", "hifigan"):
        vocoder = make(CONFIGS[name])
        item = Units("x", utterance(30, 8).units)
        offline = vocoder.synthesize([item], ["b"], speed=0.9)[0]
        stream = VocoderStream(vocoder, vocoder.voice("b"), speed=0.9)
        pieces = [stream.push([unit]) for unit in item.units]
        assert not any(map(len, pieces[: stream.latency_units]))
        torch.testing.assert_close(torch.cat([*pieces, stream.finish()]), offline, **TOLERANCE)
        with pytest.raises(ValueError, match="come before those without"):
            stream.push([1])
            stream.push([2], [3])


def test_a_prompt_with_durations_goes_on_without() -> None:
    vocoder, item = make(CONFIGS["istft"]), utterance(40, 8)
    predicted = vocoder.predict_durations([item], ["b"])[0]
    for begin in (1, 3, 25):
        timed = Units("x", item.units, [*item.durations[:begin], *predicted[begin:]])
        stream = VocoderStream(vocoder, vocoder.voice("b"))
        pieces = [stream.push(item.units[:begin], item.durations[:begin])]
        pieces += [stream.push([unit]) for unit in item.units[begin:]]
        offline = vocoder.synthesize([timed], ["b"])[0]
        torch.testing.assert_close(torch.cat([*pieces, stream.finish()]), offline, **TOLERANCE)


def test_bad_input_of_a_stream() -> None:
    stream = VocoderStream(make(CONFIGS["istft raw pitch"]))
    with pytest.raises(UserError, match=r"units 7\.\.7; the vocoder knows .* 0\.\.6"):
        stream.push([7], [1])
    with pytest.raises(UserError, match="has no pitch.*units prosody pitch"):
        stream.push([1], [1])
    with pytest.raises(ValueError, match="speed"):
        VocoderStream(stream.vocoder, speed=0)


def test_pitch_and_speed_go_together() -> None:
    """The pitch of a run is spread over its new length, and never comes from another run."""
    vocoder = make(CONFIGS["istft styles, bins"])
    item = Units("x", [1, 2, 3], [4, 6, 2], {"f0": [4, 0, 2]})
    slow = vocoder.synthesize([item], speed=0.5)[0]
    by_hand = Units("x", [1, 2, 3], [8, 12, 4], {"f0": [4, 0, 2]})
    assert torch.equal(slow, vocoder.synthesize([by_hand])[0])
    frames = torch.tensor([4] * 4 + [0] * 6 + [2] * 2)
    assert torch.equal(slow, vocoder.synthesize([item], speed=0.5, pitch=[frames])[0])
    with pytest.raises(UserError, match=r"pitch bins 0\.\.9"):
        vocoder.synthesize([item], pitch=[frames * 2 + 1 - (frames == 0).long()])
    with pytest.raises(UserError, match="pitch cannot be shifted"):
        vocoder.synthesize([item], semitones=1)


def test_semitones_raise_the_pitch() -> None:
    """Pulses an octave higher come twice as often: counted in what an untrained head lets through."""
    vocoder = make(CONFIGS["istft raw pitch"])
    item, pitch = Units("x", [1], [100]), torch.tensor([[0.0, 1.0]]).repeat(100, 1)
    shifted = vocoder.synthesize([item], ["a"], pitch=[pitch], semitones=12)[0]
    raised = pitch.clone()
    raised[:, 0] = math.log(2)
    torch.testing.assert_close(shifted, vocoder.synthesize([item], ["a"], pitch=[raised])[0], **TOLERANCE)
    spectrum = torch.fft.rfft(shifted[8000:24000] * torch.hann_window(16000)).abs()  # 1 Hz a bin
    odd, even = spectrum[[100, 300, 500]], spectrum[[200, 400, 600]]
    assert even.min() > 3 * odd.max()


def test_bf16_is_close_to_float32() -> None:
    item = utterance(60, 9)
    exact = make(CONFIGS["hifigan"]).synthesize([item])[0]
    rough = make(CONFIGS["hifigan"], precision="bf16").synthesize([item])[0]
    ratio = 10 * torch.log10(exact.square().sum() / (rough - exact).square().sum())
    assert 25 < ratio < 80  # bf16 keeps 8 bits: 50 dB a layer, some 20 layers add up; not equal, so it is in use
