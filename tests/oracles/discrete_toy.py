"""A problem small enough to write its expectation out: L independent choices of one of V symbols each.

The reward is that of a linear "synthesizer": R(y) = -‖x - Σ_l W_l y_l‖², y_l one-hot. The exact gradient of E[R] comes
from the sum over all V^L sequences.
"""

import itertools

import torch

L, V, D = 3, 4, 5


class Toy:
    """Logits `(L, V)`, weights `(L, V, D)` and a target `(D,)`, random by seed."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(L, V, generator=generator, dtype=torch.float64).requires_grad_()
        self.weights = torch.randn(L, V, D, generator=generator, dtype=torch.float64)
        self.target = 2 * torch.randn(D, generator=generator, dtype=torch.float64)

    def reward(self, one_hot: torch.Tensor) -> torch.Tensor:
        """Symbols `(..., L, V)` → `(...,)`."""
        return -(self.target - torch.einsum("...lv,lvd->...d", one_hot, self.weights)).square().sum(-1)

    def exact(self) -> torch.Tensor:
        """Gradient `(L, V)` of the expectation of the reward."""
        probabilities = self.logits.softmax(-1)
        eye = torch.eye(V, dtype=torch.float64)
        total = torch.zeros((), dtype=torch.float64)
        for sequence in itertools.product(range(V), repeat=L):
            chance = torch.stack([probabilities[place, symbol] for place, symbol in enumerate(sequence)]).prod()
            total = total + chance * self.reward(eye[list(sequence)])
        (gradient,) = torch.autograd.grad(total, self.logits)
        return gradient

    def sample(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """`count` sequences as one-hot `(count, L, V)`, and their log-probabilities `(count,)`."""
        logs = self.logits.log_softmax(-1)
        symbols = torch.multinomial(logs.detach().exp(), count, replacement=True, generator=generator).T  # (count, L)
        one_hot = torch.eye(V, dtype=torch.float64)[symbols]
        return one_hot, (one_hot * logs).sum((1, 2))
