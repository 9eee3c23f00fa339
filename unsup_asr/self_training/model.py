"""A recogniser of frames: front end, network and hidden Markov model. This module owns its model directory.

config.json         header: encoder, phones, shapes, what was reached without labels
model.safetensors   `front_end.*`, `network.*`, `hmm.*` and `prior`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from textless.errors import UserError
from textless.training.checkpoint import load_model, save_model
from unsup_asr.phone_text import SILENCE
from unsup_asr.recognizers import EncoderSource, Posteriors, Topology
from unsup_asr.self_training.config import SelfTrainingConfig
from unsup_asr.self_training.features import Frames, FrontEnd
from unsup_asr.self_training.hmm import Hmm, joined
from unsup_asr.self_training.network import FrameNetwork
from unsup_asr.self_training.train import read

FORMAT, VERSION = "textless-asr-frames", 1
LEAST_PRIOR = 1e-5


@dataclass(frozen=True)
class FrameRecognizer:
    """Features of an encoder → what every frame is; a `Recognizer`.

    Attributes:
        source: the encoder.
        phones: names; the last may be the silence.
        front_end: what is done to features.
        network: windows of frames → phones.
        prior: `(V,)` mean of what the network says of training speech.
        hmm: with the bonus that gives the wanted rate of phones.
    """

    source: EncoderSource
    phones: tuple[str, ...]
    front_end: FrontEnd
    network: FrameNetwork
    prior: np.ndarray
    hmm: Hmm
    topology: Topology = "frames"

    @property
    def silence(self) -> int | None:
        """Number of the silence; None without one."""
        return len(self.phones) - 1 if self.phones[-1] == SILENCE else None

    def posteriors(self, features: Sequence[np.ndarray]) -> list[Posteriors]:
        """Features `(T, D)` of every utterance → the logs of what every frame is, given all of the utterance.

        The n-grams of text and the rate of phones have had their say already (forward and backward).
        """
        found = []
        for scores in self.scores(features):
            logs = np.log(np.maximum(self.hmm.posteriors(scores), 1e-10)).astype(np.float32)
            places = np.arange(len(logs))
            found.append(Posteriors(logs, places, places + 1))
        return found

    def transcribe(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Features `(T, D)` of every utterance → phones `(N,)` of the best path."""
        return [joined(self.hmm.viterbi(scores)) for scores in self.scores(features)]

    def scores(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Features `(T, D)` of every utterance → scores `(T, V)` for the hidden Markov model."""
        present = [self.front_end(frames) for frames in features if len(frames)]
        if not present:
            return [np.empty((0, len(self.phones)), np.float32)] * len(features)
        frames = Frames.of(present)
        rows = iter(frames.split(scaled(read(self.network, frames), self.prior, self.network.config.scale)))
        nothing = np.empty((0, len(self.phones)), np.float32)
        return [next(rows) if len(utterance) else nothing for utterance in features]

    def save(self, directory: Path, **training: object) -> None:
        """Write the model directory; `training` says what was reached."""
        arrays = {
            "front_end.mean": self.front_end.mean,
            "front_end.components": self.front_end.components,
            "prior": self.prior,
            **{f"hmm.{name}": array for name, array in vars(self.hmm).items()},
        }
        save_model(
            directory,
            FORMAT,
            VERSION,
            {name: torch.from_numpy(array) for name, array in arrays.items()}
            | {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()},
            **vars(self.source),
            phones=list(self.phones),
            normalisation=self.front_end.normalisation,
            network=self.network.config.model_dump(),
            training=training,
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Rebuild a recogniser, on the CPU.

        Raises:
            UserError: it is none, or damaged.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        config = SelfTrainingConfig.parse(header["network"], str(directory))
        phones = tuple(header["phones"])
        arrays = {name: tensor.numpy() for name, tensor in weights.items() if not name.startswith("network.")}
        front_end = FrontEnd(header["normalisation"], arrays["front_end.mean"], arrays["front_end.components"])
        network = FrameNetwork(len(front_end.components), len(phones), config)
        try:
            network.load_state_dict({n.removeprefix("network."): t for n, t in weights.items() if n not in arrays})
        except RuntimeError as error:
            problem = " ".join(str(error).split())
            raise UserError(f"{directory}: weights and configuration disagree: {problem}") from error
        hmm = Hmm(*(arrays[f"hmm.{name}"] for name in ("initial", "moves", "final")))
        source = EncoderSource(header["encoder"], header["encoder_sha256"], header["frame_rate"])
        return cls(source, phones, front_end, network.eval(), arrays["prior"], hmm)


def scaled(log_probs: np.ndarray, prior: np.ndarray, scale: float) -> np.ndarray:
    """What the network says `(T, V)` → scores of the hidden Markov model: log(p(v | x) / p(v))^scale."""
    return (scale * (log_probs - np.log(np.maximum(prior, LEAST_PRIOR)))).astype(np.float32)
