"""How a recogniser hears what a synthesizer says, in the same process: as frames, as codes, or as its own states.

What is made of real speech for the synthesizer to learn is the other half: `made_of`. A units synthesizer is heard
through the codebook of its quantizer (TokenChain's semantic tokens); one of states is heard by the recogniser's upper
part alone, as in Hayashi et al. 2018 and Hori et al. 2019.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from textless.errors import UserError
from textless.features.store import StoreHeader
from units.identity import require_same
from units.quantizer import Quantizer
from unsup_asr.ctc.config import MaskConfig
from unsup_asr.ctc.masking import draw_masks
from unsup_asr.ctc.network import RecognitionNetwork, States
from unsup_asr.tts.data import states_of
from unsup_asr.tts.model import SpeechKind, Spoken


class Bridge(Protocol):
    """Between a recogniser's input and a synthesizer's output."""

    def made_of(self, features: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Features `(T, D)` of real speech → what the synthesizer should say."""
        ...

    def hear(self, network: RecognitionNetwork, spoken: Spoken, masks: "Masks | None") -> States:
        """States of a recogniser that hears what was said."""
        ...


@dataclass(frozen=True)
class Masks:
    """What is hidden from a recogniser in training; drawn for each batch."""

    config: MaskConfig
    generator: torch.Generator

    def states(self, network: RecognitionNetwork, features: torch.Tensor, lengths: torch.Tensor) -> States:
        """Features `(B, T, D)` → states, with some frames and channels hidden."""
        frames, channels = draw_masks(lengths.cpu(), network.dim, self.config, self.generator)
        return network(features, lengths, (frames.to(features.device), channels.to(features.device)))


def hear(network: RecognitionNetwork, features: torch.Tensor, lengths: torch.Tensor, masks: Masks | None) -> States:
    """Features `(B, T, D)` → states, masked or not."""
    return network(features, lengths) if masks is None else masks.states(network, features, lengths)


class FrameBridge:
    """The synthesizer says frames of the encoder that the recogniser reads."""

    def made_of(self, features: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The features themselves."""
        return features

    def hear(self, network: RecognitionNetwork, spoken: Spoken, masks: Masks | None) -> States:
        """As any features."""
        return hear(network, spoken.values, spoken.lengths, masks)


class UnitBridge:
    """The synthesizer says units; the recogniser reads the vectors of their codes."""

    def __init__(self, quantizer: Quantizer) -> None:
        self.quantizer = quantizer

    def made_of(self, features: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Units `(T,)` of the features."""
        return {name: self.quantizer.encode(np.asarray(rows)).astype(np.int64) for name, rows in features.items()}

    def hear(self, network: RecognitionNetwork, spoken: Spoken, masks: Masks | None) -> States:
        """The vectors of the codes."""
        codebook = self.quantizer.codebook.to(spoken.values.device)
        return hear(network, codebook[spoken.values], spoken.lengths, masks)


class StateBridge:
    """The synthesizer says states of the recogniser as it was at the start."""

    def __init__(self, at_start: RecognitionNetwork) -> None:
        self.at_start = at_start

    def made_of(self, features: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """States `(T', H)` of the recogniser of the start."""
        return states_of(features, self.at_start)

    def hear(
        self,
        network: RecognitionNetwork,  # noqa: ARG002 - states need no network any more
        spoken: Spoken,
        masks: Masks | None,  # noqa: ARG002 - nor are they masked
    ) -> States:
        """They are states already."""
        return States(spoken.values, spoken.lengths)


def build_bridge(
    kind: SpeechKind,
    speech: StoreHeader,
    at_start: RecognitionNetwork,
    *,
    weights_sha256: str,
    quantizer: Quantizer | None,
) -> Bridge:
    """The bridge of a kind of synthesizer.

    Args:
        kind: what the synthesizer says.
        speech: header of the speech that the recogniser reads.
        at_start: the recogniser.
        weights_sha256: hash of its weights.
        quantizer: of units.

    Raises:
        UserError: the synthesizer says what the recogniser cannot hear; both are named.
    """
    match kind.target:
        case "frames":
            if kind.encoder_sha256 != speech.encoder_sha256:
                raise UserError(
                    f"the synthesizer says {kind}, but the speech is {speech.encoder} ({speech.encoder_sha256[:12]}): "
                    "train it on features of the same encoder (asr train-tts)"
                )
            return FrameBridge()
        case "states":
            if kind.recognizer_sha256 != weights_sha256:
                raise UserError(
                    f"the synthesizer says states of the recogniser {(kind.recognizer_sha256 or '')[:12]}, but the "
                    f"cycle starts from {weights_sha256[:12]}: train it on the states of this one (asr train-tts)"
                )
            return StateBridge(at_start)
        case "units":
            assert kind.quantizer is not None
            if quantizer is None:
                raise UserError(f"the synthesizer says {kind}: give data.quantizer, through whose codes they are heard")
            require_same(kind.quantizer, quantizer.identity, "the synthesizer", "data.quantizer")
            if quantizer.encoder_sha256 != speech.encoder_sha256:
                raise UserError(
                    f"the quantizer reads {quantizer.encoder} ({quantizer.encoder_sha256[:12]}), but the speech is "
                    f"{speech.encoder} ({speech.encoder_sha256[:12]})"
                )
            if quantizer.speaker_normalised or quantizer.spherical:
                raise UserError(
                    "the quantizer normalises its frames, so that its codes are no frames that a recogniser could "
                    "hear: use a plain one, or a synthesizer of frames"
                )
            return UnitBridge(quantizer)
