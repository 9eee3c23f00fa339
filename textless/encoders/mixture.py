r"""Gaussian mixtures by expectation–maximisation: density, posteriors and the fit, in bounded memory.

A Gaussian is an exponential family: with φ(x) = (x, its products x_i x_j with i ≤ j),

    log π_k N(x | μ_k, Σ_k) = c_k + φ(x) · θ_k,    θ_k = (Λμ, −½ Λ_ii on the diagonal, −Λ_ij beside it),  Λ = Σ_k⁻¹,

so that the E-step is one matrix product and the M-step needs nothing but Σ_n r_nk and Σ_n r_nk φ(x_n). Covariances are
made of G independent blocks of P dimensions, G P = D: "diagonal" is P = 1 and "full" is G = 1, and no code tells them
apart. Sums run over blocks of frames and are kept in float64.

Frames should be roughly standardised (zero mean, unit variance): products of large numbers lose digits in float32.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from textless.errors import UserError

Covariance = Literal["diagonal", "full"]
FRAMES_PER_BLOCK = 4096
FLOOR = 0.01  # of a variance, as a share of the variance of all frames
CONSTANT = 1e-3  # a dimension of less variance is taken to have this much
SEEDING_FRAMES = 64  # a component
FEWEST_FRAMES = 1.0  # a component that holds less is not re-estimated
TINY = torch.finfo(torch.float64).tiny


class Mixture(nn.Module):
    """A mixture of K Gaussians over D dimensions in natural parameters: all that evaluating it takes.

    Shape:
        coefficients: `(F, K)`, the θ_k; F = D + G P (P + 1) / 2.
        constants: `(K,)`, the c_k.
    """

    def __init__(self, components: int, dim: int, covariance: Covariance) -> None:
        super().__init__()
        self.block = block_size(dim, covariance)
        size = dim + dim * (self.block + 1) // 2
        self.coefficients: torch.Tensor
        self.constants: torch.Tensor
        self.register_buffer("coefficients", torch.zeros(size, components))
        self.register_buffer("constants", torch.zeros(components))

    def log_joint(self, frames: torch.Tensor) -> torch.Tensor:
        """Log joint density, log π_k N(x | k) of frames `(..., D)`: `(..., K)`."""
        return expand(frames, self.block) @ self.coefficients + self.constants

    def log_likelihood(self, frames: torch.Tensor) -> torch.Tensor:
        """Log density, log Σ_k π_k N(x | k), of frames `(..., D)`: `(...)`."""
        return self.log_joint(frames).logsumexp(dim=-1)

    def posteriors(self, frames: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """P(k | x) to the power `temperature`, renormalised: frames `(..., D)` → `(..., K)`; below 1 is flatter."""
        return (temperature * self.log_joint(frames)).softmax(dim=-1)


@dataclass(frozen=True)
class Gaussians:
    """The parameters of a mixture as one thinks of them, float64 on the CPU.

    Shape:
        weights: `(K,)`.
        means: `(K, D)`.
        covariances: `(K, G, P, P)`, blocks along the diagonal.
    """

    weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    @property
    def covariance(self) -> Covariance:
        """Which kind of covariance the blocks are."""
        return "diagonal" if self.covariances.shape[-1] == 1 else "full"

    def mixture(self, dtype: torch.dtype = torch.float32) -> Mixture:
        """The natural parameters."""
        components, groups, block, _ = self.covariances.shape
        means = self.means.view(components, groups, block, 1)
        factors = torch.linalg.cholesky(self.covariances)
        precisions = torch.cholesky_inverse(factors)
        linear = precisions @ means
        i, j = products(block, precisions.device)
        quadratic = -torch.where(i == j, 0.5, 1.0) * precisions[:, :, i, j]  # (K, G, P (P + 1) / 2)
        log_determinants = 2 * factors.diagonal(dim1=-2, dim2=-1).log().sum(dim=(1, 2))
        constants = self.weights.log() - 0.5 * (
            (means * linear).sum(dim=(1, 2, 3)) + log_determinants + groups * block * math.log(2 * math.pi)
        )
        mixture = Mixture(components, groups * block, self.covariance)
        mixture.coefficients = torch.cat([linear.flatten(1), quadratic.flatten(1)], dim=1).T.to(dtype).contiguous()
        mixture.constants = constants.to(dtype)
        return mixture

    def full(self) -> "Gaussians":
        """The same with the blocks joined into one."""
        joined = torch.stack([torch.block_diag(*blocks) for blocks in self.covariances])
        return Gaussians(self.weights, self.means, joined[:, None])


@dataclass(frozen=True)
class Statistics:
    """What an E-step leaves, float64 on the CPU.

    Shape:
        counts: `(K,)`, Σ_n r_nk.
        sums: `(K, F)`, Σ_n r_nk φ(x_n).
        log_likelihood: of all frames together.
    """

    counts: torch.Tensor
    sums: torch.Tensor
    log_likelihood: float

    def moments(self, block: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted means `(K, D)` and covariances `(K, G, P, P)`; zero where a component is empty."""
        averages = self.sums / self.counts.clamp_min(TINY)[:, None]
        dim = 2 * averages.shape[1] // (block + 3)  # F = D (P + 3) / 2
        means, squares = averages[:, :dim], averages[:, dim:].unflatten(1, (dim // block, -1))
        i, j = products(block, averages.device)
        second = squares.new_empty(*squares.shape[:2], block, block)
        second[..., i, j] = squares
        second[..., j, i] = squares
        grouped = means.unflatten(1, (-1, block))  # (K, D) -> (K, G, P)
        return means, second - grouped[..., :, None] * grouped[..., None, :]


@dataclass(frozen=True)
class Fit:
    """A fitted mixture, and the mean log-likelihood of a frame (or its lower bound) that every E-step found."""

    gaussians: Gaussians
    bounds: list[float]


def block_size(dim: int, covariance: Covariance) -> int:
    """Dimensions P that vary together."""
    return 1 if covariance == "diagonal" else dim


def products(block: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Index pairs i ≤ j of the products in φ, within a block."""
    i, j = torch.triu_indices(block, block, device=device)
    return i, j


def expand(frames: torch.Tensor, block: int) -> torch.Tensor:
    """φ(x) of frames `(..., D)`: `(..., F)`."""
    i, j = products(block, frames.device)
    grouped = frames.unflatten(-1, (-1, block))  # (..., D) -> (..., G, P)
    return torch.cat([frames, (grouped[..., i] * grouped[..., j]).flatten(-2)], dim=-1)


def collect(mixture: Mixture, frames: torch.Tensor) -> Statistics:
    """E-step over frames `(N, D)`, which may lie on another device than the mixture."""
    device = mixture.constants.device
    counts = torch.zeros_like(mixture.constants, dtype=torch.float64)
    sums = torch.zeros_like(mixture.coefficients.T, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for block in frames.split(FRAMES_PER_BLOCK):
        expanded = expand(block.to(device), mixture.block)
        joint = torch.addmm(mixture.constants, expanded, mixture.coefficients)  # (n, K)
        highest = joint.amax(dim=1, keepdim=True)
        shares = joint.sub_(highest).exp_()  # one exponential for both the likelihood and the shares
        sizes = shares.sum(dim=1, keepdim=True)
        total += (highest + sizes.log()).sum(dtype=torch.float64)
        shares /= sizes
        counts += shares.sum(dim=0)
        sums += shares.T @ expanded
    return Statistics(counts.cpu(), sums.cpu(), float(total))


def fit_mixture(
    frames: torch.Tensor,
    components: int,
    *,
    covariance: Covariance = "diagonal",
    iterations: int = 15,
    seed: int = 0,
    device: torch.device | None = None,
) -> Fit:
    """Maximum likelihood by EM from a k-means++ start, variances floored at 0.01 of those of all frames.

    Full covariances start from the diagonal fit and take as many iterations again. A component that is left with less
    than one frame stays as it is. Where a floor holds, the M-step is
    still the maximum under it (eigenvalues of the covariance in units of the floor are raised to 1), so that the
    likelihood never falls.

    Args:
        frames: `(N, D)`; on the CPU if there are many: they are moved block by block.
        components: K.
        covariance: of every component.
        iterations: of EM.
        seed: of the start.
        device: where the sums are computed.

    Raises:
        UserError: there are fewer frames than components.
    """
    gaussians = start(frames, components, torch.Generator().manual_seed(seed))
    fit = refine(gaussians, frames, iterations, device)
    if covariance == "full":
        more = refine(fit.gaussians.full(), frames, iterations, device)
        fit = Fit(more.gaussians, fit.bounds + more.bounds)
    return fit


def refine(gaussians: Gaussians, frames: torch.Tensor, iterations: int, device: torch.device | None = None) -> Fit:
    """So many iterations of EM from `gaussians`, on frames `(N, D)`."""
    floor = FLOOR * frames.double().var(dim=0, correction=0).clamp_min(CONSTANT).cpu()
    bounds = []
    for _ in range(iterations):
        statistics = collect(gaussians.mixture(frames.dtype).to(device), frames)
        bounds.append(statistics.log_likelihood / len(frames))
        gaussians = _maximise(statistics, gaussians, floor)
    return Fit(gaussians, bounds)


def _maximise(statistics: Statistics, before: Gaussians, floor: torch.Tensor) -> Gaussians:
    block = before.covariances.shape[-1]
    counts, (means, covariances) = statistics.counts, statistics.moments(block)
    scales = floor.sqrt().unflatten(0, (-1, block))  # (D,) -> (G, P)
    units = scales[:, :, None] * scales[:, None, :]
    values, vectors = torch.linalg.eigh(covariances / units)
    floored = (vectors * values.clamp_min(1.0)[..., None, :]) @ vectors.mT * units
    alive = counts >= FEWEST_FRAMES
    return Gaussians(
        counts.clamp_min(TINY) / counts.sum(),
        torch.where(alive[:, None], means, before.means),
        torch.where(alive[:, None, None, None], floored, before.covariances),
    )


def start(frames: torch.Tensor, components: int, generator: torch.Generator) -> Gaussians:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007) over a sample of frames `(N, D)`: K diagonal Gaussians.

    Every mean is the best of 2 + log K frames drawn with probability proportional to the squared distance to the
    nearest mean so far; all variances are the mean squared distance that is left.

    Raises:
        UserError: there are fewer frames than components.
    """
    if len(frames) < components:
        raise UserError(f"a mixture of {components} components needs at least as many frames, found {len(frames)}")
    chosen = torch.randperm(len(frames), generator=generator)[: SEEDING_FRAMES * components]
    sample = frames[chosen.to(frames.device)].cpu()
    norms = sample.square().sum(dim=1)

    def distances_to(rows: torch.Tensor) -> torch.Tensor:
        """Squared distances `(candidates, N)` of all frames to some of them."""
        return (norms[rows][:, None] - 2 * sample[rows] @ sample.T + norms).clamp_min(0)

    means = torch.randint(len(sample), (1,), generator=generator)
    nearest = distances_to(means)[0]
    for _ in range(1, components):
        candidates = torch.multinomial(
            nearest + 1e-12, 2 + int(math.log(components)), generator=generator, replacement=True
        )
        improved = torch.minimum(nearest, distances_to(candidates))
        best = improved.sum(dim=1).argmin()
        means = torch.cat([means, candidates[best : best + 1]])
        nearest = improved[best]
    dim = frames.shape[1]
    variance = (nearest.double().mean() / dim).clamp_min(FLOOR).expand(components, dim, 1, 1)
    return Gaussians(
        torch.full((components,), 1 / components, dtype=torch.float64), sample[means].double(), variance.clone()
    )
