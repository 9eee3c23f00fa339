"""Speech and its transcripts in batches whose content is a function of the seed and the update alone."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from textless.audio.batches import bucket, pad
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, read_manifest
from textless.distributed import World, shard_slice
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.training.seeds import mixed_seed
from unsup_asr.ctc.network import needed_states
from unsup_asr.phone_text import SILENCE

LENGTH_JITTER = 1.25
EDGE_FRAMES = 1  # that an encoder may lose at the ends of a recording


class Speech(Protocol):
    """What is read of an utterance: frames of a feature store, or the samples of a recording."""

    @property
    def rate(self) -> float:
        """Rows a second."""
        ...

    def __contains__(self, utterance_id: object) -> bool: ...

    def __len__(self) -> int: ...

    def rows(self, utterance_id: str) -> int:
        """Rows of an utterance."""
        ...

    def frames(self, utterance_id: str) -> int:
        """Frames of an utterance, at least."""
        ...

    def load(self, utterance_id: str) -> torch.Tensor:
        """Rows `(T, D)` or `(S,)` float32."""
        ...


class StoredSpeech:
    """Features of an encoder."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self.rate = store.header.frame_rate

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._store

    def __len__(self) -> int:
        return len(self._store)

    def rows(self, utterance_id: str) -> int:
        """Frames."""
        return len(self._store[utterance_id])

    frames = rows

    def load(self, utterance_id: str) -> torch.Tensor:
        """Frames `(T, D)`."""
        return torch.from_numpy(np.array(self._store[utterance_id], dtype=np.float32))


class RecordedSpeech:
    """Recordings of a manifest, for an encoder of so many frames a second."""

    rate = float(SAMPLE_RATE)

    def __init__(self, manifest: Manifest, frame_rate: float) -> None:
        self._manifest, self._frame_rate = manifest, frame_rate
        self._utterances = {utterance.id: utterance for utterance in manifest}

    @classmethod
    def open(cls, path: Path, frame_rate: float) -> "RecordedSpeech":
        """Read a manifest."""
        return cls(read_manifest(path), frame_rate)

    def __contains__(self, utterance_id: object) -> bool:
        return utterance_id in self._utterances

    def __len__(self) -> int:
        return len(self._utterances)

    def rows(self, utterance_id: str) -> int:
        """Samples, as the manifest states them."""
        return self._utterances[utterance_id].n_samples

    def frames(self, utterance_id: str) -> int:
        """Frames, at least."""
        return int(self.rows(utterance_id) / SAMPLE_RATE * self._frame_rate) - EDGE_FRAMES

    def load(self, utterance_id: str) -> torch.Tensor:
        """Samples `(S,)` at 16 kHz."""
        return self._manifest.load(self._utterances[utterance_id])


@dataclass(frozen=True)
class Batch:
    """Rows `(B, T, D)` or `(B, S)`, their lengths `(B,)`; symbols `(B, N)`, their counts `(B,)`."""

    rows: torch.Tensor
    lengths: torch.Tensor
    symbols: torch.Tensor
    counts: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(tensor.to(device) for tensor in vars(self).values()))


@dataclass(frozen=True)
class LeftOut:
    """Utterances that cannot be learnt from, by reason."""

    no_speech: int = 0
    no_transcript: int = 0
    empty: int = 0
    too_long: int = 0  # transcripts with more symbols than there are states

    def __str__(self) -> str:
        """A clause for a reader; nothing where nothing was left out."""
        reasons = {
            "without speech": self.no_speech,
            "without transcript": self.no_transcript,
            "with an empty transcript": self.empty,
            "with more symbols than states": self.too_long,
        }
        said = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
        return f"; left out: {said}" if said else ""


