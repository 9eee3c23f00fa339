"""What unpaired text says of a hypothesis: a prior that keeps a cycle from a code of its own.

Without it, a recogniser and a synthesizer can agree on any mapping of sounds to symbols that can be undone.
"""

from collections.abc import Sequence

import numpy as np
import torch

from units.kneser_ney import NgramModel
from unsup_asr.phone_text import PhoneText
from unsup_asr.selection import without

ORDER = 4


class TextPrior:
    """N-grams of sentences without silences, over the phones of a recogniser.

    Args:
        sentences: `(N,)` numbers of phones.
        n_phones: V.
    """

    def __init__(self, sentences: Sequence[np.ndarray], n_phones: int) -> None:
        self.lm = NgramModel.fit(sentences, n_phones, ORDER)
        bigrams = NgramModel.fit(sentences, n_phones, 2)
        rows = [bigrams.distribution([]), *(bigrams.distribution([phone]) for phone in range(n_phones))]
        logs = torch.from_numpy(np.log(np.stack(rows))).float()
        self.first, self.after = logs[0], logs[1:]  # (V + 1,), (V, V + 1): the end is the last

    def nats(self, phones: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """Log-probabilities `(B,)` of phones `(B, N)`, `counts` `(B,)` of them, with their ends."""
        rows = [row[:n].cpu().numpy() for row, n in zip(phones, counts.tolist(), strict=True)]
        return torch.tensor([float(logs.sum()) for logs in self.lm.log_probs(rows)], device=phones.device)

    def relaxed_nats(self, rows: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """The same for distributions `(B, N, V)`, zero beyond the counts, by bigrams: a gradient goes through it.

        Each pair of neighbours costs pᵀ log(bigram) q.
        """
        first, after = self.first.to(rows.device), self.after.to(rows.device)
        if not rows.shape[1]:
            return first[-1].expand(len(rows))
        n = rows.shape[2]
        begin = rows[:, 0] @ first[:n] + (counts == 0) * first[n]
        between = ((rows[:, :-1] @ after[:, :n]) * rows[:, 1:]).sum((1, 2))
        last = rows.gather(1, (counts - 1).clamp(min=0)[:, None, None].expand(-1, 1, n))[:, 0]
        return begin + between + last @ after[:, n]


def spoken_sentences(text: PhoneText, phones: Sequence[str], unseen: Sequence[str]) -> tuple[list[np.ndarray], int]:
    """Sentences of the text as numbers of `phones`, without silences, and how many were left out.

    Left out are empty ones and those with a phone that is unknown or that the synthesizer has never seen.
    """
    numbers = {phone: number for number, phone in enumerate(phones) if phone not in set(unseen)}
    table = np.array([numbers.get(phone, -1) for phone in text.phones])
    silent = "<SIL>" not in numbers
    found = [table[without(s, text.silence) if silent else s] for s in text.sentences]
    kept = [sentence for sentence in found if len(sentence) and (sentence >= 0).all()]
    return kept, len(found) - len(kept)
