"""Waveforms of sequences of any length, made stretch by stretch in constant memory.

A stretch is synthesised with as many frames to either side as its samples may depend on (`generator.context`), whose
own samples are dropped. What comes out is what the whole sequence at once would give, up to the order of float32 sums.
"""

from dataclasses import replace

import torch

from vocoder.frames import Frames, join_frames, pad_frames
from vocoder.harmonics import hertz, phases
from vocoder.model import VocoderModel
from vocoder.voices import Voices


class Stretches:
    """Frames in, in pieces of any length; samples out, as soon as the frames that they depend on are there.

    The samples of the last `generator.context` frames come with `finish`.
    """

    def __init__(self, model: VocoderModel, voice: Voices) -> None:
        """Begin; `voice` is one voice, on the device of the model."""
        assert len(voice) == 1
        self.model = model
        self.voice = voice
        self.context = model.generator.context
        self._frames: Frames | None = None  # what is still needed: context to the left, then what waits
        self._waiting = 0  # frames whose samples are not out yet
        self._device = next(model.parameters()).device

    def push(self, frames: Frames) -> torch.Tensor:
        """Further frames `(T,)` → samples `(S,)` on the CPU, a whole number of frames, perhaps none."""
        if self.model.needs_phase and frames.pitch is not None:
            frames = replace(frames, phase=self._phase(frames))
        self._frames = frames if self._frames is None else join_frames([self._frames, frames])
        self._waiting += len(frames)
        return self._take(self._waiting - self.context)

    def finish(self) -> torch.Tensor:
        """Samples of the frames that waited for what follows; afterwards another sequence may begin."""
        waveform = self._take(self._waiting)
        self._frames, self._waiting = None, 0
        return waveform

    @torch.inference_mode()
    def _take(self, count: int) -> torch.Tensor:
        """Samples of the next `count` frames."""
        if count <= 0:
            return torch.zeros(0)
        assert self._frames is not None
        begin = len(self._frames) - self._waiting  # frames of context
        batch, lengths = pad_frames([self._frames])
        waveform = self.model.generator(batch.to(self._device), self.voice, lengths.to(self._device))[0].cpu()
        self._waiting -= count
        keep = self._waiting + self.context
        self._frames = self._frames.cut(max(0, len(self._frames) - keep), len(self._frames))
        return waveform[begin * self.model.hop : (begin + count) * self.model.hop].clone()

    def _phase(self, frames: Frames) -> torch.Tensor:
        """Phase of new frames `(T,)`, going on from the last."""
        assert self.voice.levels is not None
        assert frames.pitch is not None
        pitch, last = frames.pitch, self._frames
        if last is not None:
            assert last.pitch is not None
            pitch = torch.cat([last.pitch[-1:], pitch])
        found = phases(hertz(pitch[None], self.voice.levels.cpu()), self.model.hop)[0]
        if last is None:
            return found
        assert last.phase is not None
        return (found[1:] + last.phase[-1]) % 1
