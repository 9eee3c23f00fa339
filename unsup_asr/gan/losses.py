"""The losses of wav2vec-U, as the released code computes them and as the paper states them.

    discriminator   BCE(D(generated), 1) + BCE(D(text), 0) + λ · gradient penalty
    generator       BCE(D(generated), 0) + γ · smoothness + η · diversity + δ · auxiliary

Both are sums over the batch divided by its size B. Where code and paper (Baevski et al. 2021, section 3.3) differ:

| term | code | paper |
|---|---|---|
| gradient penalty | ‖∇‖ over time, of each phone's channel by itself, summed over phones | one ‖∇‖ a sentence |
| smoothness | squared differences of *logits*, mean over places and phones | of *probabilities*, sum over phones |
| diversity | (V - exp H(p̄)) / V, p̄ over all places, padding included | -H(p̄), without padding |
| auxiliary | cross-entropy, mean over all frames, padding included | mean over the frames that there are |

Neither has instance noise (Sønderby et al. 2017), normal noise added to all that the discriminator sees. Text is
certain of its phones and outputs are not, which is what a discriminator learns first, so that the generator becomes
certain of some phones, whichever, before their order counts. In noise that cannot be seen, and what tells the two apart
are the frequencies of phones and of their neighbours.
"""

import torch
from torch.nn import functional as F

from textless.audio.batches import mask
from unsup_asr.gan.config import LossConfig
from unsup_asr.gan.discriminator import Discriminator

GENERATED, TEXT = 1.0, 0.0  # labels


def judged(logits: torch.Tensor, label: float) -> torch.Tensor:
    """Mean over the batch of the cross-entropy between the discriminator's logits `(B,)` and a label."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def gradient_penalty(
    discriminator: Discriminator,
    text: torch.Tensor,
    generated: torch.Tensor,
    config: LossConfig,
    generator: torch.Generator,
) -> torch.Tensor:
    """(‖∇D(x̃)‖ - 1)², x̃ = α text + (1 - α) generated with one random α a sentence (Gulrajani et al. 2017).

    Args:
        discriminator: D.
        text: its drive `(B, T, dim)` by the phones of text.
        generated: its drive `(B, T', dim)` by what was generated; the longer of the two is cut, and padding is not
            masked. The drive of x̃ lies between these two.
        config: whose definition.
        generator: of α.

    Returns:
        The sum over the batch divided by B.
    """
    size = min(text.shape[1], generated.shape[1])
    share = torch.rand((len(text), 1, 1), generator=generator, device=text.device)
    gradient = discriminator.slope(torch.lerp(generated[:, :size], text[:, :size], share.to(text.dtype))).float()
    by_phone = (config.penalty_semantics or config.semantics) == "code"
    norms = gradient.norm(dim=1) if by_phone else gradient.flatten(1).norm(dim=1, keepdim=True)
    return (norms - 1).square().sum() / len(text)


def smoothness(logits: torch.Tensor, lengths: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """How much neighbours differ, of joined logits `(B, T, V)`."""
    values = logits if config.semantics == "code" else logits.softmax(-1)
    if values.shape[1] < 2:
        return values.sum() * 0
    inside = mask(lengths, values.shape[1])[:, 1:, None]
    squares = (values[:, 1:] - values[:, :-1]).square() * inside
    return squares.mean() if config.semantics == "code" else squares.sum() / inside.sum().clamp(min=1)


def diversity(logits: torch.Tensor, lengths: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """How far the use of the phones is from even, over the whole batch of joined logits `(B, T, V)`."""
    probabilities = logits.softmax(-1)
    if config.semantics == "code":
        mean = probabilities.mean((0, 1))
    else:
        inside = mask(lengths, logits.shape[1])[..., None]
        mean = (probabilities * inside).sum((0, 1)) / inside.sum()
    entropy = -(mean * (mean + 1e-7).log()).sum()
    n_phones = logits.shape[-1]
    return (n_phones - entropy.exp()) / n_phones if config.semantics == "code" else -entropy


def auxiliary(logits: torch.Tensor, lengths: torch.Tensor, targets: torch.Tensor, config: LossConfig) -> torch.Tensor:
    """How badly the frames' clusters `(B, T)` are told from logits of clusters `(B, T, K)` (Liu et al. 2022)."""
    inside = mask(lengths, logits.shape[1])
    entropy = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none") * inside.flatten()
    return entropy.mean() if config.semantics == "code" else entropy.sum() / inside.sum().clamp(min=1)