class PairedSpeech:
    """Utterances with their symbols.

    Args:
        speech: where rows come from.
        symbols: `(N,)` by id; every one can be learnt from.
        left_out: what could not.
    """

    def __init__(self, speech: Speech, symbols: Mapping[str, torch.Tensor], left_out: LeftOut) -> None:
        self.speech, self.symbols, self.left_out = speech, symbols, left_out
        self.ids = list(symbols)
        self._rows = [speech.rows(i) for i in self.ids]
        self._ends = [0]  # updates before every epoch, and after the last that was looked at
        self._latest: tuple[int, list[list[int]]] | None = None  # an epoch and its batches

    @classmethod
    def pair(cls, speech: Speech, transcripts: Mapping[str, torch.Tensor], stride: int) -> "PairedSpeech":
        """Bring together what has one id; `stride` is how many frames a state of the recogniser stands for.

        Raises:
            UserError: nothing can be learnt from.
        """
        known = {i: symbols for i, symbols in transcripts.items() if i in speech}
        spoken = {i: symbols for i, symbols in known.items() if len(symbols)}
        short = {i: s for i, s in spoken.items() if needed_states(s) <= -(-speech.frames(i) // stride)}
        left_out = LeftOut(
            no_speech=len(transcripts) - len(known),
            no_transcript=len(speech) - len(known),
            empty=len(known) - len(spoken),
            too_long=len(spoken) - len(short),
        )
        if not short:
            raise UserError(f"none of {len(transcripts)} transcripts can be learnt from{left_out}")
        return cls(speech, short, left_out)

    @property
    def hours(self) -> float:
        """Speech that is learnt from."""
        return sum(self._rows) / self.speech.rate / 3600

    def only(self, ids: Sequence[str]) -> "PairedSpeech":
        """Some of the utterances."""
        return PairedSpeech(self.speech, {i: self.symbols[i] for i in ids}, self.left_out)

    def batch(self, step: int, seconds: float, seed: int, here: World) -> tuple[Batch, float]:
        """This process's share of update `step` (from 0), and the weight of each of its symbols.

        A batch holds `seconds` of padded speech at most. The weight is one over the symbols of all processes. Where
        there are fewer utterances than processes, some get one that is not theirs, of weight 0.
        """
        while self._ends[-1] <= step:
            self._ends.append(self._ends[-1] + len(self._epoch(len(self._ends) - 1, seconds, seed)))
        epoch = bisect_right(self._ends, step) - 1
        chosen = self._epoch(epoch, seconds, seed)[step - self._ends[epoch]]
        n_symbols = sum(len(self.symbols[self.ids[i]]) for i in chosen)
        share = shard_slice(chosen, here.rank, here.size)
        return self.collate(share or chosen[:1]), 1 / n_symbols if share else 0.0

    def in_order(self, seconds: float) -> list[list[int]]:
        """Numbers of all utterances in batches of `seconds` of padded speech at most, the longest first."""
        return bucket(self._rows, int(seconds * self.speech.rate))

    def _epoch(self, epoch: int, seconds: float, seed: int) -> list[list[int]]:
        """Batches of an epoch; lengths are varied, so that the same utterances do not always share a batch."""
        if self._latest is None or self._latest[0] != epoch:
            own = mixed_seed(seed, epoch)
            factors = np.random.default_rng(own).uniform(1, LENGTH_JITTER, len(self._rows))
            lengths = [int(rows * factor) for rows, factor in zip(self._rows, factors, strict=True)]
            self._latest = epoch, bucket(lengths, int(seconds * self.speech.rate), seed=own)
        return self._latest[1]

    def collate(self, indices: Sequence[int]) -> Batch:
        """A batch of utterances by number."""
        ids = [self.ids[index] for index in indices]
        rows, lengths = pad([self.speech.load(i) for i in ids])
        symbols, counts = pad([self.symbols[i] for i in ids])
        return Batch(rows, lengths, symbols, counts)


def number_transcripts(
    transcripts: Mapping[str, Sequence[str]], phones: Sequence[str], where: Path
) -> dict[str, torch.Tensor]:
    """Symbols `(N,)` of every transcript, without silences.

    Raises:
        UserError: a transcript has a phone that is not one of `phones`.
    """
    numbers = {phone: number for number, phone in enumerate(phones)}
    strangers = sorted({phone for said in transcripts.values() for phone in said} - numbers.keys() - {SILENCE})
    if strangers:
        raise UserError(
            f"{where} has {len(strangers)} phones that the text has not: {' '.join(strangers[:10])}; prepare text and "
            "transcripts with one phone set"
        )
    return {
        name: torch.tensor([numbers[phone] for phone in said if phone != SILENCE], dtype=torch.long)
        for name, said in transcripts.items()
    }


def phones_of(transcripts: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """All phones of the transcripts but silence, sorted."""
    return tuple(sorted({phone for said in transcripts.values() for phone in said} - {SILENCE}))
