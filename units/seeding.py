"""Where k-means begins: frames that lie far from each other.

k-means++   greedy (Arthur & Vassilvitskii 2007): every next code is the best of 2 + log K candidates, drawn with
            probability proportional to the squared distance to the nearest code so far. K passes over the frames.
k-means||   (Bahmani et al. 2012): rounds that draw K / 2 candidates at once; k-means++ chooses among them, each
            weighted by how many frames it is nearest to. Five passes, each a matrix product: for large K.
"""

from typing import Literal

import numpy as np
import torch

from textless.errors import UserError
from units.assign import NearestCode, block_size

Seeding = Literal["auto", "k-means++", "k-means||"]
GREEDY_UP_TO = 256  # codes; more are seeded by k-means|| unless something else is asked for
ROUNDS, OVERSAMPLING = 5, 0.5  # of k-means||: Bahmani et al. find little gain from more


def seed_codebook(frames: torch.Tensor, k: int, method: Seeding, generator: np.random.Generator) -> torch.Tensor:
    """Choose `k` of the frames `(T, D)` as codes `(K, D)`.

    Raises:
        UserError: there are fewer than `k` distinct frames.
    """
    distinct = _distinct(frames)
    if len(distinct) < k:
        raise UserError(
            f"K={k} needs as many distinct frames; the {len(frames)} looked at hold {len(distinct)}: use a smaller K"
        )
    frames = frames[distinct]
    if method == "auto":
        method = "k-means++" if k <= GREEDY_UP_TO else "k-means||"
    if method == "k-means++":
        return frames[_plus_plus(frames, torch.ones(len(frames), device=frames.device), k, generator)]
    return _parallel(frames, k, generator)


def _distinct(frames: torch.Tensor) -> torch.Tensor:
    """Indices of the first of every set of equal frames, ascending."""
    rows = np.ascontiguousarray(frames.cpu().numpy())
    first = np.unique(rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0], return_index=True)[1]
    return torch.from_numpy(np.sort(first)).to(frames.device)


def _draw(weights: torch.Tensor, count: int, generator: np.random.Generator) -> torch.Tensor:
    """`count` indices, drawn with replacement with probability proportional to `weights`."""
    cumulative = weights.double().cumsum(0)
    points = torch.from_numpy(generator.random(count)).to(weights.device) * cumulative[-1]
    return torch.searchsorted(cumulative, points, right=True).clamp_max(len(weights) - 1)


def _plus_plus(frames: torch.Tensor, weights: torch.Tensor, k: int, generator: np.random.Generator) -> torch.Tensor:
    """Indices `(K,)` by greedy k-means++ over frames `(T, D)` that count `weights` `(T,)` times."""
    norms = frames.square().sum(dim=1)

    def distances_to(rows: torch.Tensor) -> torch.Tensor:
        """Squared distances `(candidates, T)` of all frames to some of them."""
        distances = torch.addmm(norms, frames[rows], frames.T, alpha=-2).add_(norms[rows, None]).clamp_min_(0)
        distances[torch.arange(len(rows)), rows] = 0  # whatever rounding makes of it: a code is never drawn again
        return distances

    chosen = _draw(weights, 1, generator)
    nearest = distances_to(chosen)[0]
    for _ in range(1, k):
        candidates = _draw(nearest * weights, 2 + int(np.log(k)), generator)
        improved = torch.minimum(nearest, distances_to(candidates))  # (candidates, T)
        best = int((improved @ weights).argmin())
        chosen = torch.cat([chosen, candidates[best : best + 1]])
        nearest = improved[best]
    return chosen


def _parallel(frames: torch.Tensor, k: int, generator: np.random.Generator) -> torch.Tensor:
    """Codes `(K, D)` by k-means||; by k-means++ where the rounds draw fewer candidates than codes."""
    norms = frames.square().sum(dim=1)
    chosen = torch.from_numpy(generator.integers(len(frames), size=1)).to(frames.device)
    nearest, owner = _nearest_of(frames, norms, chosen)
    for _ in range(ROUNDS):
        drawn = torch.unique(_draw(nearest, max(1, round(OVERSAMPLING * k)), generator))
        drawn = drawn[~torch.isin(drawn, chosen)]
        if not len(drawn):
            break
        distances, owners = _nearest_of(frames, norms, drawn)
        closer = distances < nearest
        nearest = torch.where(closer, distances, nearest)
        owner = torch.where(closer, owners + len(chosen), owner)
        chosen = torch.cat([chosen, drawn])
    if len(chosen) < k:
        return frames[_plus_plus(frames, torch.ones_like(norms), k, generator)]
    weights = torch.bincount(owner, minlength=len(chosen)).float()
    candidates = frames[chosen]
    return candidates[_plus_plus(candidates, weights, k, generator)]


def _nearest_of(frames: torch.Tensor, norms: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distance `(T,)` of every frame to the nearest of some of them, and which one `(T,)`; 0 to itself."""
    codes = NearestCode(frames[rows])
    parts = [codes.approximate(block) for block in frames.split(block_size(frames.device))]
    distances = (torch.cat([lowest for _, lowest in parts]) + norms).clamp_min_(0)
    distances[rows] = 0
    return distances, torch.cat([labels for labels, _ in parts])
