"""The trained object: generator and duration predictor of one quantizer and a list of speakers.

This module owns the vocoder's model directory (`model.safetensors`, `config.json`).
"""

from pathlib import Path
from typing import Any, Self

from torch import nn

from textless.audio.io import SAMPLE_RATE
from textless.training.checkpoint import load_model, save_model
from units.identity import QuantizerIdentity
from vocoder.config import ModelConfig, VocoderConfig, hop_length
from vocoder.durations import DurationPredictor
from vocoder.generator import Generator

FORMAT, VERSION = "textless-vocoder", 1


class VocoderModel(nn.Module):
    """Generator and duration predictor, trained together, with what their inputs mean."""

    def __init__(self, config: ModelConfig, quantizer: QuantizerIdentity, speakers: list[str]) -> None:
        super().__init__()
        self.config = config
        self.quantizer = quantizer
        self.speakers = speakers
        self.hop = hop_length(quantizer.frame_rate)  # samples a frame of units
        self.generator = Generator(config, quantizer.k, len(speakers), quantizer.frame_rate)
        self.durations = DurationPredictor(config, quantizer.k, len(speakers))

    def save(self, directory: Path, training: VocoderConfig) -> None:
        """Write the model directory; the paths of the training data stay out of it."""
        save_model(
            directory,
            FORMAT,
            VERSION,
            self.state_dict(),
            model=self.config.model_dump(mode="json"),
            quantizer=self.quantizer.model_dump(),
            speakers=self.speakers,
            sample_rate=SAMPLE_RATE,
            training=training.model_dump(mode="json", exclude={"data", "model"}),
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Rebuild a model from its directory, in evaluation mode, on the CPU.

        Raises:
            UserError: it is not a vocoder, damaged, or of a newer version.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        source = str(directory)
        model = cls(
            ModelConfig.parse(header["model"], source),
            QuantizerIdentity.parse(header["quantizer"], source),
            header["speakers"],
        )
        model.load_state_dict(weights)
        return model.eval()


def weights_sha256(directory: Path) -> str:
    """Hash of a model directory's weights, as its header states it: the identity of the model."""
    header: dict[str, Any] = load_model(directory, FORMAT, VERSION)[0]
    return str(header["weights_sha256"])
