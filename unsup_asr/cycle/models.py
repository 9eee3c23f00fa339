"""The two models of a cycle, and those that stand still or follow slowly while the others learn from them."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import nn

from unsup_asr.ctc.network import RecognitionNetwork
from unsup_asr.cycle.config import ReverseConfig
from unsup_asr.tts.model import TtsModel

Model = TypeVar("Model", bound=nn.Module)


class Models:
    """A recogniser and a synthesizer that learn, and their reverse counterparts.

    Attributes:
        asr: learns.
        tts: learns.
        reverse_asr: transcribes for the synthesizer; without gradient.
        reverse_tts: speaks and scores for the recogniser; takes no gradient unless it is `tts` itself.
    """

    def __init__(self, asr: RecognitionNetwork, tts: TtsModel, reverse: ReverseConfig, device: torch.device) -> None:
        self.reverse, self.device = reverse, device
        self.asr, self.tts = asr.to(device), tts.to(device)
        is_current = reverse.kind == "current"
        self.reverse_asr: RecognitionNetwork = self.asr if is_current else still_copy(self.asr)
        self.reverse_tts: TtsModel = self.tts if is_current else still_copy(self.tts)

    @property
    def judged(self) -> tuple[RecognitionNetwork, TtsModel]:
        """What is judged and kept: averages of the past where there are some, else the models that learn."""
        return (self.reverse_asr, self.reverse_tts) if self.reverse.kind == "ema" else (self.asr, self.tts)

    @torch.no_grad()
    def follow(self) -> None:
        """After an update: averages move a little; what is frozen does not."""
        if self.reverse.kind != "ema":
            return
        for slow, quick in ((self.reverse_asr, self.asr), (self.reverse_tts, self.tts)):
            for average, value in zip(slow.parameters(), quick.parameters(), strict=True):
                average.lerp_(value, 1 - self.reverse.decay)

    def state_dict(self) -> dict[str, Any]:
        """States of all that are different, by name."""
        return {name: model.state_dict() for name, model in self._distinct().items()}

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put them back."""
        for name, model in self._distinct().items():
            model.load_state_dict(state_dict[name])

    def _distinct(self) -> dict[str, nn.Module]:
        models: dict[str, nn.Module] = {"asr": self.asr, "tts": self.tts}
        if self.reverse.kind != "current":
            models |= {"reverse_asr": self.reverse_asr, "reverse_tts": self.reverse_tts}
        return models


def still_copy(model: Model) -> Model:
    """A copy in evaluation mode whose parameters take no gradient; gradients still go through it."""
    copied = copy.deepcopy(model).eval()
    copied.requires_grad_(requires_grad=False)
    return copied


@contextmanager
def without_dropout(*models: nn.Module) -> Iterator[None]:
    """What is drawn from a model and what scores the draw have to be one distribution."""
    modes = [model.training for model in models]
    for model in models:
        model.eval()
    try:
        yield
    finally:
        for model, mode in zip(models, modes, strict=True):
            model.train(mode)
