"""What a configuration wants its generator to be told beside units, and where that is found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textless.errors import UserError
from textless.features.store import FeatureStore
from units.files import Stream, UnitsFile
from units.prosody import STREAM
from vocoder.config import VocoderConfig
from vocoder.f0_quantizer import F0Quantizer
from vocoder.intonation import Intonation


@dataclass(frozen=True)
class Conditions:
    """The form of pitch, whose it is, and who speaks how.

    Attributes:
        pitch: as in `ModelConfig`.
        store: of pitch in hertz; None: it is tracked.
        f0_quantizer: makes the bins; None: they are the stream `f0` of the units file.
        embeddings: file of speaker embeddings, by utterance or by speaker.
        styles: whether the manifest's column `style` counts.
    """

    pitch: Literal["none", "raw", "bins"] = "none"
    store: Path | None = None
    f0_quantizer: F0Quantizer | None = None
    embeddings: Path | None = None
    styles: bool = False

    def intonation(self, frame_rate: float) -> Intonation | None:
        """What makes the pitch of recordings; None where none is wanted, or the units file has it."""
        if self.pitch == "none" or (self.pitch == "bins" and self.f0_quantizer is None):
            return None
        store = None if self.store is None else FeatureStore(self.store)
        return Intonation(frame_rate, store, self.f0_quantizer)

    def bins_of(self, file: UnitsFile, path: Path) -> Stream | None:
        """Declaration of the bins; None unless they are wanted.

        Raises:
            UserError: the units file should have them and does not.
        """
        if self.pitch != "bins":
            return None
        if self.f0_quantizer is not None:
            return self.f0_quantizer.stream
        if STREAM not in file.streams:
            raise UserError(
                f'{path} has no stream {STREAM!r}, which model.pitch = "bins" reads: add it with `textless units '
                "prosody pitch`, `fit` and `add`, or give data.f0_quantizer (`textless vocoder fit-f0`)"
            )
        return file.streams[STREAM]


def training_conditions(config: VocoderConfig) -> Conditions:
    """What a training wants.

    Raises:
        UserError: the data do not have what the model asks for, or have what it does not read.
    """
    data, model = config.data, config.model
    if data.f0_quantizer is not None and model.pitch != "bins":
        raise UserError(f'data.f0_quantizer is for model.pitch = "bins", not "{model.pitch}"')
    if data.pitch is not None and model.pitch == "none":
        raise UserError('data.pitch is given, but model.pitch = "none" reads none: set model.pitch = "raw"')
    if (model.speaker == "embedding") != (data.embeddings is not None):
        raise UserError(
            'model.speaker = "embedding" and data.embeddings go together; `textless speaker embed` makes the embeddings'
        )
    quantizer = None if data.f0_quantizer is None else F0Quantizer.load(data.f0_quantizer)
    return Conditions(model.pitch, data.pitch, quantizer, data.embeddings, styles=model.n_styles > 0)


def check_sizes(config: VocoderConfig, bins: Stream | None, embedding_size: int | None, styles: list[str]) -> None:
    """Compare the sizes that the model states with the data's.

    Raises:
        UserError: they differ; it names the setting.
    """
    model = config.model
    found = {
        "n_pitch_bins": (model.n_pitch_bins, 0 if bins is None else bins.size),
        "speaker_size": (model.speaker_size, model.speaker_size if embedding_size is None else embedding_size),
        "n_styles": (model.n_styles, len(styles)),
    }
    for name, (stated, present) in found.items():
        if stated != present:
            raise UserError(f"model.{name} = {stated}, but the data have {present}: set model.{name} = {present}")
