"""Log probabilities of unit sequences under a Transformer, in batches that change nothing.

Utterances longer than the context are read in windows that begin every `stride` tokens, by default half the context.
Each token is predicted in the first window that holds it, so with `context - stride` tokens before it or more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from ulm.model import UnitTransformer
from ulm.vocabulary import Vocabulary


@dataclass(frozen=True)
class Window:
    """Inputs `start..stop` of one utterance; what follows them is predicted from `first` on."""

    index: int
    start: int
    first: int
    stop: int


def windows(index: int, n_inputs: int, context: int, stride: int) -> Iterator[Window]:
    """Windows over the inputs of an utterance: one, if they fit."""
    start = first = 0
    while first < n_inputs:
        stop = min(n_inputs, start + context)
        yield Window(index, start, first, stop)
        start, first = start + stride, stop


@torch.inference_mode()
def window_log_probs(
    model: UnitTransformer,
    vocabulary: Vocabulary,
    context: int,
    sequences: Sequence[Sequence[int] | np.ndarray],
    batch_tokens: int,
    stride: int | None = None,
) -> list[np.ndarray]:
    """Units `(N,)` of every utterance → `(N + 1,)` natural logs: of every unit, and of the end after the last.

    Args:
        model: read in float32, without dropout.
        vocabulary: adds the boundaries.
        context: longest window, in tokens.
        sequences: in any order; windows of similar length are put together.
        batch_tokens: bound on windows × longest window; a memory limit that changes no result.
        stride: tokens from one window to the next, 1 to `context`; None: half of it. Small ones take long, and judge
            more tokens by a whole context.
    """
    stride = context // 2 if stride is None else stride
    if not 1 <= stride <= context:
        raise ValueError(f"stride {stride} should lie in 1..{context}, the context")
    documents = [vocabulary.document(sequence) for sequence in sequences]
    results = [np.empty(len(document) - 1, dtype=np.float32) for document in documents]
    spans = [span for i, document in enumerate(documents) for span in windows(i, len(document) - 1, context, stride)]
    device = model.embedding.weight.device
    model.eval()
    for batch in bucket([span.stop - span.start for span in spans], batch_tokens):
        chosen = [spans[index] for index in batch]
        tokens, _ = pad([torch.from_numpy(documents[s.index][s.start : s.stop]) for s in chosen])
        targets, _ = pad([torch.from_numpy(documents[s.index][s.start + 1 : s.stop + 1]) for s in chosen])
        logits = model(tokens.to(device)).float()  # (B, T, V)
        chosen_logits = logits.gather(-1, targets.to(device)[..., None])[..., 0]
        logs = (chosen_logits - logits.logsumexp(-1)).cpu().numpy()
        for span, row in zip(chosen, logs, strict=True):
            results[span.index][span.first : span.stop] = row[span.first - span.start : span.stop - span.start]
    return results
