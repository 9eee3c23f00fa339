"""Transcripts drawn from a recogniser's own distribution, with their log-probabilities.

`sample` draws without gradients, `score` gives the log-probabilities of what was drawn with gradients: a REINFORCE
estimator is the mean of reward × score.

From CTC, a path is drawn state by state and collapsed. Since the probability of a transcript is the sum over its paths,
the transcript is drawn from exactly the distribution that `ctc_nats` scores. From the attention decoder, symbols are
drawn one by one until the end or `max_length`; a transcript that was cut off is scored without its end, so that the
probabilities of all that can be drawn still sum to 1.
"""

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from textless.audio.batches import mask, pad
from unsup_asr.ctc.decoder import Decoding
from unsup_asr.ctc.network import RecognitionNetwork, States


@dataclass(frozen=True)
class Samples:
    """What was drawn for a batch.

    Attributes:
        symbols: `(B, N)`, zero beyond the counts.
        counts: symbols of each `(B,)`.
        ended: `(B,)` false where `max_length` cut it off.
        log_probs: `(B,)` natural, under the distribution that was drawn from; without gradient.
    """

    symbols: torch.Tensor
    counts: torch.Tensor
    ended: torch.Tensor
    log_probs: torch.Tensor

    @property
    def n_cut(self) -> int:
        """Samples that were cut off."""
        return int((~self.ended).sum())


@torch.no_grad()
def sample(
    network: RecognitionNetwork,
    states: States,
    *,
    n: int = 1,
    max_length: int = 200,
    temperature: float = 1.0,
    attention: bool | None = None,
    generator: torch.Generator | None = None,
) -> Samples:
    """Draw `n` transcripts of every utterance, one after the other: B · n rows, like those of `states.repeat(n)`.

    Args:
        network: in evaluation mode, unless dropout is to be part of the distribution.
        states: of B utterances.
        n: samples of each.
        max_length: symbols at most, of the decoder; CTC says no more than there are states.
        temperature: divides the logits; 0 takes the likeliest path or symbol.
        attention: from the decoder (default: where there is one), else from CTC.
        generator: of all draws, on the device of the states.
    """
    repeated = states.repeat(n)
    if uses_attention(network, attention=attention):
        drawn = _draw_symbols(network, repeated, max_length, temperature, generator)
    else:
        drawn = _draw_paths(network, repeated, temperature, generator)
    log_probs = score(network, repeated, drawn, temperature=temperature or 1.0, attention=attention)
    return replace(drawn, log_probs=log_probs)


def score(
    network: RecognitionNetwork,
    states: States,
    samples: Samples,
    *,
    temperature: float = 1.0,
    attention: bool | None = None,
) -> torch.Tensor:
    """Log-probabilities `(B,)` of samples, a row of `states` each, with gradients."""
    if not uses_attention(network, attention=attention):
        return -network.ctc_nats(states, samples.symbols, samples.counts, temperature)
    assert network.decoder is not None
    logits = network.decoder(states.values, states.lengths, samples.symbols).float() / temperature
    targets = F.pad(samples.symbols, (0, 1))
    is_end = torch.arange(targets.shape[1], device=targets.device) == samples.counts[:, None]
    logs = logits.log_softmax(-1).gather(-1, targets.masked_fill(is_end, network.n_symbols)[..., None])[..., 0]
    return (logs * mask(samples.counts + samples.ended.long(), logs.shape[1])).sum(dim=1)


def uses_attention(network: RecognitionNetwork, *, attention: bool | None) -> bool:
    """Whether transcripts come from the decoder; None: where there is one."""
    if attention and network.decoder is None:
        raise ValueError("this network has no attention decoder: set decoder_blocks")
    return network.decoder is not None if attention is None else attention


def draw(logits: torch.Tensor, temperature: float, generator: torch.Generator | None) -> torch.Tensor:
    """Logits `(..., V)` → symbols `(...)`; temperature 0 takes the likeliest."""
    if temperature == 0:
        return logits.argmax(-1)
    shares = (logits.float() / temperature).softmax(-1)
    return torch.multinomial(shares.flatten(0, -2), 1, generator=generator).view(logits.shape[:-1])


def collapse(path: torch.Tensor, lengths: torch.Tensor, blank: int) -> torch.Tensor:
    """Path `(B, T)` of states, `lengths` `(B,)` valid → `(B, T)` true where a symbol begins."""
    before = F.pad(path[:, :-1], (1, 0), value=blank)
    return (path != blank) & (path != before) & mask(lengths, path.shape[1])


def _draw_paths(
    network: RecognitionNetwork, states: States, temperature: float, generator: torch.Generator | None
) -> Samples:
    path = draw(network.ctc(states.values), temperature, generator)  # (B, T)
    begins = collapse(path, states.lengths, network.n_symbols)
    symbols, counts = pad([row[said] for row, said in zip(path, begins, strict=True)])
    counts = counts.to(path.device)
    return Samples(symbols, counts, torch.ones_like(counts, dtype=torch.bool), torch.zeros(len(counts)))


def _draw_symbols(
    network: RecognitionNetwork,
    states: States,
    max_length: int,
    temperature: float,
    generator: torch.Generator | None,
) -> Samples:
    decoder = network.decoder
    assert decoder is not None
    decoding = Decoding(decoder, states.values, states.lengths)
    latest = torch.full((len(states.lengths),), decoder.boundary, device=states.values.device)
    ended = torch.zeros_like(latest, dtype=torch.bool)
    counts = torch.zeros_like(latest)
    drawn: list[torch.Tensor] = []
    while len(drawn) < max_length and not ended.all():
        latest = draw(decoding.read(decoder.embedding(latest[:, None]))[:, 0], temperature, generator)
        ended = ended | (latest == decoder.boundary)
        latest = latest.masked_fill(ended, 0)
        counts = counts + ~ended
        drawn.append(latest)
    # One that stops exactly at the bound has not said so: it counts as cut off, like those that would have gone on.
    symbols = torch.stack(drawn, dim=1)[:, : int(counts.max())]
    return Samples(symbols, counts, ended, torch.zeros(len(counts)))
