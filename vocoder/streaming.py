"""Units in, audio out, while the units are still coming.

stream = VocoderStream(vocoder, vocoder.voice("kathleen"))
for units, durations in source:
    play(stream.push(units, durations))
play(stream.finish())

What comes out, put together, is what `Vocoder.synthesize` makes of all units at once, up to the order of float32 sums.
The price is latency: samples wait for the frames that they depend on, predicted pitch for frames as well, and predicted
durations for the units that these depend on.
"""

from collections.abc import Sequence

import torch

from units.files import Units
from vocoder.frames import expand_frames
from vocoder.pitch import fitted_pitch
from vocoder.pitch_stream import PitchStream
from vocoder.stretches import Stretches
from vocoder.vocoder import Vocoder, at_speed
from vocoder.voices import Voices


class VocoderStream:
    """Synthesis of one utterance whose units come in pieces.

    Attributes:
        latency_frames: frames that samples, and the pitch that is predicted for them, wait for.
        latency_units: units that predicted durations wait for, besides.
    """

    def __init__(
        self,
        vocoder: Vocoder,
        voice: Voices | None = None,
        *,
        speed: float = 1.0,
        semitones: float = 0.0,
        predict_pitch: bool = False,
    ) -> None:
        """Begin an utterance.

        Args:
            vocoder: what speaks.
            voice: who speaks (see `Vocoder.voice`); None: the first speaker.
            speed: 2 speaks twice as quickly.
            semitones: added to raw pitch.
            predict_pitch: predict the pitch of units that come without, for models with pitch.

        Raises:
            UserError: the vocoder is to predict pitch and cannot.
        """
        if speed <= 0:
            raise ValueError(f"speed must be positive, not {speed}")
        self.vocoder = vocoder
        self.voice = vocoder.voice() if voice is None else voice
        self.speed = speed
        self.semitones = semitones
        predictor = vocoder.model.durations
        told = not predict_pitch or vocoder.model.config.pitch == "none"
        self._pitch = None if told else PitchStream(vocoder, self.voice, semitones)
        self.latency_frames = vocoder.model.generator.context + (0 if self._pitch is None else self._pitch.context)
        self.latency_units = 0 if predictor is None else predictor.context
        self._stretches = Stretches(vocoder.model, self.voice)
        self._elapsed = 0  # frames, before speed was applied
        self._untimed: list[int] = []  # units that wait for their durations, after `_spoken` that no longer do
        self._spoken = 0

    @property
    def latency(self) -> float:
        """Seconds that the audio is behind the last unit, where durations are given."""
        return self.latency_frames / self.vocoder.quantizer.frame_rate

    def push(
        self, units: Sequence[int], durations: Sequence[int] | None = None, pitch: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Further deduplicated units → the samples that are settled by now, `(S,)`, perhaps none.

        Units with durations, a prompt's say, may come before units without.

        Args:
            units: `(N,)`.
            durations: the whole duration of each in frames, `(N,)`; None: they are predicted.
            pitch: for models with pitch, that of the frames, `(sum of durations, 2)` or `(sum of durations,)`; None:
                it is predicted, where `predict_pitch` allows it.

        Raises:
            UserError: units outside the codebook, pitch that the model needs and does not get, or durations that it
                should predict and cannot.
            ValueError: durations after units without, or pitch without durations.
        """
        self.vocoder.check_units(list(units), "the stream")
        if durations is None and pitch is None:
            self._untimed += units
            return self._speak(self.latency_units)
        if durations is None or len(self._untimed) > self._spoken:
            raise ValueError("units with durations come before those without, and pitch only with durations")
        recent = [*self._untimed, *units]  # what predicted durations of later units depend on
        self._untimed = recent[max(0, len(recent) - self.latency_units) :]
        self._spoken = len(self._untimed)
        return self._speak_timed(units, durations, pitch)

    def finish(self) -> torch.Tensor:
        """The rest of the samples; another utterance may follow."""
        pieces = [self._speak(0)]
        if self._pitch is not None and (rest := self._pitch.finish()) is not None:
            pieces.append(self._stretches.push(rest))
        waveform = torch.cat([*pieces, self._stretches.finish()])
        self._elapsed, self._untimed, self._spoken = 0, [], 0
        return waveform

    def _speak(self, hold_back: int) -> torch.Tensor:
        """Predict the durations of the units that wait, all but the last `hold_back`, and speak them."""
        ready = slice(self._spoken, max(self._spoken, len(self._untimed) - hold_back))
        units = self._untimed[ready]
        if not units:
            return torch.zeros(0)
        durations = self.vocoder.predict_durations([Units("the stream", self._untimed)], [self.voice])[0][ready]
        self._untimed = self._untimed[max(0, ready.stop - self.latency_units) :]
        self._spoken = min(ready.stop, self.latency_units)
        return self._speak_timed(units, durations, None)

    def _speak_timed(self, units: Sequence[int], durations: Sequence[int], pitch: torch.Tensor | None) -> torch.Tensor:
        lasting = at_speed(durations, self.speed, self._elapsed)
        self._elapsed += sum(durations)
        fitted = None
        if pitch is not None or self._pitch is None:
            fitted = fitted_pitch(self.vocoder.model, pitch, durations, lasting, self.semitones, "the stream")
        frames = expand_frames(units, lasting, fitted)
        if self._pitch is None:
            return self._stretches.push(frames)
        ready = self._pitch.push(frames)
        return torch.zeros(0) if ready is None else self._stretches.push(ready)
