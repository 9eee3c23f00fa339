r"""A Dirichlet-process mixture of Gaussians, by variational Bayes with stick-breaking (Blei & Jordan 2006).

At most `truncation` components; those that the frames do not ask for fall out of use, so that their number is found and
not given. The approximate posterior is Π_k Beta(v_k) · Π_k NormalWishart(μ_k, Λ_k), blocks of covariance as in
`mixture`; its coordinate updates (Bishop 2006, section 10.2) take the same sums as EM. Components are sorted by size
before the sticks are updated, which the bound prefers (Kurihara, Welling & Teh 2007).
"""

import math
from dataclasses import dataclass

import torch
from torch.distributions import Beta, kl_divergence

from textless.encoders.mixture import Covariance, Fit, Gaussians, Statistics, block_size, collect, start

MEAN_FRAMES = 1.0  # frames that the prior of a mean is worth


@dataclass(frozen=True)
class NormalWishart:
    """Distribution of the means and precisions of K components; one component for the prior.

    Shape:
        mean_frames, degrees: `(K,)`, Bishop's β and ν.
        means: `(K, D)`.
        scatters: `(K, G, P, P)`, the inverses of Bishop's W.
    """

    mean_frames: torch.Tensor
    degrees: torch.Tensor
    means: torch.Tensor
    scatters: torch.Tensor

    def updated(self, statistics: Statistics) -> "NormalWishart":
        """Posterior of every component, with this as the prior (Bishop's equations 10.60 to 10.63)."""
        block = self.scatters.shape[-1]
        counts, (means, covariances) = statistics.counts, statistics.moments(block)
        mean_frames = self.mean_frames + counts
        away = (means - self.means).unflatten(1, (-1, block))  # (K, D) -> (K, G, P)
        pull = (self.mean_frames * counts / mean_frames)[:, None, None, None]
        return NormalWishart(
            mean_frames,
            self.degrees + counts,
            (self.mean_frames[:, None] * self.means + counts[:, None] * means) / mean_frames[:, None],
            self.scatters + counts[:, None, None, None] * covariances + pull * away[..., :, None] * away[..., None, :],
        )

    def gaussians(self, log_weights: torch.Tensor) -> Gaussians:
        """What an E-step sees: exp E[log π_k N(x | μ_k, Λ_k)] as weighted Gaussians (equations 10.64 to 10.67)."""
        _, groups, block, _ = self.scatters.shape
        steps = torch.arange(block, dtype=torch.float64)
        half = self.degrees[:, None] / 2
        spread = groups * ((half - steps / 2).digamma() - half.log()).sum(dim=1)
        weights = (log_weights + spread / 2 - groups * block / (2 * self.mean_frames)).exp()
        return Gaussians(weights, self.means, self.scatters / self.degrees[:, None, None, None])

    def divergence(self, prior: "NormalWishart") -> torch.Tensor:
        """Kullback-Leibler divergence of every component from the prior, `(K,)`."""
        _, groups, block, _ = self.scatters.shape
        dim = groups * block
        precisions = torch.cholesky_inverse(torch.linalg.cholesky(self.scatters)) * self.degrees[:, None, None, None]
        away = (self.means - prior.means).unflatten(1, (-1, block))[..., None]  # (K, D) -> (K, G, P, 1)
        ratio = prior.mean_frames / self.mean_frames
        squared = (away.mT @ precisions @ away).sum(dim=(1, 2, 3))
        means = 0.5 * (dim * (ratio - 1 - ratio.log()) + prior.mean_frames * squared)
        traces = (prior.scatters * precisions).sum(dim=(1, 2, 3))  # of scatter × precision, both symmetric
        change = (self.degrees - prior.degrees) / 2 * self._expected_log_determinants()
        return means + self.log_normalisers() - prior.log_normalisers() + change + (traces - self.degrees * dim) / 2

    def _log_determinants(self) -> torch.Tensor:
        return torch.linalg.slogdet(self.scatters).logabsdet.sum(dim=1)

    def _expected_log_determinants(self) -> torch.Tensor:
        """E[log |Λ_k|], `(K,)`."""
        _, groups, block, _ = self.scatters.shape
        steps = torch.arange(block, dtype=torch.float64)
        digammas = ((self.degrees[:, None] - steps) / 2).digamma().sum(dim=1)
        return groups * (digammas + block * math.log(2)) - self._log_determinants()

    def log_normalisers(self) -> torch.Tensor:
        """Logarithms of the factors of the Wishart densities, `(K,)` (Bishop's equation B.79)."""
        _, groups, block, _ = self.scatters.shape
        half = self.degrees / 2
        gammas = torch.special.multigammaln(half, block) + half * block * math.log(2)
        return half * self._log_determinants() - groups * gammas


