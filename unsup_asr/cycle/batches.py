"""What a cycle reads: pairs, speech without text, text without speech; each with a type of its own.

In the zero-label setting the pairs are `PseudoPairs`, which only transcripts of a recogniser become (`reading.py`); no
other type here has a place for a transcript.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from textless.audio.batches import pad
from unsup_asr.tts.pairs import Batches, stack_voices


@dataclass(frozen=True)
class Heard:
    """An utterance without text: features `(T, D)`, what a synthesizer makes of it `(T',)` or `(T', H)`, its voice."""

    id: str
    features: np.ndarray
    target: np.ndarray
    voice: torch.Tensor | None


@dataclass(frozen=True)
class Paired:
    """An utterance and its phones `(N,)`."""

    heard: Heard
    phones: np.ndarray


@dataclass(frozen=True)
class ReferencePairs:
    """Transcripts that humans wrote."""

    pairs: Sequence[Paired]


@dataclass(frozen=True)
class PseudoPairs:
    """Transcripts that a recogniser wrote."""

    pairs: Sequence[Paired]


@dataclass(frozen=True)
class SpeechBatch:
    """Padded features `(B, T, D)` and targets `(B, T')` or `(B, T', H)`, their lengths `(B,)`, voices."""

    ids: tuple[str, ...]
    features: torch.Tensor
    lengths: torch.Tensor
    target: torch.Tensor
    target_lengths: torch.Tensor
    voices: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.features)

    def rolled(self) -> "SpeechBatch":
        """The same batch in which every utterance is at the place of its neighbour: what pairs are deranged with."""
        return self.only([len(self) - 1, *range(len(self) - 1)])

    def only(self, places: Sequence[int]) -> "SpeechBatch":
        """Some of its utterances, in this order."""
        rows = torch.tensor(places, device=self.features.device)
        lengths, target_lengths = self.lengths[rows], self.target_lengths[rows]
        return SpeechBatch(
            tuple(self.ids[place] for place in places),
            self.features[rows, : int(lengths.max())],
            lengths,
            self.target[rows, : int(target_lengths.max())],
            target_lengths,
            None if self.voices is None else self.voices[rows],
        )


@dataclass(frozen=True)
class TextBatch:
    """Padded phones `(B, N)` and their sizes `(B,)`."""

    phones: torch.Tensor
    sizes: torch.Tensor

    def __len__(self) -> int:
        return len(self.phones)

    def rolled(self) -> "TextBatch":
        """See `SpeechBatch.rolled`."""
        return replace(self, phones=self.phones.roll(1, 0), sizes=self.sizes.roll(1, 0))


@dataclass(frozen=True)
class PairBatch:
    """Speech and its text."""

    speech: SpeechBatch
    text: TextBatch


def collate_speech(utterances: Sequence[Heard], device: torch.device) -> SpeechBatch:
    """Pad utterances."""
    features, lengths = pad([torch.from_numpy(np.array(u.features, np.float32)) for u in utterances])
    target, target_lengths = pad([torch.from_numpy(np.array(u.target)) for u in utterances])
    voices = stack_voices([u.voice for u in utterances], device)
    ids = tuple(u.id for u in utterances)
    return SpeechBatch(
        ids, features.to(device), lengths.to(device), target.to(device), target_lengths.to(device), voices
    )


def collate_text(sentences: Sequence[np.ndarray], device: torch.device) -> TextBatch:
    """Pad sentences."""
    phones, sizes = pad([torch.from_numpy(sentence) for sentence in sentences])
    return TextBatch(phones.to(device), sizes.to(device))


def collate_pairs(pairs: Sequence[Paired], device: torch.device) -> PairBatch:
    """Pad pairs."""
    speech = collate_speech([pair.heard for pair in pairs], device)
    return PairBatch(speech, collate_text([pair.phones for pair in pairs], device))


class Unpaired:
    """Everything that is not paired, and the pairs, in batches of about the same number of frames.

    Args:
        pairs: see there.
        speech: without text.
        text: without speech, `(N,)` phones a sentence.
        frames: of a padded batch.
        frames_per_phone: how long a sentence will be, about.
        seed: of the order.
    """

    def __init__(
        self,
        pairs: ReferencePairs | PseudoPairs,
        speech: Sequence[Heard],
        text: Sequence[np.ndarray],
        *,
        frames: int,
        frames_per_phone: float,
        seed: int,
    ) -> None:
        self.pairs, self.speech, self.text = pairs.pairs, speech, text
        self._pairs = Batches([len(pair.heard.features) for pair in self.pairs], frames, seed)
        self._speech = Batches([len(u.features) for u in speech], frames, seed + 1)
        self._text = Batches([round(frames_per_phone * len(s)) + 2 for s in text], frames, seed + 2)

    def paired_batch(self, step: int, device: torch.device) -> PairBatch:
        """Pairs of a step."""
        return collate_pairs([self.pairs[place] for place in self._pairs[step]], device)

    def speech_batch(self, step: int, device: torch.device) -> SpeechBatch:
        """Speech of a step."""
        return collate_speech([self.speech[place] for place in self._speech[step]], device)

    def text_batch(self, step: int, device: torch.device) -> TextBatch:
        """Text of a step."""
        return collate_text([self.text[place] for place in self._text[step]], device)
