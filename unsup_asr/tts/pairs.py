"""Speech and its phones in batches whose content is a function of the seed and the step alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.training.seeds import mixed_seed


@dataclass(frozen=True)
class Pair:
    """Speech `(T,)` units or `(T, D)` vectors, its phones `(N,)`, its voice, and durations `(N + 2,)` if known."""

    id: str
    phones: np.ndarray
    speech: np.ndarray
    voice: torch.Tensor | None = None
    durations: np.ndarray | None = None


@dataclass(frozen=True)
class PairBatch:
    """Padded pairs: see `TtsModel.reconstruct`."""

    phones: torch.Tensor
    sizes: torch.Tensor
    voices: torch.Tensor | None
    speech: torch.Tensor
    lengths: torch.Tensor
    durations: torch.Tensor | None


class Batches:
    """Sequences of similar length together; which make the batch of a step is a function of seed and step alone.

    Args:
        lengths: of the sequences.
        max_total: bound on batch size × longest length.
        seed: of the order; every sequence comes once an epoch.
    """

    def __init__(self, lengths: Sequence[int], max_total: int, seed: int) -> None:
        if not lengths:
            raise ValueError("there is nothing to make batches of")
        self.lengths, self.max_total, self.seed = lengths, max_total, seed
        self.per_epoch = len(bucket(lengths, max_total))
        self._epoch: tuple[int, list[list[int]]] | None = None

    def __getitem__(self, step: int) -> list[int]:
        epoch, place = divmod(step, self.per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, bucket(self.lengths, self.max_total, seed=mixed_seed(self.seed, epoch))
        return self._epoch[1][place]


def collate(pairs: Sequence[Pair], device: torch.device) -> PairBatch:
    """Pad pairs; durations count only where all of them have some."""
    phones, sizes = pad([torch.from_numpy(pair.phones) for pair in pairs])
    speech, lengths = pad([torch.from_numpy(np.array(pair.speech)) for pair in pairs])
    durations = [torch.from_numpy(pair.durations) for pair in pairs if pair.durations is not None]
    known = pad(durations)[0].to(device) if len(durations) == len(pairs) else None
    voices = stack_voices([pair.voice for pair in pairs], device)
    return PairBatch(phones.to(device), sizes.to(device), voices, speech.to(device), lengths.to(device), known)


def stack_voices(voices: Sequence[torch.Tensor | None], device: torch.device) -> torch.Tensor | None:
    """Voices of a batch, or None where there are none."""
    present = [voice for voice in voices if voice is not None]
    return torch.stack(present).to(device) if present else None
