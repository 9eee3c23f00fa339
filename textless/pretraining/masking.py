"""Which frames are hidden from the encoder: spans with random starts, as in wav2vec 2.0 and HuBERT."""

import torch


def span_mask(
    frames: torch.Tensor, probability: float, span: int, generator: torch.Generator, *, at_least: int = 1
) -> torch.Tensor:
    """Masks `(B, T)` for utterances of so many frames `(B,)`; true is hidden.

    The number of spans of an utterance of n frames is `probability` · n / `span`, rounded at random to one of its
    neighbours, and `at_least`; their starts are drawn without replacement from 0..n − span, and spans may overlap
    (fairseq's `compute_mask_indices`, static length). With HuBERT's 0.8 and 10, about half of the frames are hidden.

    Args:
        frames: valid frames of each utterance; T is the largest.
        probability: share of frames that would be hidden if no spans overlapped.
        span: frames hidden by each start.
        generator: on the CPU; gives every random number.
        at_least: spans an utterance gets however short it is (if it has room for one).
    """
    counts = frames.tolist()
    hidden = torch.zeros(len(counts), max(counts), dtype=torch.bool)
    for row, n in enumerate(counts):
        length = min(span, n)
        room = n - length + 1
        wanted = int(probability * n / span + torch.rand((), generator=generator).item())
        starts = torch.randperm(room, generator=generator)[: max(at_least, wanted)]
        hidden[row, (starts[:, None] + torch.arange(length)).flatten()] = True
    return hidden.to(frames.device)
