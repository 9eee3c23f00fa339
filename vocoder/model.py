"""The trained object: generator and predictors of one quantizer and a list of speakers.

Both kinds of generator (`ModelConfig.kind`) keep one contract:

    generator(frames: Frames, voices: Voices, lengths: (B,) int64) -> waveforms (B, T × hop)

for padded frames `(B, T)` (units, features and, where `ModelConfig.pitch` asks for it, pitch: see `frames.py`) and one
voice an utterance (see `voices.py`). The waveform is zero beyond an utterance's length, and neither padding nor the
other utterances of the batch change it. A frame's samples depend on `generator.context` frames to either side at most.
`durations(units (B, N), voices, lengths (B,))` predicts log(duration + 1) `(B, N)`, and
`pitch_predictor(frames, voices, lengths)` the pitch of frames (see `pitch_predictor.py`).

This module owns the vocoder's model directory (`model.safetensors`, `config.json`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from textless.audio.io import SAMPLE_RATE
from textless.errors import UserError
from textless.training.checkpoint import load_model, save_model
from units.files import Stream
from units.identity import QuantizerIdentity
from vocoder.config import ModelConfig, VocoderConfig
from vocoder.durations import DurationPredictor, VariancePredictor
from vocoder.f0_quantizer import F0Quantizer
from vocoder.generator import Generator
from vocoder.hifigan import UnitHifigan
from vocoder.pitch_predictor import PitchPredictor
from vocoder.voices import Voices

FORMAT, VERSION = "textless-vocoder", 3


class VocoderModel(nn.Module):
    """Generator and predictors, trained together, with what their inputs mean.

    Attributes:
        speakers: names; the table's rows, or those whose mean embeddings are known.
        styles: names of the styles, `n_styles` of them; empty for models without.
        pitch: what the bins of pitch are, where that is known.
        f0_quantizer: what makes the bins of a contour, where they come from one.
        speaker_encoder: hash of what made the embeddings of speakers, where they are read.
        embeddings: `(n_speakers, E)` mean embedding of each speaker, where speakers are embeddings.
        levels: `(n_speakers,)` mean log F0 of each speaker, where pitch is raw.
    """

    embeddings: torch.Tensor
    levels: torch.Tensor

    def __init__(
        self,
        config: ModelConfig,
        quantizer: QuantizerIdentity,
        speakers: Sequence[str],
        *,
        styles: Sequence[str] = (),
        pitch: Stream | None = None,
        f0_quantizer: F0Quantizer | None = None,
        speaker_encoder: str | None = None,
    ) -> None:
        super().__init__()
        assert len(styles) == config.n_styles
        self.config = config
        self.quantizer = quantizer
        self.speakers = list(speakers)
        self.styles = list(styles)
        self.pitch = pitch
        self.f0_quantizer = f0_quantizer
        self.speaker_encoder = speaker_encoder
        self.hop = round(SAMPLE_RATE / quantizer.frame_rate)  # samples a frame of units
        self.generator: Generator | UnitHifigan
        match config.kind:
            case "istft":
                self.generator = Generator(config, quantizer.k, len(speakers), quantizer.frame_rate)
            case "hifigan":
                self.generator = UnitHifigan(config, quantizer.k, len(speakers), quantizer.frame_rate)
        self.durations: DurationPredictor | VariancePredictor | None
        match config.duration:
            case "residual":
                self.durations = DurationPredictor(config, quantizer.k, len(speakers))
            case "variance":
                self.durations = VariancePredictor(config, quantizer.k)
            case "none":
                self.durations = None
        predicts = config.pitch_predictor and config.pitch != "none"
        self.pitch_predictor = PitchPredictor(config, quantizer.k, len(speakers)) if predicts else None
        if config.speaker == "embedding":
            self.register_buffer("embeddings", torch.zeros(len(speakers), config.speaker_size))
        if config.pitch == "raw":
            self.register_buffer("levels", torch.zeros(len(speakers)))

    @property
    def needs_phase(self) -> bool:
        """Whether the generator makes pulses of raw pitch, which have to go on from one stretch to the next."""
        return self.config.kind == "istft" and self.config.pitch == "raw"

    def voices(self, speakers: torch.Tensor, styles: torch.Tensor | None = None) -> Voices:
        """Voices of known speakers, given by their indices `(B,)`, and of styles `(B,)`."""
        return Voices(
            self.embeddings[speakers] if self.config.speaker == "embedding" else speakers,
            styles,
            self.levels[speakers] if self.config.pitch == "raw" else None,
        )

    def save(self, directory: Path, training: VocoderConfig) -> None:
        """Write the model directory of a training; the paths of the training data stay out of it."""
        self.write(directory, training=training.model_dump(mode="json", exclude={"data", "model"}))

    def write(self, directory: Path, **origin: object) -> None:
        """Write the model directory; `origin` says where the weights come from."""
        save_model(
            directory,
            FORMAT,
            VERSION,
            self.state_dict(),
            model=self.config.model_dump(mode="json"),
            quantizer=self.quantizer.model_dump(),
            speakers=self.speakers,
            styles=self.styles,
            pitch=None if self.pitch is None else self.pitch.model_dump(),
            f0_quantizer=None if self.f0_quantizer is None else self.f0_quantizer.header(),
            speaker_encoder=self.speaker_encoder,
            sample_rate=SAMPLE_RATE,
            **origin,
        )

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Rebuild a model from its directory, in evaluation mode, on the CPU.

        Raises:
            UserError: it is not a vocoder, damaged, or of a newer version.
        """
        header, weights = load_model(directory, FORMAT, VERSION)
        source = str(directory)
        pitch, f0_quantizer = header.get("pitch"), header.get("f0_quantizer")
        said = header["model"]
        if header["version"] < 3:  # pitch was not yet predicted
            said = said | {"pitch_predictor": False}
        model = cls(
            ModelConfig.parse(said, source),
            QuantizerIdentity.parse(header["quantizer"], source),
            header["speakers"],
            styles=header.get("styles", ()),
            pitch=None if pitch is None else Stream.parse(pitch, source),
            f0_quantizer=None if f0_quantizer is None else F0Quantizer.of_header(f0_quantizer, source),
            speaker_encoder=header.get("speaker_encoder"),
        )
        if header["version"] == 1:
            weights = {_renamed(name): tensor for name, tensor in weights.items()}
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{directory}: the weights do not fit config.json ({reason[:300]})") from error
        return model.eval()


def _renamed(name: str) -> str:
    """Name of a weight of version 1, whose speakers were always a table."""
    return name.replace("speaker.weight", "speaker.table.weight")


def weights_sha256(directory: Path) -> str:
    """Hash of a model directory's weights, as its header states it: the identity of the model."""
    header: dict[str, Any] = load_model(directory, FORMAT, VERSION)[0]
    return str(header["weights_sha256"])
