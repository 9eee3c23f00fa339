"""A trained vocoder in use: units and speakers in, waveforms out.

vocoder = load_vocoder(Path("vocoder"), "cpu")
waveforms = vocoder.synthesize([Units("a", [4, 71, 3], [2, 5, 3])], speakers=["kathleen"])
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.distributed import select_device
from textless.errors import UserError
from textless.training.precision import Precision, uses_bf16
from units.files import Units
from units.identity import QuantizerIdentity
from units.prosody import STREAM
from vocoder.frames import Frames, expand_frames, pad_frames
from vocoder.hifigan import UnitHifigan
from vocoder.intonation import stream_pitch
from vocoder.model import VocoderModel
from vocoder.pitch import fitted_pitch, not_predicted
from vocoder.stretches import Stretches
from vocoder.voices import Voices, join_voices

MAX_FRAMES = 1000  # of one padded batch or stretch, 20 s at 50 Hz: on a CPU the activations stay in the cache

# A speaker's name or index; a voice that `Vocoder.voice` made; None: the first speaker.
Speaker = str | int | Voices | None


class Vocoder:
    """Synthesis with a trained model, which the vocoder takes over: weight norm is folded into its weights.

    Attributes:
        speakers: names that `synthesize` knows. The first is the voice of utterances without one.
        quantizer: whose units it reads.
        hop: samples a frame of units.
    """

    def __init__(self, model: VocoderModel, device: torch.device, precision: Precision = "fp32") -> None:
        """Put a model to use; with `precision` bf16 the convolutions of a unit HiFi-GAN run in bfloat16."""
        self.device = device
        self.model = model.to(device).eval()
        if isinstance(model.generator, UnitHifigan):
            model.generator.fold()
            if uses_bf16(device, precision):
                model.generator.lower_precision()
        self.speakers = model.speakers
        self.quantizer: QuantizerIdentity = model.quantizer
        self.hop = model.hop

    def speaker_index(self, name: str) -> int:
        """Index of a speaker; raises `UserError` naming the closest, or all, that are known."""
        return _index(name, self.speakers, "speaker")

    def style_index(self, name: str | None) -> int:
        """Index of a style (None: the first); raises `UserError` as `speaker_index`, or if the model has none."""
        if name is None:
            return 0
        if not self.model.styles:
            raise UserError(f"the vocoder has no styles, so it cannot speak in {name!r}")
        return _index(name, self.model.styles, "style")

    def voice(
        self,
        speaker: Speaker = None,
        *,
        style: str | None = None,
        embedding: torch.Tensor | None = None,
        level: float | None = None,
    ) -> Voices:
        """One voice.

        Args:
            speaker: a name or an index (None: the first); a voice is returned as it is.
            style: a name (None: the first), for models with styles.
            embedding: `(E,)`, instead of a speaker, for models that read embeddings: the mean of those of a reference
                recording makes its speaker speak.
            level: mean log F0, for models with raw pitch; needed beside an embedding.

        Raises:
            UserError: a speaker or a style that the model does not know, or an embedding that it cannot read.
        """
        if isinstance(speaker, Voices):
            return speaker
        config = self.model.config
        manner = self.style_index(style)
        styles = torch.tensor([manner]) if config.n_styles else None
        if embedding is not None:
            if config.speaker != "embedding" or embedding.shape != (config.speaker_size,):
                reads = (
                    f"embeddings of size {config.speaker_size}" if config.speaker == "embedding" else "no embeddings"
                )
                raise UserError(
                    f"the vocoder reads {reads} of speakers; given is one of shape {tuple(embedding.shape)}"
                )
            if config.pitch == "raw" and level is None:
                raise ValueError("a vocoder with raw pitch needs the level of a voice that it does not know")
            found = Voices(embedding[None].float())
        elif not self.speakers:
            raise UserError("the vocoder reads embeddings of speakers and knows none by name: give an embedding")
        else:
            index = self.speaker_index(speaker) if isinstance(speaker, str) else speaker or 0
            found = self.model.voices(torch.tensor([index], device=self.device))
        levels = found.levels if level is None else torch.tensor([level])
        return Voices(found.speakers, styles, levels if config.pitch == "raw" else None).to(self.device)

    @torch.inference_mode()
    def synthesize(
        self,
        utterances: Sequence[Units],
        speakers: Sequence[Speaker] | None = None,
        *,
        predict_durations: bool = False,
        speed: float = 1.0,
        pitch: Sequence[torch.Tensor | None] | None = None,
        semitones: float = 0.0,
        predict_pitch: bool = False,
    ) -> list[torch.Tensor]:
        """Waveforms of utterances, in their order; neither order nor batching changes one.

        Args:
            utterances: deduplicated units; those without durations get predicted ones.
            speakers: one an utterance (None: the first for all).
            predict_durations: predict the durations of all utterances, also where they are known.
            speed: 2 speaks twice as quickly.
            pitch: for models with pitch, that of each utterance as its durations are (see `frames.py`), `(T, 2)` or
                `(T,)`; where there is none, the stream `f0` of the units.
            semitones: added to raw pitch.
            predict_pitch: predict the pitch of utterances that have none, for models with pitch.

        Returns:
            `(S,)` float32 on the CPU, `hop` samples a frame; not clipped, samples beyond ±1 are possible.

        Raises:
            UserError: a speaker that the vocoder does not know, units outside its codebook, pitch that it needs and
                does not get, or durations that it should predict and cannot.
        """
        voices = self._voices(utterances, speakers)
        whole = self._frames(
            utterances,
            voices,
            pitch,
            predict_durations=predict_durations,
            speed=speed,
            semitones=semitones,
            predict_pitch=predict_pitch,
        )
        waveforms = [torch.zeros(0)] * len(utterances)
        for batch in bucket([len(frames) for frames in whole], MAX_FRAMES):
            present = [index for index in batch if len(whole[index])]
            if not present:
                continue
            if len(whole[present[0]]) > MAX_FRAMES:
                assert len(present) == 1
                waveforms[present[0]] = torch.cat(list(self._stretches(whole[present[0]], voices[present[0]])))
                continue
            frames, sizes = pad_frames([whole[index] for index in present])
            voice = join_voices([voices[index] for index in present])
            padded = self.model.generator(frames.to(self.device), voice, sizes.to(self.device)).cpu()
            for row, index in enumerate(present):
                waveforms[index] = padded[row, : len(whole[index]) * self.hop].clone()
        return waveforms

    def pieces(
        self,
        utterance: Units,
        speaker: Speaker = None,
        *,
        predict_durations: bool = False,
        speed: float = 1.0,
        pitch: torch.Tensor | None = None,
        semitones: float = 0.0,
        predict_pitch: bool = False,
    ) -> Iterator[torch.Tensor]:
        """The waveform of one utterance of any length, in pieces `(S,)`, in constant memory; see `synthesize`."""
        voices = self._voices([utterance], [speaker])
        (frames,) = self._frames(
            [utterance],
            voices,
            [pitch],
            predict_durations=predict_durations,
            speed=speed,
            semitones=semitones,
            predict_pitch=predict_pitch,
        )
        return self._stretches(frames, voices[0])

    @torch.inference_mode()
    def predict_durations(self, utterances: Sequence[Units], speakers: Sequence[Speaker]) -> list[list[int]]:
        """How many frames each unit should last.

        Raises:
            UserError: the vocoder cannot tell, or a speaker that it does not know.
        """
        return self._predicted(utterances, self._voices(utterances, speakers))

    @torch.inference_mode()
    def predict_pitch(self, frames: Frames, voice: Voices, utterance_id: str = "the utterance") -> torch.Tensor:
        """Pitch that one utterance should have.

        Args:
            frames: the utterance, `(T,)`, or a stretch of it.
            voice: who speaks.
            utterance_id: for messages.

        Returns:
            Raw pitch `(T, 2)` or bins `(T,)`, on the CPU.

        Raises:
            UserError: the vocoder cannot tell.
        """
        predictor = self.model.pitch_predictor
        if predictor is None:
            raise not_predicted(utterance_id)
        batch, lengths = pad_frames([replace(frames, pitch=None, phase=None)])
        return predictor.predict(batch.to(self.device), voice, lengths.to(self.device))[0].cpu()

    def check_units(self, units: Sequence[int], utterance_id: str) -> None:
        """Raise `UserError` if there are units outside the codebook."""
        if units and not 0 <= min(units) <= max(units) < self.quantizer.k:
            raise UserError(
                f"{utterance_id} has units {min(units)}..{max(units)}; the vocoder knows those of {self.quantizer}, "
                f"0..{self.quantizer.k - 1}"
            )

    def _voices(self, utterances: Sequence[Units], speakers: Sequence[Speaker] | None) -> list[Voices]:
        names = [None] * len(utterances) if speakers is None else speakers
        if len(names) != len(utterances):
            raise ValueError(f"{len(utterances)} utterances but {len(names)} speakers")
        return [self.voice(name) for name in names]

    def _frames(
        self,
        utterances: Sequence[Units],
        voices: Sequence[Voices],
        pitch: Sequence[torch.Tensor | None] | None,
        *,
        predict_durations: bool,
        speed: float,
        semitones: float,
        predict_pitch: bool,
    ) -> list[Frames]:
        """What the generator reads, `(T,)` an utterance, on the CPU."""
        for item in utterances:
            self.check_units(item.units, item.id)
        contours = [None] * len(utterances) if pitch is None else pitch
        if len(contours) != len(utterances):
            raise ValueError(f"{len(utterances)} utterances but pitch for {len(contours)}")
        timed = self._timed(utterances, voices, predict_all=predict_durations, speed=speed)
        found = []
        for item, contour, durations, voice in zip(utterances, contours, timed, voices, strict=True):
            if contour is None and self.model.config.pitch == "bins" and STREAM in item.streams:
                contour = stream_pitch(item)  # noqa: PLW2901
            before = item.durations if item.durations is not None else [1] * len(item.units)
            if contour is None and predict_pitch and self.model.config.pitch != "none":
                contour = self.predict_pitch(expand_frames(item.units, durations), voice, item.id)  # noqa: PLW2901
                before = durations
            fitted = fitted_pitch(self.model, contour, before, durations, semitones, item.id)
            found.append(expand_frames(item.units, durations, fitted))
        return found

    def _stretches(self, frames: Frames, voice: Voices) -> Iterator[torch.Tensor]:
        """The waveform of one utterance, stretch by stretch."""
        stretches = Stretches(self.model, voice)
        for start in range(0, len(frames), MAX_FRAMES):
            yield stretches.push(frames.cut(start, start + MAX_FRAMES))
        yield stretches.finish()

    def _predicted(self, utterances: Sequence[Units], voices: Sequence[Voices]) -> list[list[int]]:
        predictor = self.model.durations
        if predictor is None and utterances:
            raise UserError(
                f"{utterances[0].id} has no durations and the vocoder no duration predictor: give units with durations"
            )
        found: list[list[int]] = [[] for _ in utterances]
        for batch in bucket([len(item.units) for item in utterances], MAX_FRAMES):
            present = [index for index in batch if utterances[index].units]
            if not present:
                continue
            assert predictor is not None
            units, sizes = pad([torch.tensor(utterances[i].units) for i in present])
            voice = join_voices([voices[i] for i in present])
            durations = predictor.predict(units.to(self.device), voice, sizes.to(self.device)).tolist()
            for row, index in enumerate(present):
                found[index] = durations[row][: len(utterances[index].units)]
        return found

    def _timed(
        self, utterances: Sequence[Units], voices: Sequence[Voices], *, predict_all: bool, speed: float
    ) -> list[list[int]]:
        known = [None if predict_all else item.durations for item in utterances]
        missing = [index for index, durations in enumerate(known) if durations is None]
        predicted = self._predicted([utterances[i] for i in missing], [voices[i] for i in missing])
        found = dict(zip(missing, predicted, strict=True))
        return [at_speed(found.get(index, durations or []), speed) for index, durations in enumerate(known)]


def at_speed(durations: Sequence[int], speed: float, elapsed: int = 0) -> list[int]:
    """Durations in frames at another speed, at least 1 each, of units that begin at the frame `elapsed`.

    Ends of units are rounded, not durations, so that the errors do not add up.
    """
    if speed <= 0:
        raise ValueError(f"speed must be positive, not {speed}")
    if speed == 1.0:
        return list(durations)
    ends = np.round(np.cumsum([elapsed, *durations]) / speed).astype(int)
    return np.maximum(1, np.diff(ends)).tolist()


def load_vocoder(directory: Path, device: str | torch.device = "auto", precision: Precision = "fp32") -> Vocoder:
    """Load a trained vocoder from its directory.

    Raises:
        UserError: there is none, it is damaged, or the device is not there.
    """
    return Vocoder(VocoderModel.load(directory), select_device(str(device)), precision)


def _index(name: str, known: Sequence[str], what: str) -> int:
    if name in known:
        return known.index(name)
    close = difflib.get_close_matches(name, known, n=3)
    listed = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    hint = f"did you mean {' or '.join(close)}?" if close else f"it knows: {listed}"
    raise UserError(f"the vocoder was not trained on a {what} named {name!r}; {hint}")
