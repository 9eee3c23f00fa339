"""The encoder family: its convolutions, positions and windows of attention against plain formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from textless.audio.batches import pad
from textless.encoders.convolution import ConvolutionalFrontEnd, strided_convolution
from textless.encoders.directory import load_encoder_directory, save_encoder
from textless.encoders.encoder import EncoderSpec, LayerEncoder, load_encoder
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.positions import linear_biases
from textless.encoders.speech_transformer import ConvolutionalConfig, SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.encoders.unit_head import UnitHeadConfig
from textless.errors import UserError

LAYERS = ((24, 10, 5), *[(24, 3, 2)] * 4, *[(24, 2, 2)] * 2)
SMALL = TransformerConfig(dim=32, layers=2, heads=4, ffn_dim=64, position_kernel=16, position_groups=4)
ROUNDING = 2e-5  # float32 over a few layers of unit-scale activations


def small_encoder(**settings: object) -> SpeechTransformer:
    torch.manual_seed(0)
    values = {"front_end": ConvolutionalConfig(layers=LAYERS), "transformer": SMALL, **settings}
    return SpeechTransformer(SpeechTransformerConfig(**values)).eval().requires_grad_(False)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 10), st.integers(1, 5), st.integers(0, 40), st.booleans())
def test_strided_convolution_is_conv1d(kernel: int, stride: int, extra: int, bias: bool) -> None:
    torch.manual_seed(kernel)
    stride = min(stride, kernel)
    x, weight = torch.randn(kernel + extra, 6), torch.randn(7, 6, kernel)
    b = torch.randn(7) if bias else None
    expected = F.conv1d(x.T[None], weight, b, stride)[0].T
    torch.testing.assert_close(strided_convolution(x, weight, b, stride), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("norm", "bias"), [("group", False), ("group", True), ("layer", True)])
@pytest.mark.parametrize("extra_layers", [(), ((24, 2, 2),)])
def test_front_end_equals_padded_convolutions(norm: str, bias: bool, extra_layers: tuple) -> None:
    """Batched, in blocks or whole, it is what plain convolutions and norms make of each waveform alone."""
    torch.manual_seed(1)
    front = ConvolutionalFrontEnd(LAYERS + extra_layers, norm, bias=bias)
    for module in front.norms:
        torch.nn.init.normal_(module.weight)
        torch.nn.init.normal_(module.bias)

    def plain(waveform: torch.Tensor) -> torch.Tensor:
        x = waveform[None, None]
        for index, conv in enumerate(front.convs):
            x = conv(x)
            if norm == "layer":
                x = front.norms[index](x.mT).mT
            elif index == 0:
                x = F.group_norm(x, 24, front.norms[0].weight, front.norms[0].bias)
            x = F.gelu(x)
        return x[0].T

    shortest = front.receptive_field
    waveforms = [0.1 * torch.randn(n) + 0.05 for n in (16_000, shortest, 4 * 16_000 + 12_345, shortest + 399)]
    with torch.no_grad():
        features, frames = front(*pad(waveforms))
        for waveform, row, n in zip(waveforms, features, frames.tolist(), strict=True):
            expected = plain(waveform)
            assert len(expected) == n
            torch.testing.assert_close(row[:n], expected, rtol=1e-4, atol=ROUNDING)
            torch.testing.assert_close(front(*pad([waveform]))[0][0], expected, rtol=1e-4, atol=ROUNDING)
    with torch.enable_grad():  # in training there are no blocks
        torch.testing.assert_close(front(*pad(waveforms))[0], features, rtol=1e-4, atol=ROUNDING)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"normalise_waveform": True, "front_end": ConvolutionalConfig(layers=LAYERS, norm="layer", bias=True)},
        {"transformer": SMALL.model_copy(update={"relative_buckets": 16, "relative_distance": 30})},
        {"transformer": SMALL.model_copy(update={"position": "conv-stack", "position_kernel": 5, "position_depth": 3})},
        {"transformer": SMALL.model_copy(update={"position": "alibi", "norm_first": True, "heads": 3, "dim": 33})},
        {"front_end": LogMelConfig(), "transformer": SMALL.model_copy(update={"position": "alibi"})},
        {"front_end": LogMelConfig(normalise="utterance", stack=1), "projection_norm": False},
        {"waveform_padding": 40},
    ],
)
def test_padding_changes_no_feature(settings: dict) -> None:
    encoder = small_encoder(**settings)
    waveforms = [0.1 * torch.randn(n) for n in (9_000, 401, 23_456)]
    padded, lengths = pad(waveforms)
    padded += 100 * (torch.arange(padded.shape[1]) >= lengths[:, None])  # padding is not even zero
    batched, frames = encoder.all_layers(padded, lengths)
    for index, waveform in enumerate(waveforms):
        alone, n = encoder.all_layers(*pad([waveform]))
        assert n == frames[index]
        for a, b in zip(batched, alone, strict=True):
            torch.testing.assert_close(a[index, :n], b[0], rtol=1e-4, atol=ROUNDING)


def test_chunks_see_the_whole_through_the_convolutions() -> None:
    """Layer 0 does not depend on the attention window; later layers do only where windows meet."""
    encoder, waveform = small_encoder(), 0.1 * torch.randn(16_000 * 6)
    whole = [LayerEncoder("x", encoder, layer, torch.device("cpu")).encode([waveform])[0] for layer in (0, 2)]
    encoder.attention_window = 100
    chunked = [LayerEncoder("x", encoder, layer, torch.device("cpu")).encode([waveform])[0] for layer in (0, 2)]
    torch.testing.assert_close(chunked[0], whole[0], rtol=0, atol=0)
    assert chunked[1].shape == whole[1].shape
    assert not torch.equal(chunked[1], whole[1])
    encoder.attention_window = len(whole[0])
    torch.testing.assert_close(LayerEncoder("x", encoder, 2, torch.device("cpu")).encode([waveform])[0], whole[1])


def test_windows_are_attention_over_stretches_of_frames() -> None:
    encoder, waveform = small_encoder(), 0.1 * torch.randn(16_000 * 4)
    x, frames = encoder.embed(*pad([waveform]))
    x = encoder.transformer.enter(x, frames)
    encoder.attention_window = 100  # of 199 frames: 0..100, 80..180, 160..199, meeting at 90 and 170
    found, _ = encoder(*pad([waveform]), 2)
    for start, end, first, last in ((0, 100, 0, 90), (80, 180, 90, 170), (160, 199, 170, 199)):
        *_, expected = encoder.transformer.layers(x[:, start:end], torch.tensor([end - start]))
        torch.testing.assert_close(found[0, first:last], expected[0, first - start : last - start])


def test_linear_biases_look_both_ways() -> None:
    bias = linear_biases(4, 5, torch.device("cpu"))
    assert bias[0, 3].tolist() == [-1.5, -1.0, -0.5, 0.0, -math.inf]  # slope 1/2, backwards
    assert bias[1, 1].tolist() == [-math.inf, 0.0, -0.5, -1.0, -1.5]
    assert bias[2, 3, 2] == -(2.0**-8)


def test_passes_interleave() -> None:
    """Twice the frame rate: frames of the recording half a hop early and half a hop late take turns."""
    encoder, waveform = small_encoder(front_end=LogMelConfig()), 0.1 * torch.randn(16_000)
    early, _ = encoder(*pad([F.pad(waveform, (80, 0))]), 2)
    late, _ = encoder(*pad([waveform[80:]]), 2)
    encoder.passes = 2
    both, frames = encoder(*pad([waveform, waveform[:8_000]]), 2)
    assert (encoder.frame_rate, frames.tolist()) == (100.0, [98, 48])
    torch.testing.assert_close(both[0, 0:98:2], early[0, :49], rtol=1e-4, atol=ROUNDING)
    torch.testing.assert_close(both[0, 1:98:2], late[0, :49], rtol=1e-4, atol=ROUNDING)


def test_layers_after_the_blocks_are_posteriors_of_units() -> None:
    heads = (UnitHeadConfig(k=5, projection=8), UnitHeadConfig(k=7, per_frame=2, projection=8))
    encoder, waveforms = small_encoder(heads=heads), pad([0.1 * torch.randn(16_000)])
    posteriors, _ = encoder(*waveforms, 4)
    x, head = encoder.all_layers(*waveforms)[0][2][0, 4], encoder.heads[1]
    labels = head.projection(x).view(2, 8)
    cosines = torch.stack([F.cosine_similarity(label[None], head.units, dim=1) for label in labels])
    expected = (0.5 * cosines / 0.1).softmax(dim=1).mean(dim=0).sqrt()
    assert (encoder.num_layers, [encoder.layer_dim(n) for n in (2, 3, 4)]) == (4, [32, 5, 7])
    torch.testing.assert_close(posteriors[0, 4], expected)
    encoder.attention_window = 20
    assert encoder(*waveforms, 4)[0].shape == posteriors.shape


def test_bfloat16_stays_near() -> None:
    encoder, waveform = small_encoder(), 0.1 * torch.randn(16_000)
    exact, _ = encoder(*pad([waveform]), 2)
    encoder.use_bfloat16()
    near, _ = encoder(*pad([waveform]), 2)
    assert near.dtype == torch.float32
    # 8 bits of mantissa, over nine rounded layers.
    assert ((near - exact).norm() / exact.norm()).item() < 0.02


def test_directory_round_trip(tmp_path) -> None:
    encoder, waveform = small_encoder(front_end=LogMelConfig()), 0.1 * torch.randn(16_000)
    encoder.front_end.mean.normal_()
    save_encoder(tmp_path / "e", encoder, source="test")
    again = load_encoder_directory(tmp_path / "e")
    assert again.sha256() == encoder.sha256()
    torch.testing.assert_close(again(*pad([waveform]), 2)[0], encoder(*pad([waveform]), 2)[0], rtol=0, atol=0)
    loaded = load_encoder(f"{tmp_path / 'e'}:1")
    torch.testing.assert_close(loaded.encode([waveform])[0], encoder(*pad([waveform]), 1)[0][0])
    assert (loaded.frame_rate, loaded.dim, loaded.min_samples) == (50.0, 32, 320)
    for spec, message in (
        (f"{tmp_path / 'e'}", "names no layer"),
        (f"{tmp_path / 'e'}:3", "layers 0 to 2"),
        (f"{tmp_path / 'e'}@75:1", "50 Hz and its multiples"),
    ):
        with pytest.raises(UserError, match=message):
            load_encoder(spec)
    with pytest.raises(UserError, match="less than one frame"):
        loaded.encode([torch.zeros(319)])


def test_chunk_is_part_of_the_identity(tmp_path) -> None:
    save_encoder(tmp_path / "e", small_encoder())
    assert EncoderSpec.parse("a/b:3,chunk=2.5") == EncoderSpec("a/b", None, 3, 2.5)
    whole, cut = load_encoder(f"{tmp_path / 'e'}:1"), load_encoder(f"{tmp_path / 'e'}:1,chunk=1")
    assert whole.sha256 != cut.sha256
    with pytest.raises(UserError, match="no attention"):
        load_encoder("mfcc:0,chunk=3")
