"""Bias and variance of the gradients of a cycle, against an expectation that is written out.

    python benchmarks/estimators.py

Three choices of one of four symbols each, and the reward of a linear synthesizer (`tests/oracles/discrete_toy.py`).
Bias and standard deviation (of one update with five samples) are norms, relative to the norm of the true gradient.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from oracles.discrete_toy import Toy

from unsup_asr.ctc.relaxation import gumbel, hardened
from unsup_asr.cycle.estimators import Baseline, advantages

UPDATES, SAMPLES, TOYS = 20_000, 5, 5


def by_reinforce(toy: Toy, baseline: Baseline) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    one_hot, _ = toy.sample(UPDATES * SAMPLES, generator)
    rewards = toy.reward(one_hot).detach().view(SAMPLES, UPDATES)
    scores = (one_hot - toy.logits.softmax(-1)).detach().view(SAMPLES, UPDATES, *toy.logits.shape)
    # Each update is a batch of its own, of one utterance.
    weights = advantages(rewards, baseline)
    return (weights[..., None, None] * scores).mean(0)


def by_relaxation(toy: Toy, *, noise: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    logits = toy.logits.expand(UPDATES * SAMPLES, -1, -1)
    noisy = logits + gumbel(logits, generator) if noise else logits
    reward = toy.reward(hardened(noisy.softmax(-1), "gumbel" if noise else "argmax"))
    (gradients,) = torch.autograd.grad(reward.sum(), logits)
    return gradients.view(SAMPLES, UPDATES, *toy.logits.shape).mean(0)


def main() -> None:
    print("| estimator | relative bias | standard error of it | relative deviation of an update | cosine |")
    print("|---|---|---|---|---|")
    estimators = {f"REINFORCE, baseline {name}": name for name in ("none", "others", "samples")}
    for label in (*estimators, "straight-through argmax", "straight-through Gumbel"):
        rows = []
        for seed in range(TOYS):
            toy = Toy(seed)
            exact = toy.exact()
            if label in estimators:
                found = by_reinforce(toy, estimators[label])
            else:
                found = by_relaxation(toy, noise="Gumbel" in label)
            bias, deviation = (found.mean(0) - exact).norm(), found.var(0).sum().sqrt()
            cosine = torch.cosine_similarity(found.mean(0).flatten(), exact.flatten(), dim=0)
            error = deviation / UPDATES**0.5
            rows.append(torch.stack([bias / exact.norm(), error / exact.norm(), deviation / exact.norm(), cosine]))
        bias, error, deviation, cosine = torch.stack(rows).mean(0).tolist()
        print(f"| {label} | {bias:.3f} | {error:.3f} | {deviation:.2f} | {cosine:.3f} |")


if __name__ == "__main__":
    main()
