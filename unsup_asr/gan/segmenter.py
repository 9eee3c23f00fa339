"""Equal neighbours become one: what makes the length of the generator's output that of a sentence of phones."""

import torch


def join_runs(
    logits: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Join consecutive frames with the same likeliest phone.

    Args:
        logits: `(B, T, V)`, of which row b counts up to `lengths[b]`.
        lengths: `(B,)`.
        generator: draws one frame of every run, as in training, where it does better than the mean; None: the mean of
            a run's logits, as in evaluation.

    Returns:
        Logits `(B, T', V)`, zero beyond the new lengths `(B,)`.
    """
    batch, time, _ = logits.shape
    place = torch.arange(time, device=logits.device)
    valid = place < lengths[:, None]
    best = logits.argmax(-1)
    begins = torch.ones_like(valid)
    begins[:, 1:] = best[:, 1:] != best[:, :-1]
    begins &= valid
    run = begins.cumsum(1) - 1  # (B, T) number of the run of each frame
    counts = begins.sum(1)
    size = int(counts.max()) if batch else 0
    runs = torch.arange(size, device=logits.device)
    if generator is None:
        member = ((run[:, None] == runs[:, None]) & valid[:, None]).to(logits.dtype)  # (B, T', T)
        joined = member @ logits / member.sum(-1, keepdim=True).clamp(min=1)
        return joined, counts
    # Sorted by run and, within a run, at random: the last frame of each run is a random one of it.
    random = torch.rand((batch, time), generator=generator, device=logits.device)
    order = torch.where(valid, run + random, torch.full_like(random, float(time))).argsort(1)
    lasting = torch.zeros((batch, size), dtype=torch.long, device=logits.device)
    lasting.scatter_add_(1, run.clamp(min=0), valid.long())
    chosen = order.gather(1, (lasting.cumsum(1) - 1).clamp(min=0))  # (B, T')
    present = (runs < counts[:, None])[..., None]
    return logits.gather(1, chosen[..., None].expand(-1, -1, logits.shape[2])) * present, counts
