"""A trained generator with what its inputs and outputs mean. This module owns its model directory."""

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.training.checkpoint import load_model, save_model
from unsup_asr.gan.config import GanConfig, GeneratorConfig
from unsup_asr.gan.generator import Generator
from unsup_asr.gan.segmenter import join_runs

FORMAT, VERSION = "textless-asr-generator", 1
BATCH_PLACES = 20_000


class PhoneRecognizer:
    """Segments → phones.

    Attributes:
        phones: names; the last may be the silence.
        pool: neighbouring segments that are read as one.
    """

    def __init__(self, generator: Generator, dim: int, phones: tuple[str, ...], pool: int) -> None:
        self.generator, self.dim, self.phones, self.pool = generator, dim, phones, pool

    @torch.inference_mode()
    def log_probs(self, sequences: list[np.ndarray]) -> list[np.ndarray]:
        """Features `(N, D)` of every utterance, pooled already → natural logs `(N', V)` of every joined run."""
        was_training = self.generator.training
        self.generator.eval()
        device = next(self.generator.parameters()).device
        found: list[np.ndarray] = [np.empty((0, len(self.phones)), np.float32)] * len(sequences)
        for batch in bucket([len(sequence) for sequence in sequences], BATCH_PLACES):
            present = [index for index in batch if len(sequences[index])]
            if not present:
                continue
            features, lengths = pad([torch.from_numpy(sequences[index]) for index in present])
            generated = self.generator(features.to(device), lengths.to(device))
            logits, counts = join_runs(generated.logits, generated.lengths)
            logs = logits.log_softmax(-1).cpu().numpy()
            for index, row, count in zip(present, logs, counts.tolist(), strict=True):
                found[index] = row[:count]
        self.generator.train(was_training)
        return found

    def transcribe(self, sequences: list[np.ndarray]) -> list[np.ndarray]:
        """Phones `(N',)` of every utterance, the likeliest of each run."""
        return [logs.argmax(axis=1) for logs in self.log_probs(sequences)]

    def save(self, directory: Path, config: GanConfig, speech: dict[str, Any], **training: object) -> None:
        """Write the model directory; `speech` says how the speech was prepared, `training` what was reached."""
        save_model(
            directory,
            FORMAT,
            VERSION,
            self.generator.state_dict(),
            generator=config.generator.model_dump(),
            dim=self.dim,
            phones=list(self.phones),
            pool=self.pool,
            speech={name: speech[name] for name in ("encoder", "encoder_sha256", "clusters", "duration_penalty")},
            training=training,
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Rebuild a recogniser, on the CPU.

        Raises:
            UserError: it is none, or damaged.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        phones = tuple(header["phones"])
        config = GeneratorConfig.parse(header["generator"], str(directory))
        generator = Generator(config, header["dim"], len(phones))
        generator.load_state_dict(weights)
        return cls(generator.eval(), header["dim"], phones, header["pool"])
