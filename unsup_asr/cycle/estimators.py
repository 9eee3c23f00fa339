"""REINFORCE (Williams 1992): the gradient of the expectation of a reward by samples alone.

A recogniser p(y | x) gives a sequence y of symbols; a reward R(y) says how well x can be made of it. The gradient of
E[R(y)] is that of (R(y) - b) log p(y), on average over samples y, for every baseline b that does not depend on the
sample; the variance depends on b.

The other way are relaxed symbols (`unsup_asr.ctc.relaxation`), which need the derivative of R, have little variance and
are biased. docs/cycle.md has all of them on a problem whose expectation can be written out.
"""

from typing import Literal

import torch

Baseline = Literal["none", "others", "samples", "batch"]
TINY = 1e-6  # a standard deviation: where all samples are the same, there is nothing to learn


def advantages(rewards: torch.Tensor, baseline: Baseline) -> torch.Tensor:
    """Rewards `(S, B)` of S samples of B utterances less a baseline.

    - `others`: the mean of the utterance's other samples (leave one out; Kool et al. 2019). No bias; needs S ≥ 2.
    - `samples`: the mean of all samples of the utterance (Hori et al. 2019). The gradient is (1 - 1/S) of the true one.
    - `batch`: the mean of the whole batch (ESPnet's recipe). (1 - 1/(S B)) of the true one; utterances that are hard
      have low rewards whatever is said, so that its variance is higher.
    - `none`: zero.

    Raises:
        ValueError: `others` or `samples` with one sample, whose advantage would always be zero or undefined.
    """
    n_samples = len(rewards)
    if baseline in {"others", "samples"} and n_samples < 2:
        raise ValueError(f"the baseline {baseline!r} needs at least two samples, not {n_samples}")
    match baseline:
        case "none":
            return rewards
        case "others":
            return (rewards - rewards.mean(0)) * (n_samples / (n_samples - 1))
        case "samples":
            return rewards - rewards.mean(0)
        case "batch":
            return rewards - rewards.mean()


def reinforce(
    log_probs: torch.Tensor, rewards: torch.Tensor, baseline: Baseline, *, standardise: bool = False
) -> torch.Tensor:
    """A scalar whose gradient is an estimate of that of -E[R], averaged over utterances.

    Args:
        log_probs: `(S, B)` natural logs of the probabilities of the samples, differentiable.
        rewards: `(S, B)`; no gradient goes through them.
        baseline: see `advantages`.
        standardise: divide by the standard deviation of the advantages, so that the scale of rewards does not matter;
            the estimate is then of the true direction, not of the true length.
    """
    weights = advantages(rewards.detach(), baseline)
    if standardise:
        weights = weights / weights.std().clamp(min=TINY)
    return -(weights * log_probs).mean()
