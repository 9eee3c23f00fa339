"""The generator's head inverts the transform; padding and batching change nothing."""

import pytest
import torch
from test_vocoder_data import QUANTIZER

from textless.errors import UserError
from units.files import Units
from vocoder.config import ModelConfig, hop_length
from vocoder.frames import expand_frames, pad_frames
from vocoder.generator import Generator, ISTFTHead
from vocoder.model import VocoderModel
from vocoder.vocoder import Vocoder, at_speed
from vocoder.voices import Voices

SMALL = ModelConfig(width=32, hidden=48, dilations=(1, 2, 4), duration_width=16, duration_layers=2)


@pytest.mark.parametrize("hop", [320, 160, 64])
def test_head_inverts_the_true_transform(hop: int) -> None:
    """Frames centred on [i·hop, (i+1)·hop), taken by hand, come back as the waveform, ends included."""
    torch.manual_seed(0)
    n_frames, head = 9, ISTFTHead(8, hop)
    waveform = torch.randn(2, n_frames * hop)
    edge = hop + hop // 2
    padded = torch.nn.functional.pad(waveform, (edge, edge))
    frames = torch.stack([padded[:, i * hop : i * hop + 4 * hop] for i in range(n_frames)], dim=1)
    spectrum = torch.fft.rfft(frames * torch.hann_window(4 * hop), dim=2)
    inverted = head.invert(spectrum, torch.ones(2, n_frames, dtype=torch.bool))
    torch.testing.assert_close(inverted, waveform, atol=1e-5, rtol=0)  # float32 transforms of 1280 points


@pytest.mark.parametrize("upsample", [1, 2])
def test_padding_and_batching_change_nothing(upsample: int) -> None:
    torch.manual_seed(1)
    generator = Generator(SMALL.model_copy(update={"upsample": upsample}), k=4, n_speakers=3, frame_rate=50.0)
    with torch.no_grad():
        for parameter in generator.parameters():  # biases too: a leak through the norm's bias is what this looks for
            parameter.add_(torch.randn_like(parameter) * 0.1)
        items = [expand_frames([1, 3, 0][:n], [4, 2, 9][:n]) for n in (3, 1, 2)]
        speakers = torch.tensor([2, 0, 1])
        voices = Voices(speakers)
        batch, lengths = pad_frames(items)
        together = generator(batch, voices, lengths)
        for row, item in enumerate(items):
            alone, length = pad_frames([item])
            single = generator(alone, Voices(speakers[row : row + 1]), length)[0]
            assert len(single) == len(item) * 320
            # The same sums in another order: a few units in the last place of float32.
            torch.testing.assert_close(together[row, : len(single)], single, atol=1e-5, rtol=1e-4)
            assert not together[row, len(single) :].any()


def test_vocoder_gives_the_same_waveform_in_any_batch_and_order() -> None:
    torch.manual_seed(2)
    vocoder = Vocoder(VocoderModel(SMALL, QUANTIZER, ["a", "b"]), torch.device("cpu"))
    items = [Units("x", [0, 1, 2], [3, 1, 2]), Units("y", [3], [1]), Units("z", [2, 0, 3, 1]), Units("empty", [])]
    names = ["a", "b", None, "b"]
    together = vocoder.synthesize(items, names)
    assert [len(w) for w in together[:2]] == [6 * 320, 320]
    assert len(together[3]) == 0
    for item, name, waveform in zip(items[::-1], names[::-1], together[::-1], strict=True):
        torch.testing.assert_close(vocoder.synthesize([item], [name])[0], waveform, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(vocoder.synthesize(items[:1], ["b"])[0], together[0])
    with pytest.raises(ValueError, match="speakers"):
        vocoder.synthesize(items, ["a"])


def test_frames_say_where_in_its_run_a_frame_lies() -> None:
    frames = expand_frames([5, 2], [1, 4])
    assert frames.units.tolist() == [5, 2, 2, 2, 2]
    assert frames.features[:, 0].tolist() == [0.0, -0.75, -0.25, 0.25, 0.75]
    torch.testing.assert_close(frames.features[:, 1].exp() * 2, torch.tensor([1.0, 4, 4, 4, 4]))


def test_speed_scales_the_whole_without_adding_up_errors() -> None:
    durations = [3, 1, 2, 5, 1] * 20
    assert at_speed(durations, 1.0) == durations
    assert sum(at_speed(durations, 0.5)) == 2 * sum(durations)
    quick = at_speed([3] * 100, 1.25)
    assert sum(quick) == 240
    assert set(quick) == {2, 3}
    assert min(at_speed(durations, 10.0)) == 1
    with pytest.raises(ValueError, match="positive"):
        at_speed(durations, 0.0)


def test_hop_must_be_whole_and_even() -> None:
    assert hop_length(50.0) == 320
    assert hop_length(25.0, upsample=2) == 320
    with pytest.raises(UserError, match="even whole number"):
        hop_length(30.0)
