"""Spectral losses, and the adversaries: shapes and sizes as published, losses as defined, agreement with plain code."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vocoder.config import AdversarialConfig, LossConfig
from vocoder.critics import Critic
from vocoder.discriminators import Opinion, discriminator_loss, feature_matching, generator_loss
from vocoder.losses import Sound, SpectralLoss
from vocoder.multi_period import MultiPeriodDiscriminator, PeriodDiscriminator
from vocoder.multi_scale import MultiScaleDiscriminator
from vocoder.spectra import POWER_FLOOR, magnitudes


@pytest.mark.parametrize("size", [64, 256])
def test_gradient_of_magnitudes_is_the_derived_one(size: int) -> None:
    torch.manual_seed(6)
    window, waveform = torch.hann_window(size, dtype=torch.float64), torch.randn(2, 5 * size + 7, dtype=torch.float64)
    ours, derived = (waveform.clone().requires_grad_() for _ in range(2))
    frames = torch.fft.rfft(derived.unfold(1, size, size // 4) * window, dim=2)
    expected = (frames.abs().square() + POWER_FLOOR).sqrt()
    found = magnitudes(ours, window)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, derived.grad)


def test_loss_of_a_gain_is_the_logarithm_of_the_gain() -> None:
    loss = SpectralLoss(LossConfig())
    torch.manual_seed(3)
    waveform, n_samples = torch.randn(2, 4096) * 0.3, torch.tensor([4096, 4096])
    sound = loss.hear(waveform)
    assert all(float(value.abs().max()) < 2e-4 for value in loss(sound, sound, n_samples).values())
    found = loss(loss.hear(waveform * 2), sound, n_samples)
    torch.testing.assert_close(found["mel"], torch.full((2,), math.log(2)), atol=1e-3, rtol=0)
    torch.testing.assert_close(found["stft"], torch.full((2,), 1 + math.log(2)), atol=1e-3, rtol=0)


def test_loss_of_a_padded_segment_is_that_of_the_segment() -> None:
    loss = SpectralLoss(LossConfig())
    torch.manual_seed(4)
    a, b = torch.randn(2, 1, 3200)
    alone = loss(loss.hear(a), loss.hear(b), torch.tensor([3200]))
    a, b = (F.pad(x, (0, 2000)) for x in (a, b))
    padded = loss(loss.hear(a), loss.hear(b), torch.tensor([3200]))
    for name, value in alone.items():
        torch.testing.assert_close(padded[name], value)


def test_loss_of_silence_is_finite() -> None:
    loss = SpectralLoss(LossConfig())
    waveform = torch.zeros(1, 4096, requires_grad=True)
    found = loss(loss.hear(waveform), loss.hear(torch.zeros(1, 4096)), torch.tensor([4096]))
    sum(found.values()).sum().backward()
    assert torch.isfinite(waveform.grad).all()


@pytest.mark.parametrize("kind", ["spectrogram", "hifigan"])
def test_discriminators_learn_to_tell_two_sounds_apart(kind: str) -> None:
    torch.manual_seed(5)
    loss, critic = SpectralLoss(LossConfig()), Critic(AdversarialConfig(kind=kind, channels=4), 3)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    time = torch.arange(2048) / 16000
    real = loss.hear(torch.sin(2 * math.pi * 500 * time).repeat(4, 1) + 0.01 * torch.randn(4, 2048))
    fake = loss.hear(0.3 * torch.randn(4, 2048))
    before = discriminator_loss(critic(real), critic(fake))
    assert before.shape == (4,)
    for _ in range(30):
        optimizer.zero_grad()
        discriminator_loss(critic(real), critic(fake)).mean().backward()
        optimizer.step()
    opinions = critic(real), critic(fake)
    assert discriminator_loss(*opinions).mean() < 0.3 * before.mean()
    assert (generator_loss(opinions[1]) > generator_loss(opinions[0])).all()
    assert (feature_matching(*opinions) > 0).all()


def test_losses_are_the_published_sums() -> None:
    """Two discriminators with hidden layers of different sizes, by hand (Kong et al. 2020, equations 1-4)."""
    real = [Opinion(torch.full((1, 2), 0.5), [torch.zeros(1, 3)]), Opinion(torch.ones(1, 1, 4), [torch.ones(1, 2, 2)])]
    fake = [Opinion(torch.full((1, 2), 0.25), [torch.ones(1, 3)]), Opinion(torch.zeros(1, 1, 4), [torch.ones(1, 2, 2)])]
    assert discriminator_loss(real, fake).tolist() == [0.25 + 0.0625]
    assert generator_loss(fake).tolist() == [0.75**2 + 1]
    assert feature_matching(real, fake).tolist() == [1.0]


def plain_parameters(module: nn.Module) -> int:
    """Weights and biases, without the magnitudes that weight norm keeps apart."""
    return sum(p.numel() for name, p in module.named_parameters() if not name.endswith("original0"))


def test_sizes_are_the_published_ones() -> None:
    """Counted layer by layer from the kernels and channels of Kong et al. 2020, appendix A, and their code."""
    period = (1 * 32 + 32 * 128 + 128 * 512 + 512 * 1024 + 1024 * 1024) * 5 + 32 + 128 + 512 + 1024 + 1024
    period += 1024 * 3 + 1
    scale = [(1, 128, 15, 1), (128, 128, 41, 4), (128, 256, 41, 16), (256, 512, 41, 16), (512, 1024, 41, 16)]
    scale += [(1024, 1024, 41, 16), (1024, 1024, 5, 1), (1024, 1, 3, 1)]
    with torch.device("meta"):
        assert plain_parameters(MultiPeriodDiscriminator(32)) == 5 * period == 41_092_165
    found = MultiScaleDiscriminator(32)
    spectral, *plain = found.each
    expected = sum(i // groups * o * kernel + o for i, o, kernel, groups in scale)
    assert [plain_parameters(judge) for judge in plain] == [expected] * 2
    assert plain_parameters(spectral) == expected  # spectral norm keeps its vectors in buffers
    assert 3 * expected == 29_610_627


def test_a_period_discriminator_looks_at_every_pth_sample() -> None:
    """The score at a column depends on that phase of the waveform alone."""
    torch.manual_seed(6)
    judge = PeriodDiscriminator(3, 4)
    waveform = torch.randn(1, 300)
    before = judge(waveform).scores
    waveform[:, 1::3] += 1.0
    changed = (judge(waveform).scores - before).abs().amax(dim=(0, 1, 2)) > 0
    assert changed.tolist() == [False, True, False]


def test_scales_are_averages_and_shapes_are_the_published_ones() -> None:
    torch.manual_seed(7)
    critic = MultiScaleDiscriminator(4)
    waveform = torch.randn(2, 8960)
    opinions = critic(Sound(waveform, ()))
    halves = F.avg_pool1d(waveform[:, None], 4, 2, 2)
    torch.testing.assert_close(opinions[1].scores, critic.each[1](halves).scores)
    lengths = [[layer.shape[-1] for layer in opinion.hidden] for opinion in opinions]
    assert lengths[0] == [8960, 4480, 2240, 560, 140, 140, 140, 140]
    assert [row[0] for row in lengths] == [8960, 4481, 2241]
    assert all(len(row) == 8 for row in lengths)


def test_a_period_that_does_not_divide_the_length_is_padded() -> None:
    judge = PeriodDiscriminator(11, 4)
    assert judge(torch.randn(1, 8960)).hidden[0].shape == (1, 4, 272, 11)  # ceil(8960 / 11) = 815 rows, stride 3
