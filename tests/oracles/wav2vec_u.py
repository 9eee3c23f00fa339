"""wav2vec-U's adversarial training, literally: torch's convolutions, loops over sentences, autograd twice.

Written from the description of the released code (fairseq, examples/wav2vec/unsupervised): what it computes, not how.
Labels: generated 1, text 0. Losses are sums over the batch and gradients are divided by its size. Where it pads, it
masks scores (but not the gradient penalty, the diversity, or the mean of the smoothness).

Draws are arguments, so that another implementation can be given the same: a number in [0, 1) for every place (of each
run, the place with the largest is kept) and one for every sentence (the point of the gradient penalty).
"""

import torch
from torch import nn
from torch.nn import functional as F


class LiteralGenerator(nn.Module):
    """Segments → logits: dropout, one convolution, no bias."""

    def __init__(self, dim: int, n_phones: int, kernel: int = 4, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = dropout
        self.project = nn.Conv1d(dim, n_phones, kernel, padding=kernel // 2, bias=False)

    def forward(self, features: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        inside = torch.arange(features.shape[1]) < lengths[:, None]
        x = F.dropout(features, self.dropout, self.training) * inside[..., None]
        return self.project(x.mT).mT[:, : features.shape[1]]


class LiteralDiscriminator(nn.Module):
    """Causal convolutions with kernel k, GELU after all but the first and the last."""

    def __init__(self, n_phones: int, dim: int = 384, kernel: int = 6, hidden: int = 1) -> None:
        super().__init__()
        self.kernel = kernel
        self.first = nn.Conv1d(n_phones, dim, kernel)
        self.hidden = nn.ModuleList(nn.Conv1d(dim, dim, kernel) for _ in range(hidden))
        self.last = nn.Conv1d(dim, 1, kernel)

    def forward(self, phones: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        x = self._causal(self.first, phones.mT)
        for layer in self.hidden:
            x = F.gelu(self._causal(layer, x))
        logits = self._causal(self.last, x)[:, 0]
        if lengths is None:
            return logits.mean(1)
        return torch.stack([row[:n].mean() for row, n in zip(logits, lengths.tolist(), strict=True)])

    def _causal(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return layer(F.pad(x, (self.kernel - 1, 0)))


def join(logits: torch.Tensor, lengths: torch.Tensor, draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One frame of every run of equal neighbours, `(B, T', V)` zero-padded, and how many."""
    kept = []
    for row, size, drawn in zip(logits, lengths.tolist(), draws, strict=True):
        best = row.argmax(-1).tolist()
        runs: list[list[int]] = []
        for place in range(size):
            if place and best[place] == best[place - 1]:
                runs[-1].append(place)
            else:
                runs.append([place])
        kept.append(torch.stack([row[max(run, key=lambda place: float(drawn[place]))] for run in runs]))
    joined = nn.utils.rnn.pad_sequence(kept, batch_first=True)
    return joined, torch.tensor([len(rows) for rows in kept])


class LiteralTraining:
    """Both networks and their optimizers (Adam with decoupled decay)."""

    def __init__(
        self, generator: LiteralGenerator, discriminator: LiteralDiscriminator, weights: dict[str, float]
    ) -> None:
        self.generator, self.discriminator, self.weights = generator, discriminator, weights
        shared = {"betas": (0.5, 0.98), "eps": 1e-6}
        self.optimizers = (
            torch.optim.AdamW(generator.parameters(), lr=4e-4, weight_decay=0.0, **shared),
            torch.optim.AdamW(discriminator.parameters(), lr=5e-4, weight_decay=1e-4, **shared),
        )

    def update(
        self,
        number: int,
        features: torch.Tensor,
        lengths: torch.Tensor,
        text: torch.Tensor,
        text_lengths: torch.Tensor,
        draws: torch.Tensor,
        points: torch.Tensor,
    ) -> dict[str, float]:
        """Even numbers: the generator's turn; odd ones: the discriminator's. Text is one-hot. Returns the losses."""
        batch = len(features)
        logits, counts = join(self.generator(features, lengths), lengths, draws)
        inside = torch.arange(logits.shape[1]) < counts[:, None]
        made = logits.softmax(-1) * inside[..., None]
        score = self.discriminator(made, counts)
        if number % 2 == 0:
            losses = {
                "fooled": F.binary_cross_entropy_with_logits(score, torch.zeros_like(score), reduction="sum"),
                "smoothness": batch * self.weights["smoothness"] * self._smoothness(logits, inside),
                "diversity": batch * self.weights["diversity"] * self._diversity(logits),
            }
        else:
            real = self.discriminator(text, text_lengths)
            losses = {
                "text": F.binary_cross_entropy_with_logits(real, torch.zeros_like(real), reduction="sum"),
                "generated": F.binary_cross_entropy_with_logits(score, torch.ones_like(score), reduction="sum"),
                "penalty": self.weights["gradient_penalty"] * self._penalty(text, made.detach(), points),
            }
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        (sum(losses.values()) / batch).backward()
        network = (self.generator, self.discriminator)[number % 2]
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        self.optimizers[number % 2].step()
        return {name: float(value.detach()) / batch for name, value in losses.items()}

    def _smoothness(self, logits: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        squares = F.mse_loss(logits[:, :-1], logits[:, 1:], reduction="none")
        return (squares * inside[:, 1:, None]).mean()

    def _diversity(self, logits: torch.Tensor) -> torch.Tensor:
        mean = logits.flatten(0, 1).softmax(-1).mean(0)
        perplexity = torch.exp(-(mean * torch.log(mean + 1e-7)).sum())
        return (len(mean) - perplexity) / len(mean)

    def _penalty(self, text: torch.Tensor, made: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        size = min(text.shape[1], made.shape[1])
        between = (points * text[:, :size] + (1 - points) * made[:, :size]).requires_grad_()
        scores = self.discriminator(between)
        gradient = torch.autograd.grad(scores, between, torch.ones_like(scores), create_graph=True)[0]
        return ((gradient.norm(2, dim=1) - 1) ** 2).sum()  # over time, for each phone of each sentence
