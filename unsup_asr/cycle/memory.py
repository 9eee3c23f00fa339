"""Transcripts that were chosen some updates ago: to choose costs several times what learning from the choice does."""

from collections.abc import Sequence
from typing import Any

import torch

from textless.audio.batches import pad
from unsup_asr.cycle.hypotheses import Hypotheses


class Memory:
    """What was chosen of which utterance, and when; part of the state of a run.

    Args:
        lasting: updates after which a transcript is made anew; 0: at every use.
    """

    def __init__(self, lasting: int) -> None:
        self.lasting, self.now = lasting, 0
        self._chosen: dict[str, tuple[int, list[int]]] = {}

    def missing(self, ids: Sequence[str]) -> list[int]:
        """Places of utterances whose transcript is not known or too old."""
        return [
            place
            for place, name in enumerate(ids)
            if name not in self._chosen or self.now - self._chosen[name][0] >= self.lasting
        ]

    def note(self, ids: Sequence[str], said: Hypotheses) -> None:
        """Remember the transcripts of utterances."""
        for name, row, count in zip(ids, said.phones.tolist(), said.counts.tolist(), strict=True):
            self._chosen[name] = self.now, row[:count]

    def recall(self, ids: Sequence[str], device: torch.device, n_cut: int) -> Hypotheses:
        """The transcripts of utterances, of which `n_cut` were cut when they were made just now."""
        phones, counts = pad([torch.tensor(self._chosen[name][1], dtype=torch.long) for name in ids])
        return Hypotheses(phones.to(device), counts.to(device), n_cut)

    def state_dict(self) -> dict[str, Any]:
        """All transcripts."""
        return {"chosen": self._chosen}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put them back."""
        self._chosen = state_dict["chosen"]
