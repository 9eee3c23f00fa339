"""Frames whose pitch is predicted while they are still coming."""

from dataclasses import replace

from vocoder.frames import Frames, join_frames
from vocoder.pitch import not_predicted, not_shifted, raised
from vocoder.vocoder import Vocoder
from vocoder.voices import Voices


class PitchStream:
    """Frames without pitch in; the same frames with pitch out, once those followed that it depends on.

    Put together, the pitch is what `Vocoder.predict_pitch` gives for all frames at once, up to the order of sums.

    Attributes:
        context: frames that pitch waits for.
    """

    def __init__(self, vocoder: Vocoder, voice: Voices, semitones: float = 0.0) -> None:
        """Begin an utterance; `semitones` are added to predicted pitch.

        Raises:
            UserError: the vocoder does not predict pitch, or cannot shift it.
        """
        if vocoder.model.pitch_predictor is None:
            raise not_predicted("the stream")
        if semitones and vocoder.model.config.pitch != "raw":
            raise not_shifted(vocoder.model)
        self.vocoder = vocoder
        self.voice = voice
        self.semitones = semitones
        self.context = vocoder.model.pitch_predictor.context
        self._frames: Frames | None = None  # what is still needed: context to the left, then what waits
        self._waiting = 0  # frames whose pitch is not out yet

    def push(self, frames: Frames) -> Frames | None:
        """Further frames `(T,)`; with pitch, they come out as they are.

        Returns:
            Those whose pitch is settled; None for none.

        Raises:
            ValueError: frames with pitch after frames without.
        """
        if frames.pitch is not None and self._waiting:
            raise ValueError("units with pitch come before those without")
        bare = replace(frames, pitch=None)
        self._frames = bare if self._frames is None else join_frames([self._frames, bare])
        if frames.pitch is not None:
            self._forget()
            return frames
        self._waiting += len(frames)
        return self._take(self._waiting - self.context)

    def finish(self) -> Frames | None:
        """The frames that waited for what follows; afterwards another utterance may begin."""
        frames = self._take(self._waiting)
        self._frames, self._waiting = None, 0
        return frames

    def _take(self, count: int) -> Frames | None:
        """The next `count` frames, with pitch."""
        if count <= 0:
            return None
        assert self._frames is not None
        begin = len(self._frames) - self._waiting
        pitch = self.vocoder.predict_pitch(self._frames, self.voice)[begin : begin + count]
        ready = replace(self._frames.cut(begin, begin + count), pitch=raised(pitch, self.semitones))
        self._waiting -= count
        self._forget()
        return ready

    def _forget(self) -> None:
        """Keep no more context than is needed."""
        assert self._frames is not None
        keep = self._waiting + self.context
        self._frames = self._frames.cut(max(0, len(self._frames) - keep), len(self._frames))
