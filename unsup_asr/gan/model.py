"""A trained generator with what its inputs and outputs mean. This module owns its model directory.

    config.json                   header: front end, phones, generator, what was reached
    model.safetensors             the generator
    pca.safetensors, quantizer/   how frames are cut (`unsup_asr.segmentation`), where they are

A recogniser of the topology "runs": it reads frames of the encoder, and cuts them itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.errors import UserError
from textless.training.checkpoint import load_model, save_model
from unsup_asr.gan.config import GeneratorConfig
from unsup_asr.gan.front_end import FrontEnd
from unsup_asr.gan.generator import Generator
from unsup_asr.gan.segmenter import join_runs
from unsup_asr.phone_text import SILENCE
from unsup_asr.recognizers import EncoderSource, Posteriors, Topology

FORMAT, VERSION = "textless-asr-generator", 2
BATCH_PLACES = 20_000


class PhoneRecognizer:
    """Frames → runs of phones; a `Recognizer`.

    Attributes:
        generator: the network.
        front_end: what makes rows of frames.
        phones: names; the last may be the silence.
    """

    topology: Topology = "runs"

    def __init__(self, generator: Generator, front_end: FrontEnd, phones: tuple[str, ...]) -> None:
        self.generator, self.front_end, self.phones = generator, front_end, phones

    @property
    def silence(self) -> int | None:
        """Number of the silence; None without one."""
        return len(self.phones) - 1 if self.phones[-1] == SILENCE else None

    @property
    def source(self) -> EncoderSource:
        """The encoder whose frames it reads."""
        return EncoderSource(self.front_end.encoder, self.front_end.encoder_sha256, self.front_end.frame_rate)

    def posteriors(self, features: Sequence[np.ndarray]) -> list[Posteriors]:
        """Frames `(T, D)` of every utterance → what its runs are."""
        rows = [self.front_end.rows(frames) for frames in features]
        stride = self.generator.config.stride
        found = []
        for utterance, (logs, first) in zip(rows, self.read([r.features for r in rows]), strict=True):
            if not len(logs):
                nothing = np.empty(0, dtype=np.int64)
                found.append(Posteriors(logs, nothing, nothing))
                continue
            starts = utterance.starts[first * stride]
            found.append(Posteriors(logs, starts, np.append(starts[1:], utterance.ends[-1])))
        return found

    @torch.inference_mode()
    def read(self, sequences: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Rows `(N, d)` of every utterance → natural logs `(N', V)` of joined runs, and the first output of each."""
        was_training = self.generator.training
        self.generator.eval()
        device = next(self.generator.parameters()).device
        nothing = np.empty((0, len(self.phones)), np.float32), np.empty(0, np.int64)
        found = [nothing] * len(sequences)
        for batch in bucket([len(sequence) for sequence in sequences], BATCH_PLACES):
            present = [index for index in batch if len(sequences[index])]
            if not present:
                continue
            features, lengths = pad([torch.tensor(sequences[index]) for index in present])
            generated = self.generator(features.to(device), lengths.to(device))
            logits, counts = join_runs(generated.logits, generated.lengths)
            logs = logits.log_softmax(-1).cpu().numpy()
            best = generated.logits.argmax(-1).cpu().numpy()
            for index, row, count, phones, size in zip(
                present, logs, counts.tolist(), best, generated.lengths.tolist(), strict=True
            ):
                changes = np.flatnonzero(phones[1:size] != phones[: size - 1]) + 1
                found[index] = row[:count], np.concatenate([[0], changes])
        self.generator.train(was_training)
        return found

    def transcribe(self, sequences: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Rows `(N, d)` of every utterance → phones `(N',)`, the likeliest of each run."""
        return [logs.argmax(axis=1) for logs, _ in self.read(sequences)]

    def save(self, directory: Path, **training: object) -> None:
        """Write the model directory; `training` says what was reached."""
        front_end = self.front_end.save(directory)
        save_model(
            directory,
            FORMAT,
            VERSION,
            self.generator.state_dict(),
            generator=self.generator.config.model_dump(),
            phones=list(self.phones),
            front_end=front_end,
            training=training,
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Rebuild a recogniser, on the CPU.

        Raises:
            UserError: it is none, or damaged.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        if header["version"] < VERSION:
            raise UserError(f"{directory} is of an older format that does not say how speech is cut: train it again")
        phones = tuple(header["phones"])
        config = GeneratorConfig.parse(header["generator"], str(directory))
        front_end = FrontEnd.load(directory, header["front_end"])
        generator = Generator(config, front_end.dim, len(phones))
        generator.load_state_dict(weights)
        return cls(generator.eval(), front_end, phones)
