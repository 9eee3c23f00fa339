"""Each estimator against the gradient of an expectation that is written out."""

import math

import pytest
import torch
from oracles.discrete_toy import Toy

from unsup_asr.ctc.relaxation import gumbel, hardened
from unsup_asr.cycle.estimators import Baseline, advantages, reinforce

DRAWS, SAMPLES = 4000, 5


def estimates(toy: Toy, baseline: Baseline) -> torch.Tensor:
    """`DRAWS` independent estimates `(DRAWS, L, V)` of the gradient of E[R], of `SAMPLES` samples each."""
    generator = torch.Generator().manual_seed(1)
    one_hot, _ = toy.sample(DRAWS * SAMPLES, generator)
    # The gradient of log p of a sequence is one-hot minus probabilities, so that all draws can be made at once ...
    scores = (one_hot - toy.logits.softmax(-1)).detach().view(SAMPLES, DRAWS, *toy.logits.shape)
    rewards = toy.reward(one_hot).view(SAMPLES, DRAWS)
    if baseline == "batch":  # a draw is a batch of one utterance here
        weights = torch.stack([advantages(row[:, None], "batch")[:, 0] for row in rewards.T], dim=1)
    else:
        weights = advantages(rewards, baseline)
    return (weights[..., None, None] * scores).mean(0).detach()


def test_the_written_out_draws_are_those_of_autograd() -> None:
    toy = Toy()
    one_hot, logs = toy.sample(SAMPLES, torch.Generator().manual_seed(3))
    rewards = toy.reward(one_hot)
    loss = reinforce(logs[:, None], rewards[:, None], "others")  # ... here by autograd
    (found,) = torch.autograd.grad(-loss, toy.logits)
    scores = (one_hot - toy.logits.softmax(-1)).detach()
    expected = (advantages(rewards[:, None], "others")[..., None] * scores).mean(0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("baseline", "scale"), [("none", 1.0), ("others", 1.0), ("samples", 0.8), ("batch", 0.8)])
def test_reinforce_is_unbiased_within_three_standard_errors(baseline: Baseline, scale: float) -> None:
    toy = Toy()
    found = estimates(toy, baseline)
    error = (found.mean(0) - scale * toy.exact()) / (found.std(0) / math.sqrt(DRAWS))
    assert error.abs().max() < 3


def test_a_baseline_takes_most_of_the_variance_away() -> None:
    toy = Toy()
    variance = {baseline: estimates(toy, baseline).var(0).sum() for baseline in ("none", "others")}
    assert variance["others"] < variance["none"] / 2


def test_straight_through_is_exact_for_one_linear_choice_and_biased_beyond() -> None:
    toy = Toy()
    logits = torch.randn(1, 6, dtype=torch.float64, requires_grad=True)
    values = torch.randn(6, dtype=torch.float64)
    # One choice with a linear reward: the softmax's own gradient is that of the expectation.
    exact = torch.autograd.grad((logits.softmax(-1) * values).sum(), logits)[0]
    hard = hardened(logits.softmax(-1), "argmax")
    assert hard.detach().sum() == 1
    assert hard.detach().max() == 1
    torch.testing.assert_close(torch.autograd.grad((hard * values).sum(), logits)[0], exact)

    true = toy.exact()
    (found,) = torch.autograd.grad(toy.reward(hardened(toy.logits.softmax(-1), "argmax")), toy.logits)
    assert (found - true).norm() / true.norm() > 0.1  # it has no variance: all of this is bias
    assert torch.cosine_similarity(found.flatten(), true.flatten(), dim=0) > 0.5


def test_gumbel_straight_through_samples_the_softmax_and_is_biased() -> None:
    toy = Toy()
    generator = torch.Generator().manual_seed(2)
    logits = toy.logits.expand(20_000, -1, -1)
    hard = hardened((logits + gumbel(logits, generator)).softmax(-1), "gumbel")
    frequency, p = hard.detach().mean(0), toy.logits.detach().softmax(-1)
    assert ((frequency - p) / (p * (1 - p) / 20_000).sqrt()).abs().max() < 4
    (gradients,) = torch.autograd.grad(toy.reward(hard).sum(), logits)
    mean, error = gradients.mean(0), gradients.std(0) / math.sqrt(20_000)
    assert ((mean - toy.exact()) / error).abs().max() > 5
    cosine = torch.cosine_similarity(mean.flatten(), toy.exact().flatten(), dim=0)
    assert cosine > 0.8


def test_standardised_advantages_change_the_length_only() -> None:
    toy = Toy()
    _, logs = toy.sample(SAMPLES, torch.Generator().manual_seed(3))
    rewards = torch.randn(SAMPLES, 1, dtype=torch.float64)
    losses = [reinforce(logs[:, None], scale * rewards, "others", standardise=True) for scale in (1.0, 100.0)]
    torch.testing.assert_close(losses[0], losses[1])
    plain = reinforce(logs[:, None], rewards, "others")
    torch.testing.assert_close(losses[0] * advantages(rewards, "others").std(), plain)


def test_one_sample_has_no_mean_of_others() -> None:
    with pytest.raises(ValueError, match="at least two samples"):
        advantages(torch.zeros(1, 3), "others")
