"""The nearest code of every frame: one matrix product a block, and exact labels all the same.

|x − c|² = |x|² + |c|² − 2 x·c, and |x|² does not matter for the choice. The product is rounded, and differently so on
every machine and for every size of block. Where the two best codes are closer than the rounding could explain, the
distances are computed again in float64, so that labels depend neither on batches nor on threads nor on the device.
"""

from functools import cached_property

import numpy as np
import torch

CPU_BLOCK, CUDA_BLOCK = 2048, 1 << 16  # frames: their scores stay in the cache of a CPU, and fill a GPU
UNIT_ROUNDOFF = 2.0**-24  # of float32


def block_size(device: torch.device) -> int:
    """How many frames to look at together."""
    return CUDA_BLOCK if device.type == "cuda" else CPU_BLOCK


class NearestCode:
    """Finds the nearest of the codes `(K, D)`, float32."""

    def __init__(self, codebook: torch.Tensor) -> None:
        self.codebook = codebook
        self._norms = codebook.square().sum(dim=1)  # (K,)
        self._largest = float(self._norms.max().sqrt())

    @cached_property
    def _exact_codebook(self) -> tuple[torch.Tensor, torch.Tensor]:
        codes = self.codebook.double()
        return codes, codes.square().sum(dim=1)

    def scores(self, frames: torch.Tensor) -> torch.Tensor:
        """Squared distances less |x|²: frames `(T, D)` → `(T, K)`."""
        return torch.addmm(self._norms, frames, self.codebook.T, alpha=-2)

    def approximate(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Labels and their scores, both `(T,)`; near ties fall either way, which means of many frames do not feel."""
        lowest, labels = self.scores(frames).min(dim=1)
        return labels, lowest

    def labels(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames `(T, D)` → labels `(T,)`: argmin over codes of the distance in float64; ties go to the lower code."""
        labels = torch.empty(len(frames), dtype=torch.int64, device=frames.device)
        doubtful = torch.empty(len(frames), dtype=torch.bool, device=frames.device)
        size = block_size(frames.device)
        for start in range(0, len(frames), size):
            here = slice(start, start + size)
            scores = self.scores(frames[here])
            lowest, labels[here] = scores.min(dim=1)
            second = scores.scatter_(1, labels[here, None], torch.inf).amin(dim=1)
            doubtful[here] = second - lowest <= self._rounding(frames[here])
        for rows in doubtful.nonzero()[:, 0].split(size):
            labels[rows] = self._exact(frames[rows])
        return labels

    def _rounding(self, frames: torch.Tensor) -> torch.Tensor:
        """Bound `(T,)` on the error of a difference of two scores, each a sum of D products (Higham 2002, eq. 3.5)."""
        norms = torch.linalg.vector_norm(frames, dim=1)
        return 2 * frames.shape[1] * UNIT_ROUNDOFF * self._largest * (2 * norms + self._largest)

    def _exact(self, frames: torch.Tensor) -> torch.Tensor:
        codes, norms = self._exact_codebook
        scores = norms - 2 * frames.double() @ codes.T
        return torch.from_numpy(np.argmin(scores.cpu().numpy(), axis=1)).to(frames.device)
