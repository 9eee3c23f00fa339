"""What the terms of a cycle's loss have in common: what they are given, and what they give."""

from dataclasses import dataclass, field
from typing import Any

import torch

from textless.training.seeds import mixed_seed
from unsup_asr.ctc.network import RecognitionNetwork, States
from unsup_asr.cycle.bridge import Bridge, Masks
from unsup_asr.cycle.config import CycleConfig
from unsup_asr.cycle.hypotheses import Bounds, can_be_said
from unsup_asr.cycle.memory import Memory
from unsup_asr.cycle.models import Models
from unsup_asr.cycle.prior import TextPrior


class DivergedError(Exception):
    """A model gives values that are not finite; the message says which."""


@dataclass(frozen=True)
class Setting:
    """What every term is given.

    Attributes:
        models: see there.
        bridge: between the two models.
        config: of the run.
        bounds: of hypotheses.
        prior: of unpaired text.
        chance: of everything drawn, on the models' device.
        masks: hide frames from a recogniser that learns.
        memory: of transcripts that were chosen before.
        deranged: the control, in which what is said and what is heard belong to different utterances.
    """

    models: Models
    bridge: Bridge
    config: CycleConfig
    bounds: Bounds
    prior: TextPrior
    chance: torch.Generator
    masks: Masks
    memory: Memory
    deranged: bool

    def seed(self, step: int) -> None:
        """Before a step: what is drawn in it is a function of the seed and the step alone."""
        self.memory.now = step
        self.chance.manual_seed(mixed_seed(self.config.seed, step, 1))
        self.masks.generator.manual_seed(mixed_seed(self.config.seed, step, 2))


@dataclass(frozen=True)
class Term:
    """One term.

    Attributes:
        loss: to be minimised; not weighted yet.
        value: what tells how well it goes; for REINFORCE, whose loss says nothing, the reward.
        counts: what was out of bounds.
    """

    loss: torch.Tensor
    value: torch.Tensor
    counts: dict[str, int] = field(default_factory=dict)


def recognition_loss(
    network: RecognitionNetwork, states: States, phones: torch.Tensor, counts: torch.Tensor, config: CycleConfig
) -> torch.Tensor:
    """Nats a phone `()`: CTC's, and the decoder's where there is one; what CTC has no room for is left out."""
    possible = can_be_said(states, phones, counts)
    kept = States(states.values[possible], states.lengths[possible])
    phones, counts = phones[possible], counts[possible]
    if not len(counts):
        return states.values.sum() * 0
    n_phones = counts.sum().clamp(min=1)
    ctc = network.ctc_nats(kept, phones, counts).sum() / n_phones
    if network.decoder is None:
        return ctc
    attention = network.attention_nats(kept, phones, counts).sum() / n_phones
    return config.ctc_weight * ctc + (1 - config.ctc_weight) * attention


class Tally:
    """Sums of terms since they were last taken; part of the state of a run."""

    def __init__(self) -> None:
        self.updates = 0
        self.values: dict[str, float] = {}
        self.counts: dict[str, int] = {}

    def add(self, terms: dict[str, Term]) -> None:
        """Note the terms of an update."""
        self.updates += 1
        for name, term in terms.items():
            self.values[name] = self.values.get(name, 0.0) + float(term.value)
            for what, count in term.counts.items():
                self.counts[what] = self.counts.get(what, 0) + count

    def take(self) -> tuple[dict[str, float], dict[str, int]]:
        """Mean values of the terms, and sums of what was out of bounds; then all is zero again."""
        means = {name: value / self.updates for name, value in self.values.items()}
        counts = self.counts
        self.updates, self.values, self.counts = 0, {}, {}
        return means, counts

    def state_dict(self) -> dict[str, Any]:
        """All sums."""
        return vars(self).copy()

    def load_state_dict(self, state_dict: dict[str, Any], /) -> None:
        """Put them back."""
        vars(self).update(state_dict)
