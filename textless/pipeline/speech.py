"""Speech in, speech out, from Python.

pipeline = SpeechPipeline.load(Path("bundle"))
waveform = textless.audio.io.load(Path("prompt.wav"))
same_words = pipeline.resynthesize(waveform, speaker="f3")
for continuation in pipeline.continue_(waveform, n=3, seed=1):
    textless.audio.io.save(Path("continuation.wav"), continuation.waveform)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from textless.distributed import select_device
from textless.pipeline.bundle import Parts, load_bundle
from ulm.sampling import Sampling
from units.files import Units

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

    def resynthesize(self, waveform: torch.Tensor, speaker: str | None = None, *, speed: float = 1.0) -> torch.Tensor:
        """Waveform `(S,)` → the same units spoken by `speaker` (None: the first the vocoder knows), `(S',)`."""
        return self.vocoder.synthesize([self.encode(waveform)], [speaker], speed=speed)[0]

    def continue_(
        self,
        waveform: torch.Tensor,
        *,
        n: int = 3,
        seconds: float = 5.0,
        temperature: float = 0.7,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        speaker: str | None = None,
    ) -> list[Continuation]:
        """`n` spoken continuations of a prompt `(S,)` at 16 kHz.

        The prompt keeps the durations it was spoken with; those of the continuation are the vocoder's prediction.

        Args:
            waveform: the prompt.
            n: how many to sample.
            seconds: length of a continuation at most, at the unit LM's usual rate; it may end by itself before.
            temperature: of sampling, as top_k and top_p: see `ulm.sampling.Sampling`.
            top_k: see temperature.
            top_p: see temperature.
            seed: of sampling.
            speaker: who speaks both (None: the first that the vocoder knows).
        """
        prompt = self.encode(waveform)
        rate = self.language_model.units_per_second or UNITS_PER_SECOND
        sampling = Sampling(max(1, round(seconds * rate)), temperature, top_k, top_p, seed)
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
        waveforms = self.vocoder.synthesize(timed, [speaker] * n)
        prompt_samples = prompt.n_frames * self.vocoder.hop
        return [Continuation(w, prompt_samples, item) for w, item in zip(waveforms, timed, strict=True)]
