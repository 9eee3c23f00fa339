"""Transcripts that gradients go through: distributions over symbols instead of symbols.

`expected` gives distributions as they are; `argmax` and `gumbel` give one-hot rows whose gradient is that of the
distributions (straight-through, Bengio et al. 2013; Tjandra et al. 2019), the second after Gumbel noise was added to
the logits (Jang et al. 2017). All are biased: which symbols are said, and how many, has no gradient.

From CTC there is a row for every run of states whose likeliest symbol is the same and no blank; it is the mean of their
distributions without the blank. From the attention decoder there is a row for every symbol, and what it reads back is
the relaxed row, too.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from textless.audio.batches import mask
from unsup_asr.ctc.decoder import AttentionDecoder, Decoding
from unsup_asr.ctc.network import RecognitionNetwork, States
from unsup_asr.ctc.sampling import collapse, uses_attention

Estimator = Literal["expected", "argmax", "gumbel"]
TINY = 1e-20


@dataclass(frozen=True)
class Relaxed:
    """Rows `(B, N, V)` that sum to 1, of which `counts` `(B,)` are valid and the rest zero."""

    rows: torch.Tensor
    counts: torch.Tensor


def relax(
    network: RecognitionNetwork,
    states: States,
    estimator: Estimator,
    *,
    temperature: float = 1.0,
    max_length: int = 200,
    attention: bool | None = None,
    generator: torch.Generator | None = None,
) -> Relaxed:
    """A relaxed transcript of every utterance.

    Args:
        network: in evaluation mode, unless dropout is wanted.
        states: of B utterances.
        estimator: what the rows are.
        temperature: divides the logits of the distributions whose gradient is taken.
        max_length: rows at most, of the decoder.
        attention: from the decoder (default: where there is one), else from CTC.
        generator: of Gumbel noise, on the device of the states.
    """
    if uses_attention(network, attention=attention):
        assert network.decoder is not None
        return _of_decoder(network.decoder, states, estimator, temperature, max_length, generator)
    logits = network.ctc(states.values).float()  # (B, T, V + 1)
    if estimator == "gumbel":
        logits = logits + gumbel(logits, generator)
    path = logits.argmax(-1)
    begins = collapse(path, states.lengths, network.n_symbols)
    said = (path != network.n_symbols) & mask(states.lengths, path.shape[1])
    counts = begins.sum(dim=1)
    # The mean over the states of each run, by adding every state to the row of its run.
    batch, n_rows = len(path), int(counts.max())
    places = (begins.cumsum(dim=1) - 1 + n_rows * torch.arange(batch, device=path.device)[:, None])[said]
    spread = (logits[..., :-1] / temperature).softmax(-1)[said]
    sums = spread.new_zeros(batch * n_rows, network.n_symbols).index_add(0, places, spread)
    rows = (sums / sums.detach().sum(dim=1, keepdim=True).clamp_min(TINY)).unflatten(0, (batch, n_rows))
    return Relaxed(hardened(rows, estimator) * mask(counts, n_rows)[..., None], counts)


def gumbel(like: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Noise such that the largest of logits + noise is a draw from their softmax."""
    uniform = torch.rand(like.shape, generator=generator, device=like.device)
    return -(-(uniform + TINY).log() + TINY).log()


def _of_decoder(
    decoder: AttentionDecoder,
    states: States,
    estimator: Estimator,
    temperature: float,
    max_length: int,
    generator: torch.Generator | None,
) -> Relaxed:
    """The end is left out of the rows: whether it comes has no gradient."""
    decoding = Decoding(decoder, states.values, states.lengths)
    begin = torch.full((len(states.lengths), 1), decoder.boundary, device=states.values.device)
    embedded = decoder.embedding(begin)
    ended = torch.zeros_like(begin[:, 0], dtype=torch.bool)
    counts = torch.zeros_like(begin[:, 0])
    rows: list[torch.Tensor] = []
    while len(rows) < max_length and not ended.all():
        logits = decoding.read(embedded)[:, 0].float()
        if estimator == "gumbel":
            logits = logits + gumbel(logits, generator)
        ended = ended | (logits.argmax(-1) == decoder.boundary)
        counts = counts + ~ended
        rows.append(hardened((logits[:, :-1] / temperature).softmax(-1), estimator))
        embedded = (rows[-1] @ decoder.embedding.weight[:-1])[:, None]
    stacked = torch.stack(rows, dim=1)[:, : int(counts.max())]
    return Relaxed(stacked * mask(counts, stacked.shape[1])[..., None], counts)


def hardened(rows: torch.Tensor, estimator: Estimator) -> torch.Tensor:
    """One-hot rows with the gradient of the soft ones, unless they stay as they are."""
    if estimator == "expected":
        return rows
    return F.one_hot(rows.argmax(-1), rows.shape[-1]) + (rows - rows.detach())
