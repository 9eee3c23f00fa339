"""Beam search: the most probable continuations, as far as a few rows of each prompt can tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ulm.reader import Reader


@dataclass(frozen=True)
class BeamSearch:
    """How far, and how widely, to search.

    Attributes:
        max_units: of a continuation; of a model of BPE tokens, at most so many tokens are searched.
        beams: beginnings that are kept of each prompt.
        length_penalty: a continuation's score is its log probability divided by its number of tokens, the end
            included, to this power: 0 compares sums, which prefers short ones; 1 compares means.
    """

    max_units: int = 250
    beams: int = 5
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.max_units < 1 or self.beams < 1 or self.length_penalty < 0:
            raise ValueError(f"max_units ≥ 1, beams ≥ 1 and length_penalty ≥ 0 are needed, not {self}")


@dataclass(frozen=True)
class Hypothesis:
    """A continuation: its tokens without the end, the natural log of its probability, the score it was chosen by."""

    tokens: list[int]
    log_prob: float
    score: float


@torch.inference_mode()
def search(reader: Reader, boundary: int, plan: BeamSearch, empty: Sequence[bool]) -> list[list[Hypothesis]]:
    """The best continuations of every prompt, best first, `beams` at most.

    As in transformers' `generate`: of the 2 × `beams` most probable extensions of the beginnings, those among the first
    half that end the utterance are kept aside, and the others go on. A prompt is done when no beginning that is left
    can still score better than the worst of `beams` ended ones. What has not ended after `max_units` competes as it is.

    Args:
        reader: has read every prompt in `beams` rows that follow one another.
        boundary: the token that ends an utterance.
        plan: how far to search.
        empty: of every prompt, whether it has no units; its continuations have at least one.
    """
    beams, device = plan.beams, reader.logits.device
    best = [_Best(plan) for _ in empty]
    sums = torch.full((len(empty), beams), -torch.inf, dtype=torch.float64, device=device)
    sums[:, 0] = 0.0  # the rows of a prompt are equal at first: one of them stands for all
    said = torch.zeros(len(empty) * beams, 0, dtype=torch.long, device=device)  # (P × beams, steps)
    for step in range(1, plan.max_units + 1):
        logs = reader.logits.double().log_softmax(-1)[:, : boundary + 1].view(len(empty), beams, -1)
        if step == 1:
            logs[torch.tensor(empty, device=device), :, boundary] = -torch.inf
        totals = (sums[:, :, None] + logs).flatten(1)  # (P, beams × (K + 1))
        totals, places = totals.topk(min(2 * beams, totals.shape[1]))  # (P, 2 × beams)
        offsets = torch.arange(len(empty), device=device)[:, None] * beams
        rows, tokens = offsets + places // (boundary + 1), places % (boundary + 1)
        ends = tokens == boundary
        for prompt, rank in torch.nonzero(ends[:, :beams]).tolist():
            best[prompt].offer(said[rows[prompt, rank]], totals[prompt, rank], step)
        going_on = ends.int().sort(dim=1, stable=True).indices[:, :beams]  # the first `beams` that do not end
        sums, rows, tokens = (x.gather(1, going_on) for x in (totals, rows, tokens))
        said = torch.cat([said[rows.flatten()], tokens.flatten()[:, None]], dim=1)
        if step == plan.max_units or all(b.is_done(top) for b, top in zip(best, sums[:, 0].tolist(), strict=True)):
            break
        reader.select(rows.flatten())
        reader.take(tokens.flatten())
    for row, total in enumerate(sums.flatten()):
        best[row // beams].offer(said[row], total, said.shape[1])
    return [prompt.hypotheses for prompt in best]


class _Best:
    """The best continuations of one prompt."""

    def __init__(self, plan: BeamSearch) -> None:
        self.hypotheses: list[Hypothesis] = []
        self._plan = plan

    def offer(self, tokens: torch.Tensor, total: torch.Tensor, length: int) -> None:
        """Keep a continuation if it is one of the best so far."""
        log_prob = float(total)
        if log_prob == -math.inf:
            return
        score = log_prob / length**self._plan.length_penalty
        self.hypotheses.append(Hypothesis(tokens.tolist(), log_prob, score))
        self.hypotheses.sort(key=lambda hypothesis: -hypothesis.score)
        del self.hypotheses[self._plan.beams :]

    def is_done(self, log_prob: float) -> bool:
        """Whether nothing that is as probable as this so far can become one of the best."""
        if len(self.hypotheses) < self._plan.beams:
            return False
        return log_prob / self._plan.max_units**self._plan.length_penalty <= self.hypotheses[-1].score
