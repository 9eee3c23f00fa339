"""A trained vocoder in use: units and speakers in, waveforms out.

vocoder = load_vocoder(Path("vocoder"), "cpu")
waveforms = vocoder.synthesize([Units("a", [4, 71, 3], [2, 5, 3])], speakers=["kathleen"])
"""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.distributed import select_device
from textless.errors import UserError
from units.files import Units
from units.identity import QuantizerIdentity
from vocoder.frames import expand_frames, pad_frames
from vocoder.model import VocoderModel

MAX_FRAMES = 4000  # of one padded batch: 80 s at 50 Hz


class Vocoder:
    """Synthesis in float32 with a trained model.

    Attributes:
        speakers: names that `synthesize` knows. The first is the voice of utterances without one.
        quantizer: whose units it reads.
        hop: samples a frame of units.
    """

    def __init__(self, model: VocoderModel, device: torch.device) -> None:
        self.device = device
        self.model = model.to(device).eval()
        self.speakers = model.speakers
        self.quantizer: QuantizerIdentity = model.quantizer
        self.hop = model.hop

    def speaker_index(self, name: str) -> int:
        """Index of a speaker; raises `UserError` naming the closest, or all, that are known."""
        if name in self.speakers:
            return self.speakers.index(name)
        close = difflib.get_close_matches(name, self.speakers, n=3)
        listed = ", ".join(self.speakers[:30]) + (", ..." if len(self.speakers) > 30 else "")
        hint = f"did you mean {' or '.join(close)}?" if close else f"it knows: {listed}"
        raise UserError(f"the vocoder was not trained on a speaker named {name!r}; {hint}")

    @torch.inference_mode()
    def synthesize(
        self,
        utterances: Sequence[Units],
        speakers: Sequence[str | None] | None = None,
        *,
        predict_durations: bool = False,
        speed: float = 1.0,
    ) -> list[torch.Tensor]:
        """Waveforms of utterances, in their order; neither order nor batching changes one.

        Args:
            utterances: deduplicated units; those without durations get predicted ones.
            speakers: a name, or None for the first speaker, an utterance (None: the first for all).
            predict_durations: predict the durations of all utterances, also where they are known.
            speed: 2 speaks twice as quickly.

        Returns:
            `(S,)` float32 on the CPU, `hop` samples a frame; not clipped, samples beyond ±1 are possible.

        Raises:
            UserError: a speaker that the vocoder does not know.
        """
        names = [None] * len(utterances) if speakers is None else speakers
        if len(names) != len(utterances):
            raise ValueError(f"{len(utterances)} utterances but {len(names)} speakers")
        indices = [0 if name is None else self.speaker_index(name) for name in names]
        timed = self._timed(utterances, indices, predict_all=predict_durations, speed=speed)
        waveforms = [torch.zeros(0)] * len(utterances)
        lengths = [sum(durations) for durations in timed]
        for batch in bucket(lengths, MAX_FRAMES):
            present = [index for index in batch if lengths[index]]
            if not present:
                continue
            frames, sizes = pad_frames([expand_frames(utterances[i].units, timed[i]) for i in present])
            voices = torch.tensor([indices[i] for i in present], device=self.device)
            padded = self.model.generator(frames.to(self.device), voices, sizes.to(self.device)).cpu()
            for row, index in enumerate(present):
                waveforms[index] = padded[row, : lengths[index] * self.hop].clone()
        return waveforms

    @torch.inference_mode()
    def predict_durations(self, utterances: Sequence[Units], speakers: Sequence[int]) -> list[list[int]]:
        """How many frames each unit should last, for speakers given by their index."""
        found: list[list[int]] = [[] for _ in utterances]
        for batch in bucket([len(item.units) for item in utterances], MAX_FRAMES):
            present = [index for index in batch if utterances[index].units]
            if not present:
                continue
            units, sizes = pad([torch.tensor(utterances[i].units) for i in present])
            voices = torch.tensor([speakers[i] for i in present], device=self.device)
            durations = self.model.durations.predict(units.to(self.device), voices, sizes.to(self.device)).tolist()
            for row, index in enumerate(present):
                found[index] = durations[row][: len(utterances[index].units)]
        return found

    def _timed(
        self, utterances: Sequence[Units], speakers: Sequence[int], *, predict_all: bool, speed: float
    ) -> list[list[int]]:
        known = [None if predict_all else item.durations for item in utterances]
        missing = [index for index, durations in enumerate(known) if durations is None]
        predicted = self.predict_durations([utterances[i] for i in missing], [speakers[i] for i in missing])
        found = dict(zip(missing, predicted, strict=True))
        return [at_speed(found.get(index, durations or []), speed) for index, durations in enumerate(known)]


def at_speed(durations: Sequence[int], speed: float) -> list[int]:
    """Durations in frames at another speed, at least 1 each.

    Ends of units are rounded, not durations, so that the errors do not add up.
    """
    if speed == 1.0:
        return list(durations)
    if speed <= 0:
        raise ValueError(f"speed must be positive, not {speed}")
    ends = np.round(np.cumsum(durations) / speed).astype(int)
    return np.maximum(1, np.diff(ends, prepend=0)).tolist()


def load_vocoder(directory: Path, device: str | torch.device = "auto") -> Vocoder:
    """Load a trained vocoder from its directory.

    Raises:
        UserError: there is none, it is damaged, or the device is not there.
    """
    return Vocoder(VocoderModel.load(directory), select_device(str(device)))
