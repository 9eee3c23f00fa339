"""Continuations by sampling, many rows at a time, each row until its utterance ends."""

from collections.abc import Iterator, Sequence

import torch

from ulm.reader import Reader
from ulm.sampling import Sampling, choose, penalize
from ulm.tokens import Tokenizer


@torch.inference_mode()
def draw(
    reader: Reader,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    keys: Sequence[int],
    sampling: Sampling,
) -> Iterator[list[tuple[int, list[int]]]]:
    """What every row that goes on says next, a step at a time: pairs of the row and its new units.

    A row ends with the utterance, or with `max_units`. One without a prompt says at least one unit.

    Args:
        reader: has read the prompts, and has room for `max_units` tokens.
        tokenizer: of the network.
        prompts: tokens of each row.
        keys: 64 bits of randomness for each row, see `stream_key`.
        sampling: how to draw, and how much.
    """
    boundary, device = tokenizer.vocabulary.boundary, reader.logits.device
    streams = torch.tensor(keys, dtype=torch.int64, device=device)
    unspoken = torch.tensor([not prompt for prompt in prompts], device=device)
    seen = _seen(prompts, boundary, device) if sampling.repetition_penalty != 1 else None
    rows, left = list(range(len(prompts))), [sampling.max_units] * len(prompts)
    for step in range(sampling.max_units):
        logits = reader.logits[:, : boundary + 1]  # without the inert symbols
        if seen is not None:
            logits = penalize(logits, seen, sampling.repetition_penalty)
        if step == 0:
            logits[unspoken, boundary] = -torch.inf
        tokens = choose(logits, streams, step, sampling)
        said = []
        for row, token in zip(rows, tokens.tolist(), strict=True):
            if left[row] and token != boundary:
                units = tokenizer.decode([token])[: left[row]]
                left[row] -= len(units)
                said.append((row, units))
            else:
                left[row] = 0
        yield said
        running = [place for place, row in enumerate(rows) if left[row]]
        if not running:
            return
        if seen is not None:
            seen[torch.arange(len(tokens), device=device), tokens] = True
            seen[:, boundary] = False
        if len(running) <= len(rows) // 2:  # rows that ended are carried along until they are half of the batch
            places = torch.tensor(running, device=device)
            reader.select(places)
            streams, tokens, rows = streams[places], tokens[places], [rows[place] for place in running]
            seen = None if seen is None else seen[places]
        reader.take(tokens)


def _seen(prompts: Sequence[Sequence[int]], boundary: int, device: torch.device) -> torch.Tensor:
    """`(B, K + 1)`: which tokens each prompt holds; that an utterance has begun makes no end of it less probable."""
    seen = torch.zeros(len(prompts), boundary + 1, dtype=torch.bool, device=device)
    for row, prompt in enumerate(prompts):
        seen[row, list(prompt)] = True
    return seen
