"""A trained CTC recogniser with what its inputs and outputs mean. This module owns its model directory.

config.json        header: phones, encoder, shape, whether pseudo labels or references taught it
model.safetensors  weights
encoder/           the encoder, if it was trained along
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.errors import UserError
from textless.training.checkpoint import CONFIG_NAME, load_model, save_model
from unsup_asr.ctc.config import NetworkConfig
from unsup_asr.ctc.network import RecognitionNetwork
from unsup_asr.recognizers import EncoderSource, Posteriors, Topology

FORMAT, VERSION = "textless-asr-ctc", 1
ENCODER = "encoder"  # folder of an encoder that was trained along
BATCH_FRAMES = 20_000


class CtcRecognizer:
    """Features of an encoder → probabilities of phones and blank, a row for every `network.stride` frames."""

    silence: int | None = None
    topology: Topology = "ctc"

    def __init__(self, network: RecognitionNetwork, phones: tuple[str, ...], source: EncoderSource) -> None:
        self.network, self.phones, self.source = network, phones, source

    @torch.inference_mode()
    def posteriors(self, features: Sequence[np.ndarray]) -> list[Posteriors]:
        """Features `(T, D)` of every utterance → `(⌈T / stride⌉, V + 1)` logs of every utterance."""
        was_training = self.network.training
        self.network.eval()
        device = next(self.network.parameters()).device
        nothing = np.empty((0, len(self.phones) + 1), np.float32)
        found = [Posteriors(nothing, np.empty(0, np.int64), np.empty(0, np.int64))] * len(features)
        for batch in bucket([len(frames) for frames in features], BATCH_FRAMES):
            present = [index for index in batch if len(features[index])]
            if not present:
                continue
            rows, lengths = pad([torch.from_numpy(np.array(features[i], dtype=np.float32)) for i in present])
            states = self.network(rows.to(device), lengths.to(device))
            logs = self.network.ctc_log_probs(states).cpu().numpy()
            for index, row, n, n_frames in zip(present, logs, states.lengths.tolist(), lengths.tolist(), strict=True):
                starts = np.arange(n) * self.network.stride
                found[index] = Posteriors(row[:n], starts, np.minimum(starts + self.network.stride, n_frames))
        self.network.train(was_training)
        return found

    def save(self, directory: Path, labels: Literal["pseudo", "reference"], **training: object) -> None:
        """Write the model directory; `training` says what was reached.

        The encoder is named as it was given, and as `encoder:LAYER` if it lies in the directory itself.
        """
        save_model(
            directory,
            FORMAT,
            VERSION,
            self.network.state_dict(),
            network=self.network.config.model_dump(mode="json"),
            dim=self.network.dim,
            phones=list(self.phones),
            labels=labels,
            **vars(self.source),
            training=training,
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Rebuild a recogniser, on the CPU.

        Raises:
            UserError: it is none, or damaged.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        config = NetworkConfig.parse(header["network"], str(directory / CONFIG_NAME))
        network = RecognitionNetwork(config, header["dim"], len(header["phones"]))
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(
                f"{directory}: weights and configuration disagree: {' '.join(str(error).split())}"
            ) from error
        return cls(network.eval(), tuple(header["phones"]), _input(header, directory))


def _input(header: dict[str, Any], directory: Path) -> EncoderSource:
    encoder = header["encoder"]
    if encoder.startswith(f"{ENCODER}:") and (directory / ENCODER).is_dir():
        encoder = f"{directory}/{encoder}"
    return EncoderSource(encoder, header["encoder_sha256"], header["frame_rate"])
