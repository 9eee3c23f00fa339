"""The networks and losses of wav2vec-U against plain PyTorch and loops, in both semantics."""

import math
from pathlib import Path

import pytest
import torch
from oracles.wav2vec_u import LiteralDiscriminator, LiteralGenerator, LiteralTraining
from torch import nn

from textless.errors import UserError
from unsup_asr.gan.adversaries import Adversaries, SpeechBatch
from unsup_asr.gan.config import DataConfig, DiscriminatorConfig, GanConfig, GeneratorConfig, LossConfig
from unsup_asr.gan.convolution import TimeConvolution
from unsup_asr.gan.data import one_hot
from unsup_asr.gan.discriminator import Discriminator
from unsup_asr.gan.generator import Generator, MaskedBatchNorm
from unsup_asr.gan.losses import auxiliary, diversity, gradient_penalty, smoothness
from unsup_asr.gan.segmenter import join_runs

PHONES = 7


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 1, (2, 2)), (9, 3, (4, 4)), (6, 1, (5, 0))])
def test_the_convolution_is_torchs_with_its_first_and_second_derivatives(
    kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    ours = TimeConvolution(5, 3, kernel, stride=stride, padding=padding).double()
    x = random(2, 20, 5).double().requires_grad_()
    theirs = nn.functional.conv1d(
        nn.functional.pad(x.mT, padding), ours.weight, ours.bias, stride=stride
    ).mT  # (B, I, T) -> (B, T', O)
    torch.testing.assert_close(ours(x), theirs)
    penalties = []
    for y in (ours(x), theirs):
        gradient = torch.autograd.grad(y.tanh().sum(), x, create_graph=True)[0]
        penalties.append(torch.autograd.grad(gradient.norm(), ours.weight)[0])
    torch.testing.assert_close(*penalties)


def test_batch_norm_is_torchs_over_the_frames_that_count() -> None:
    ours, theirs = MaskedBatchNorm(4, gain=30.0), nn.BatchNorm1d(4)
    nn.init.constant_(theirs.weight, 30.0)
    x, valid = random(3, 8, 4), torch.arange(8) < torch.tensor([8, 5, 2])[:, None]
    torch.testing.assert_close(ours(x, valid)[valid], theirs(x[valid]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.eval()(x, valid)[valid], theirs.eval()(x[valid]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [GeneratorConfig(), GeneratorConfig.second()])
def test_padding_changes_nothing_that_is_generated_and_rates_are_right(config: GeneratorConfig) -> None:
    generator = Generator(config, 6, PHONES).eval()
    features, lengths = random(2, 20, 6), torch.tensor([20, 11])
    both = generator(features, lengths)
    alone = generator(features[1:, :11], lengths[1:])
    assert both.lengths.tolist() == [math.ceil(n / config.stride) for n in (20, 11)]
    torch.testing.assert_close(both.logits[1, : both.lengths[1]], alone.logits[0])
    assert both.logits.shape == (2, math.ceil(20 / config.stride), PHONES)


def test_runs_are_joined_by_their_mean_or_a_random_member() -> None:
    best = [[1, 1, 2, 2, 2, 1], [3, 3, 3, 0, 0, 0]]
    logits = random(2, 6, 4).abs() + 5 * nn.functional.one_hot(torch.tensor(best), 4)
    lengths = torch.tensor([6, 3])
    joined, counts = join_runs(logits, lengths)
    assert counts.tolist() == [3, 1]
    torch.testing.assert_close(joined[0], torch.stack([logits[0, a:b].mean(0) for a, b in ((0, 2), (2, 5), (5, 6))]))
    torch.testing.assert_close(joined[1, 0], logits[1, :3].mean(0))
    assert not joined[1, 1:].any()

    source = torch.Generator().manual_seed(1)
    drawn = [join_runs(logits, lengths, source)[0] for _ in range(600)]
    members = [int((logits[0, 2:5] == sample[0, 1]).all(1).nonzero()) for sample in drawn]
    counted = torch.bincount(torch.tensor(members), minlength=3)
    assert (counted - 200).abs().max() < 4 * math.sqrt(600 * 2 / 9)  # four standard deviations
    assert all((logits[1, :3] == sample[1, 0]).all(1).any() for sample in drawn)


@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_the_discriminator_is_its_convolutions_and_its_slope_their_gradient(hidden: int) -> None:
    judge = Discriminator(DiscriminatorConfig(dim=8, hidden_layers=hidden), PHONES).double()
    literal = LiteralDiscriminator(PHONES, 8, hidden=hidden).double()
    literal.load_state_dict(judge.state_dict())
    phones, lengths = random(4, 12, PHONES).double().requires_grad_(), torch.tensor([12, 7, 2, 1])  # shorter than k too
    torch.testing.assert_close(judge(phones, lengths), literal(phones, lengths))

    slope = judge.slope(judge.drive(phones))
    gradient = torch.autograd.grad(literal(phones).sum(), phones, create_graph=True)[0]
    torch.testing.assert_close(slope, gradient)
    ours = torch.autograd.grad(slope.norm(dim=1).square().sum(), judge.first.weight)[0]
    theirs = torch.autograd.grad(gradient.norm(dim=1).square().sum(), literal.first.weight)[0]
    torch.testing.assert_close(ours, theirs)


def test_the_discriminator_sees_the_past_alone_and_no_padding() -> None:
    judge = Discriminator(DiscriminatorConfig(dim=8, hidden_layers=2), PHONES)
    phones = random(2, 12, PHONES).softmax(-1)
    torch.testing.assert_close(judge(phones, torch.tensor([12, 7]))[1], judge(phones[1:, :7])[0])


def literal_penalty(judge: Discriminator, text: torch.Tensor, fake: torch.Tensor, share: torch.Tensor, per: str):
    total = 0.0
    for real, made, alpha in zip(text, fake, share, strict=True):
        size = min(len(real), len(made))
        point = (alpha * real[:size] + (1 - alpha) * made[:size]).requires_grad_()
        gradient = torch.autograd.grad(judge(point[None])[0], point)[0]
        norms = [gradient[:, v].norm() for v in range(PHONES)] if per == "code" else [gradient.norm()]
        total += sum((float(norm) - 1) ** 2 for norm in norms)
    return total / len(text)


@pytest.mark.parametrize("semantics", ["code", "paper"])
def test_losses_equal_their_definitions_written_as_loops(semantics: str) -> None:
    config = LossConfig(semantics=semantics)
    logits, lengths = random(3, 5, PHONES), torch.tensor([5, 4, 2])
    p = logits.softmax(-1)
    pairs = [(b, t) for b in range(3) for t in range(4) if t + 1 < lengths[b]]
    if semantics == "code":  # of logits; the mean counts padding, which adds nothing
        expected = sum(float((logits[b, t] - logits[b, t + 1]).square().sum()) for b, t in pairs) / (3 * 4 * PHONES)
        mean = p.mean((0, 1))
        uneven = (PHONES - math.exp(-float((mean * (mean + 1e-7).log()).sum()))) / PHONES
    else:
        expected = sum(float((p[b, t] - p[b, t + 1]).square().sum()) for b, t in pairs) / len(pairs)
        mean = torch.cat([p[b, :n] for b, n in enumerate(lengths)]).mean(0)
        uneven = float((mean * (mean + 1e-7).log()).sum())
    assert float(smoothness(logits, lengths, config)) == pytest.approx(expected, rel=1e-5)
    assert float(diversity(logits, lengths, config)) == pytest.approx(uneven, rel=1e-5)

    judge = Discriminator(DiscriminatorConfig(dim=8), PHONES)
    text, fake = random(3, 6, PHONES, seed=1).softmax(-1), random(3, 5, PHONES, seed=2).softmax(-1)
    share = torch.rand((3, 1, 1), generator=torch.Generator().manual_seed(3))
    drives = judge.drive(text), judge.drive(fake)
    found = gradient_penalty(judge, *drives, config, torch.Generator().manual_seed(3))
    assert float(found.detach()) == pytest.approx(literal_penalty(judge, text, fake, share, semantics), rel=1e-4)
    other = LossConfig(semantics="paper" if semantics == "code" else "code", penalty_semantics=semantics)
    assert torch.equal(gradient_penalty(judge, *drives, other, torch.Generator().manual_seed(3)), found)


def test_updates_are_those_of_the_released_code_number_for_number() -> None:
    """Same parameters, same batches, same draws: after 20 updates the networks are the same."""
    batch, time, dim = 6, 15, 5
    config = GanConfig(data=DataConfig(speech=Path(), text=Path()), discriminator=DiscriminatorConfig(dim=16))
    torch.manual_seed(0)
    ours = Adversaries(config, dim, PHONES, torch.device("cpu"))
    weights = {"smoothness": 0.5, "diversity": 4.0, "gradient_penalty": 1.5}
    theirs = LiteralTraining(LiteralGenerator(dim, PHONES), LiteralDiscriminator(PHONES, 16), weights)
    theirs.generator.load_state_dict(ours.generator.state_dict())
    theirs.discriminator.load_state_dict(ours.discriminator.state_dict())
    for number in range(20):
        source = torch.Generator().manual_seed(number)
        lengths, sizes = (torch.randint(2, time + 1, (batch,), generator=source) for _ in range(2))
        lengths[0], sizes[1] = time, time - 3
        features = random(batch, time, dim, seed=number) * (torch.arange(time) < lengths[:, None])[..., None]
        phones = torch.randint(PHONES, (batch, int(sizes.max())), generator=source)

        chance = torch.Generator().manual_seed(number)
        torch.manual_seed(number)  # dropout
        speech = SpeechBatch(features, lengths)
        if number % 2 == 0:
            found, _ = ours.update_generator(speech, chance)
        else:
            found, _ = ours.update_discriminator(speech, phones, sizes, chance, 1.5)

        chance = torch.Generator().manual_seed(number)
        draws, points = torch.rand((batch, time), generator=chance), torch.rand((batch, 1, 1), generator=chance)
        torch.manual_seed(number)
        text = one_hot(phones, sizes, PHONES)
        expected = theirs.update(number, features, lengths, text, sizes, draws, points)
        assert {name: float(value.detach()) for name, value in found.items()} == pytest.approx(expected, abs=1e-5)
    for mine, other in ((ours.generator, theirs.generator), (ours.discriminator, theirs.discriminator)):
        for name, value in mine.state_dict().items():
            torch.testing.assert_close(value, other.state_dict()[name], rtol=0, atol=1e-5)


def test_the_auxiliary_head_reads_the_branch_and_padding_changes_nothing() -> None:
    with pytest.raises(UserError, match="residual branch"):
        GeneratorConfig.parse({"auxiliary": 4}, "test")
    generator = Generator(GeneratorConfig.second(), 6, PHONES).eval()
    features, lengths = random(2, 20, 6), torch.tensor([20, 11])
    both, alone = generator(features, lengths), generator(features[1:, :11], lengths[1:])
    assert both.clusters is not None
    assert alone.clusters is not None
    assert both.clusters.shape == (2, 20, 64)  # at the rate of the features
    torch.testing.assert_close(both.clusters[1, :11], alone.clusters[0])

    targets = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(0))
    pairs = [(b, t) for b in range(2) for t in range(int(lengths[b]))]
    logs = both.clusters.detach().log_softmax(-1)
    total = -sum(float(logs[b, t, targets[b, t]]) for b, t in pairs)
    for semantics, count in (("code", 40), ("paper", 31)):
        found = auxiliary(both.clusters, lengths, targets, LossConfig(semantics=semantics))
        assert float(found.detach()) == pytest.approx(total / count, rel=1e-5)