def fit_dirichlet_mixture(
    frames: torch.Tensor,
    truncation: int,
    *,
    covariance: Covariance = "diagonal",
    concentration: float = 1.0,
    iterations: int = 30,
    seed: int = 0,
    device: torch.device | None = None,
) -> Fit:
    """Fit by coordinate ascent from a k-means++ start of `truncation` components.

    The prior of a mean is that of all frames, worth one frame; of a covariance, the variances left by the start, worth
    P + 1 frames.

    Args:
        frames: `(N, D)`; on the CPU if there are many: they are moved block by block.
        truncation: most components there can be.
        covariance: of every component.
        concentration: of the Dirichlet process; more makes more components.
        iterations: of coordinate ascent.
        seed: of the start.
        device: where the sums are computed.

    Returns:
        Expected weights, means and covariances of the components in use, those that hold more frames than the prior of
        a covariance is worth; and the lower bound of the evidence, a frame.

    Raises:
        UserError: there are fewer frames than components.
    """
    gaussians = start(frames, truncation, torch.Generator().manual_seed(seed))
    if covariance == "full":
        gaussians = gaussians.full()
    block = block_size(frames.shape[1], covariance)
    prior = NormalWishart(
        torch.tensor([MEAN_FRAMES], dtype=torch.float64),
        torch.tensor([block + 1], dtype=torch.float64),
        frames.mean(dim=0, keepdim=True, dtype=torch.float64).cpu(),
        (block + 1) * gaussians.covariances[:1],
    )
    bounds = []
    statistics = _sorted(collect(gaussians.mixture(frames.dtype).to(device), frames))
    for _ in range(iterations):
        sticks = _sticks(statistics.counts, concentration)
        posterior = prior.updated(statistics)
        expected = posterior.gaussians(_log_weights(sticks))
        statistics = collect(expected.mixture(frames.dtype).to(device), frames)
        price = posterior.divergence(prior).sum() + _stick_divergence(sticks, concentration)
        bounds.append((statistics.log_likelihood - float(price)) / len(frames))
        used = statistics.counts > prior.degrees
        statistics = _sorted(statistics)
    weights = _log_weights(sticks).exp()[used]
    return Fit(Gaussians(weights / weights.sum(), expected.means[used], expected.covariances[used]), bounds)


def _sorted(statistics: Statistics) -> Statistics:
    order = statistics.counts.argsort(descending=True)
    return Statistics(statistics.counts[order], statistics.sums[order], statistics.log_likelihood)


def _sticks(counts: torch.Tensor, concentration: float) -> Beta:
    """Posterior of the first K − 1 stick-breaking shares; the last one takes what is left."""
    longer = counts.flip(0).cumsum(0).flip(0) - counts  # frames of all later components
    return Beta(1 + counts[:-1], concentration + longer[:-1], validate_args=False)  # which minds that K − 1 may be 0


def _log_weights(sticks: Beta) -> torch.Tensor:
    """E[log π_k], `(K,)`."""
    taken, left = sticks.concentration1, sticks.concentration0
    both = (taken + left).digamma()
    zero = both.new_zeros(1)
    return torch.cat([taken.digamma() - both, zero]) + torch.cat([zero, (left.digamma() - both).cumsum(0)])


def _stick_divergence(sticks: Beta, concentration: float) -> float:
    one = torch.ones_like(sticks.concentration1)
    prior = Beta(one, concentration * one, validate_args=False)
    return float(kl_divergence(sticks, prior).sum())
