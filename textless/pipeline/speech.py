"""Speech in, speech out, from Python.

pipeline = SpeechPipeline.load(Path("bundle"))
waveform = textless.audio.io.load(Path("prompt.wav"))
same_words = pipeline.resynthesize(waveform, speaker="f3")
for continuation in pipeline.continue_(waveform, n=3, seed=1):
    textless.audio.io.save(Path("continuation.wav"), continuation.waveform)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from textless.distributed import select_device
from textless.pipeline.bundle import Parts, load_bundle
from textless.pipeline.conversion import Converter, Manner
from textless.speakers.embedder import SpeakerEmbedder
from ulm.sampling import Sampling
from units.files import Units
from vocoder.frames import expand_frames
from vocoder.streaming import VocoderStream
from vocoder.voices import Voices

UNITS_PER_SECOND = 25.0  # for a unit LM that was trained without durations


@dataclass(frozen=True)
class Continuation:
    """A spoken continuation: prompt and continuation in one waveform `(S,)`, which begins with `prompt_samples`."""

    waveform: torch.Tensor
    prompt_samples: int
    units: Units


class SpeechPipeline:
    """Encoder, quantizer, unit LM and vocoder of one bundle."""

    def __init__(self, parts: Parts) -> None:
        self.speech_to_units = parts.speech_to_units
        self.language_model = parts.language_model
        self.vocoder = parts.vocoder
        self.converter = Converter(parts.speech_to_units, parts.vocoder)

    @classmethod
    def load(cls, directory: Path, device: str = "auto") -> Self:
        """Load a bundle; raises `UserError` if its parts do not belong together."""
        return cls(load_bundle(directory, select_device(device)))

    @property
    def speakers(self) -> list[str]:
        """Voices that the vocoder knows."""
        return self.vocoder.speakers

    def encode(self, waveform: torch.Tensor) -> Units:
        """Waveform `(S,)` at 16 kHz → deduplicated units with durations."""
        return self.speech_to_units.encode([waveform], ["speech"])[0]

    def resynthesize(
        self,
        waveform: torch.Tensor,
        speaker: str | None = None,
        *,
        speed: float = 1.0,
        semitones: float = 0.0,
        source: str | None = None,
    ) -> torch.Tensor:
        """Waveform `(S,)` → the same units spoken by `speaker` (None: the first the vocoder knows), `(S',)`.

        Args:
            waveform: any length, at 16 kHz.
            speaker: who speaks.
            speed: 2 speaks twice as quickly.
            semitones: added to the pitch, for vocoders with raw pitch.
            source: who spoke, where the vocoder knows that voice: see `conversion.Manner`.
        """
        return self.converter.convert([waveform], speaker, Manner(speed, semitones, source))[0]

    def convert(
        self,
        waveforms: Sequence[torch.Tensor],
        speaker: str | None = None,
        *,
        reference: torch.Tensor | None = None,
        embedder: SpeakerEmbedder | None = None,
        manner: Manner | None = None,
    ) -> list[torch.Tensor]:
        """Waveforms `(S_i,)` at 16 kHz → what is said in them, in another voice, `(S'_i,)`.

        Args:
            waveforms: recordings, from one buffer of a microphone to a corpus.
            speaker: a name that the vocoder knows (None: the first), or
            reference: a recording `(S,)` of the voice, and
            embedder: the speaker encoder that the vocoder was trained with.
            manner: speed and pitch.

        Raises:
            UserError: a speaker that the vocoder does not know, or a reference that it cannot use.
        """
        if (reference is None) != (embedder is None) or (reference is not None and speaker is not None):
            raise ValueError("give either a speaker, or a reference with its embedder")
        if reference is None or embedder is None:
            return self.converter.convert(waveforms, speaker, manner)
        return self.converter.convert(waveforms, self.converter.voice_of(reference, embedder), manner)

    def continue_(
        self,
        waveform: torch.Tensor,
        *,
        n: int = 3,
        seconds: float = 5.0,
        temperature: float = 0.7,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
        speaker: str | None = None,
    ) -> list[Continuation]:
        """`n` spoken continuations of a prompt `(S,)` at 16 kHz.

        The prompt keeps the durations and the pitch it was spoken with; those of the continuation are the vocoder's
        prediction.

        Args:
            waveform: the prompt.
            n: how many to sample.
            seconds: length of a continuation at most, at the unit LM's usual rate; it may end by itself before.
            temperature: of sampling, as all that follow: see `ulm.sampling.Sampling`.
            top_k: see temperature.
            top_p: see temperature.
            min_p: see temperature.
            repetition_penalty: see temperature.
            seed: of sampling.
            speaker: who speaks both (None: the first that the vocoder knows).
        """
        prompt = self.encode(waveform)
        sampling = Sampling(
            self._units_in(seconds), temperature, top_k, top_p, seed, min_p=min_p, repetition_penalty=repetition_penalty
        )
        sampled = self.language_model.generate([prompt.units], sampling, n=n)[0]
        whole = [Units(f"{prompt.id}__{i}", prompt.units + units) for i, units in enumerate(sampled)]
        index = 0 if speaker is None else self.vocoder.speaker_index(speaker)
        predicted = self.vocoder.predict_durations(whole, [index] * n)
        assert prompt.durations is not None
        begin = len(prompt.units)
        timed = [
            Units(item.id, item.units, prompt.durations + durations[begin:])
            for item, durations in zip(whole, predicted, strict=True)
        ]
        voice, told = self.vocoder.voice(speaker), self.converter.pitch(waveform, prompt)
        pitch = [self._continued(told, item, voice) for item in timed]
        waveforms = self.vocoder.synthesize(timed, [voice] * n, pitch=pitch)
        prompt_samples = prompt.n_frames * self.vocoder.hop
        return [Continuation(w, prompt_samples, item) for w, item in zip(waveforms, timed, strict=True)]

    def stream_continue(
        self,
        waveform: torch.Tensor,
        sampling: Sampling | None = None,
        *,
        seconds: float = 5.0,
        speaker: str | None = None,
    ) -> Iterator[torch.Tensor]:
        """One spoken continuation as it comes: pieces `(S,)` of prompt and continuation, some of them empty.

        Put together, they are the waveform of the first continuation that `continue_` gives for the same sampling, up
        to the order of float32 sums. A unit is heard once those followed that its duration and its samples depend on
        (`vocoder.streaming`).

        Args:
            waveform: the prompt, `(S,)` at 16 kHz.
            sampling: how to draw; its `max_units` is replaced.
            seconds: length of the continuation at most, at the unit LM's usual rate.
            speaker: who speaks both (None: the first that the vocoder knows).
        """
        prompt = self.encode(waveform)
        drawing = replace(sampling or Sampling(), max_units=self._units_in(seconds))
        stream = VocoderStream(self.vocoder, self.vocoder.voice(speaker), predict_pitch=True)
        yield stream.push(prompt.units, prompt.durations, self.converter.pitch(waveform, prompt))
        for unit in self.language_model.stream(prompt.units, drawing):
            yield stream.push([unit])
        yield stream.finish()

    def _continued(self, told: torch.Tensor | None, item: Units, voice: Voices) -> torch.Tensor | None:
        """The pitch of a prompt and, after it, what the vocoder predicts; None for a vocoder without pitch."""
        if told is None:
            return None
        predicted = self.vocoder.predict_pitch(expand_frames(item.units, item.durations or []), voice, item.id)
        return torch.cat([told, predicted[len(told) :]])

    def _units_in(self, seconds: float) -> int:
        return max(1, round(seconds * (self.language_model.units_per_second or UNITS_PER_SECOND)))
