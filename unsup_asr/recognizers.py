"""What a trained recogniser is: features of an encoder → probabilities of phones, row by row.

Three kinds of model directory hold one, and everything that uses a recogniser sees this protocol only:

- *runs*: a row is a whole phone, as wav2vec-U's generator makes them of segments (`unsup_asr.gan.model`);
- *frames*: a row is a frame of a hidden Markov model with one state a phone (`unsup_asr.self_training.model`);
- *ctc*: a row is a frame or several, and the last column is the blank (`unsup_asr.ctc.model`).

In runs and frames, equal neighbours are one phone; in ctc they are one unless a blank stands between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from textless.encoders.encoder import EncoderSpec
from textless.errors import UserError
from textless.features.store import StoreHeader
from textless.files import read_json
from textless.training.checkpoint import CONFIG_NAME

Topology = Literal["runs", "frames", "ctc"]


@dataclass(frozen=True)
class EncoderSource:
    """The encoder whose features a recogniser reads: specification, identity of its weights, frames a second."""

    encoder: str
    encoder_sha256: str
    frame_rate: float

    @classmethod
    def of(cls, header: StoreHeader) -> "EncoderSource":
        """That of stored features."""
        return cls(header.encoder, header.encoder_sha256, header.frame_rate)

    def is_same_layer(self, other: "EncoderSource") -> bool:
        """Whether both name one layer of one encoder.

        The identity is the encoder's, whatever the layer, and the path before the layer may be written in several ways.
        """
        layers = {EncoderSpec.parse(self.encoder).layer, EncoderSpec.parse(other.encoder).layer} - {None}
        return self.encoder_sha256 == other.encoder_sha256 and len(layers) < 2

    def __str__(self) -> str:
        return f"{self.encoder} ({self.encoder_sha256[:12]})"


@dataclass(frozen=True)
class Posteriors:
    """What a recogniser says of one utterance.

    Attributes:
        log_probs: `(N, V)` float32 natural logs; `(N, V + 1)` in ctc, the blank last.
        starts: `(N,)` first frame of the encoder that a row stands for.
        ends: `(N,)` the frame after its last.
    """

    log_probs: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Recognizer(Protocol):
    """Frames of an encoder → probabilities of phones. Batching never changes them."""

    @property
    def phones(self) -> tuple[str, ...]:
        """Names of the V phones."""
        ...

    @property
    def silence(self) -> int | None:
        """Number of the phone that is a silence; None without one."""
        ...

    @property
    def topology(self) -> Topology:
        """What the rows are."""
        ...

    @property
    def source(self) -> EncoderSource:
        """The encoder whose features it reads."""
        ...

    def posteriors(self, features: Sequence[np.ndarray]) -> list[Posteriors]:
        """Features `(T, D)` of every utterance → probabilities of every utterance; of no frames, no rows."""
        ...


def load_recognizer(directory: Path) -> Recognizer:
    """Read a model directory of any kind, on the CPU.

    Raises:
        UserError: it is none, or damaged.
    """
    path = directory / CONFIG_NAME
    if not path.is_file():
        raise UserError(f"{directory} is no recogniser: {CONFIG_NAME} is missing; `textless asr train` makes one")
    header = read_json(path)
    match header.get("format") if isinstance(header, dict) else None:
        case "textless-asr-generator":
            from unsup_asr.gan.model import PhoneRecognizer

            return PhoneRecognizer.load(directory)
        case "textless-asr-frames":
            from unsup_asr.self_training.model import FrameRecognizer

            return FrameRecognizer.load(directory)
        case "textless-asr-ctc":
            from unsup_asr.ctc.model import CtcRecognizer

            return CtcRecognizer.load(directory)
        case other:
            raise UserError(f"{directory} is no recogniser but holds {other or 'something unknown'}")


def check_features(recognizer: Recognizer, header: StoreHeader, where: Path) -> None:
    """Refuse features of another encoder than the recogniser was trained on.

    Raises:
        UserError: naming both.
    """
    source = EncoderSource.of(header)
    if not source.is_same_layer(recognizer.source):
        raise UserError(
            f"{where} has features of {source}, but the recogniser reads {recognizer.source}; encode the speech with "
            "that one"
        )
