"""Ragged batches: utterances of similar length together, padded, with their lengths beside them."""

import random
from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence


def pad(sequences: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack `(S_i, ...)` tensors into `(B, max S, ...)`, zero-padded at the end, and their lengths `(B,)`."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return pad_sequence(list(sequences), batch_first=True), lengths


def mask(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Return `(B, size)` booleans: true on the first `lengths[b]` positions of row b."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def bucket(lengths: Sequence[int], max_total: int, *, seed: int | None = None) -> list[list[int]]:
    """Group indices so that a padded batch (size × longest) holds at most `max_total`; a longer one goes alone.

    Args:
        lengths: of every item, in any unit.
        max_total: bound on batch size × longest length, in the same unit.
        seed: shuffles equal lengths and the order of the batches; None keeps them sorted, longest first.
    """
    order = list(range(len(lengths)))
    shuffler = random.Random(seed)
    if seed is not None:
        shuffler.shuffle(order)
    order.sort(key=lambda index: -lengths[index])
    batches: list[list[int]] = []
    for index in order:
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= max_total:
            batches[-1].append(index)
        else:
            batches.append([index])
    if seed is not None:
        shuffler.shuffle(batches)
    return batches
