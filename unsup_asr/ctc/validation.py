"""How good a recogniser is on held-out speech, by the labels that it learns from and by unpaired text.

Neither asks for a reference: in self-training the labels are pseudo labels. What is kept is the lowest sum of

- nats a symbol of the held-out labels under CTC, and
- the logarithm of the weighted perplexity of its own transcripts under a language model of unpaired text, if there is
  any (`unsup_asr.selection`).

Pseudo labels alone would ask for their errors to be learnt, text alone for fluent nonsense.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from textless.training.precision import Precision, autocast
from unsup_asr.ctc.data import PairedSpeech
from unsup_asr.ctc.learner import Learner
from unsup_asr.ctc.sampling import collapse
from unsup_asr.selection import Judge
from zerospeech_eval.token_errors import edits


@dataclass(frozen=True)
class Validation:
    """What held-out utterances say; `criterion` is to be low.

    Attributes:
        nats: a symbol of the labels, under CTC.
        disagreement: edits from the labels to greedy transcripts, by symbols of the labels.
        weighted_perplexity: of greedy transcripts under unpaired text; None without text.
    """

    nats: float
    disagreement: float
    weighted_perplexity: float | None

    @property
    def criterion(self) -> float:
        """What the best checkpoint has least of."""
        return self.nats + (math.log(self.weighted_perplexity) if self.weighted_perplexity is not None else 0.0)

    def metrics(self) -> dict[str, float]:
        """What is logged."""
        found = {"nats": self.nats, "disagreement": self.disagreement, "criterion": self.criterion}
        if self.weighted_perplexity is not None:
            found["weighted_perplexity"] = self.weighted_perplexity
        return {f"valid_{name}": value for name, value in found.items()}


@torch.no_grad()
def validate(
    learner: Learner,
    held_out: PairedSpeech,
    judge: Judge | None,
    *,
    seconds: float,
    precision: Precision,
    device: torch.device,
) -> Validation:
    """Look at held-out utterances, in batches of so many `seconds`."""
    learner.eval()
    nats, n_symbols, n_edits = 0.0, 0, 0
    transcripts: list[np.ndarray] = []
    for indices in held_out.in_order(seconds):
        batch = held_out.collate(indices).to(device)
        with autocast(device, precision):
            states = learner.states(batch)
            nats += float(learner.network.ctc_nats(states, batch.symbols, batch.counts).double().sum())
            path = learner.network.ctc_log_probs(states).argmax(-1)
        begins = collapse(path, states.lengths, learner.network.n_symbols)
        for row, said, symbols, count in zip(path, begins, batch.symbols, batch.counts.tolist(), strict=True):
            transcripts.append(row[said].cpu().numpy())
            n_edits += sum(edits(symbols[:count].cpu().numpy(), transcripts[-1]))
            n_symbols += count
    learner.train()
    perplexity = judge(transcripts).weighted_perplexity if judge is not None else None
    return Validation(nats / n_symbols, n_edits / n_symbols, perplexity)
