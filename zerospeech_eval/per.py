"""Phone error rate: what a recogniser hears against what was to be said."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit

from textless.audio.batches import bucket, pad
from textless.audio.manifest import read_manifest
from textless.corpora.alignment import SILENCE, read_alignment
from textless.distributed import select_device
from textless.errors import UserError
from textless.files import atomic_write
from textless.progress import say, track
from zerospeech_eval.recognizer import Recognizer, load, log_mel

BATCH_FRAMES = 20_000
RESAMPLES = 2_000


@dataclass(frozen=True)
class Utterance:
    """What was to be said, what was heard, and the fewest edits from one to the other."""

    id: str
    reference: list[str]
    heard: list[str]
    substitutions: int
    insertions: int
    deletions: int

    @property
    def edits(self) -> int:
        """All of them."""
        return self.substitutions + self.insertions + self.deletions


@dataclass(frozen=True)
class PhoneErrors:
    """Errors of a corpus; `low` and `high` are the 95 % bootstrap interval of the rate, over utterances."""

    utterances: Sequence[Utterance]
    n_without_reference: int
    low: float
    high: float

    @property
    def n_reference(self) -> int:
        """Phones that were to be said."""
        return sum(len(u.reference) for u in self.utterances)

    @property
    def substitutions(self) -> int:
        """Phones heard as another."""
        return sum(u.substitutions for u in self.utterances)

    @property
    def insertions(self) -> int:
        """Phones heard that were not there."""
        return sum(u.insertions for u in self.utterances)

    @property
    def deletions(self) -> int:
        """Phones not heard."""
        return sum(u.deletions for u in self.utterances)

    @property
    def rate(self) -> float:
        """Edits by reference phones, over the whole corpus; above 1 if more is inserted than was to be said."""
        return sum(u.edits for u in self.utterances) / self.n_reference

    def summary(self) -> dict[str, Any]:
        """Rates in percent."""
        return {
            "phone_error_rate_percent": 100 * self.rate,
            "interval_95_percent": [100 * self.low, 100 * self.high],
            "interval_is": f"percentile bootstrap over utterances, {RESAMPLES} resamples",
            "substitutions": self.substitutions,
            "insertions": self.insertions,
            "deletions": self.deletions,
            "reference_phones": self.n_reference,
            "utterances": len(self.utterances),
            "without_reference": self.n_without_reference,
        }


def evaluate(manifest: Path, alignments: Path, recognizer: Path, *, seed: int = 0, device: str = "auto") -> PhoneErrors:
    """Transcribe recordings and compare with their phones, silence left out.

    Args:
        manifest: recordings to judge.
        alignments: `alignments.tsv` with the phones of the same utterance ids; times are not used.
        recognizer: folder that `train-recognizer` wrote.
        seed: of the bootstrap.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        UserError: no utterance has reference phones, or the recogniser does not know most of them.
    """
    model = load(recognizer, select_device(device))
    recordings, alignment = read_manifest(manifest), read_alignment(alignments)
    references = {
        u.id: phones for u in recordings if (phones := [s.label for s in alignment.get(u.id, ()) if s.label != SILENCE])
    }
    if not references:
        raise UserError(f"no utterance of {manifest} has phones in {alignments}; are these of the same corpus?")
    if len(references) < len(recordings):
        say(f"{len(recordings) - len(references)} of {len(recordings)} utterances have no reference phones: left out")
    _check_phones([phone for phones in references.values() for phone in phones], model, alignments, recognizer)
    judged = [u for u in recordings if u.id in references]
    mels = [log_mel(recordings.load(u)) for u in track(judged, "log-mel")]
    heard = transcribe(model, mels)
    utterances = [compare(u.id, references[u.id], phones) for u, phones in zip(judged, heard, strict=True)]
    low, high = bootstrap_interval(utterances, seed)
    return PhoneErrors(utterances, len(recordings) - len(references), low, high)


def _check_phones(phones: Sequence[str], model: Recognizer, alignments: Path, recognizer: Path) -> None:
    """Say which phones can only be counted as errors; too many of them mean another phone set."""
    known = set(model.config.phones)
    unknown = sorted(set(phones) - known)
    if 2 * sum(phone in known for phone in phones) < len(phones):
        raise UserError(
            f"{alignments} has {len(unknown)} phones that {recognizer} was not trained on, the first is "
            f"{unknown[0]!r}; use a recogniser of the same phone set"
        )
    if unknown:
        say(f"{recognizer} was not trained on {', '.join(unknown)}: these count as errors")


def transcribe(model: Recognizer, mels: Sequence[torch.Tensor]) -> list[list[str]]:
    """Phones of every log-mel `(M, 80)`, in order; batches hold utterances of similar length."""
    device = next(model.parameters()).device
    heard: dict[int, list[str]] = {}
    for indices in bucket([len(mel) for mel in mels], BATCH_FRAMES):
        padded, lengths = pad([mels[index] for index in indices])
        heard |= zip(indices, model.transcribe(padded.to(device), lengths.to(device)), strict=True)
    return [heard[index] for index in range(len(mels))]


def compare(utterance_id: str, reference: list[str], heard: list[str]) -> Utterance:
    """Count the edits of one utterance."""
    code = {phone: index for index, phone in enumerate(dict.fromkeys(reference + heard))}
    one, other = (np.array([code[phone] for phone in phones], dtype=np.int64) for phones in (reference, heard))
    return Utterance(utterance_id, reference, heard, *map(int, edits(one, other)))


@njit(cache=True)
def edits(reference: np.ndarray, heard: np.ndarray) -> tuple[int, int, int]:
    """Substitutions, insertions and deletions of a shortest edit; of several, one with the most substitutions."""
    n, m = len(reference), len(heard)
    distance = np.zeros((n + 1, m + 1), dtype=np.int64)
    distance[:, 0] = np.arange(n + 1)
    distance[0] = np.arange(m + 1)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            replaced = distance[i - 1, j - 1] + (reference[i - 1] != heard[j - 1])
            distance[i, j] = min(replaced, distance[i - 1, j] + 1, distance[i, j - 1] + 1)
    substitutions, insertions, deletions = 0, 0, 0
    i, j = n, m
    while i > 0 or j > 0:
        if i > 0 and j > 0 and distance[i, j] == distance[i - 1, j - 1] + (reference[i - 1] != heard[j - 1]):
            substitutions += reference[i - 1] != heard[j - 1]
            i -= 1
            j -= 1
        elif i > 0 and distance[i, j] == distance[i - 1, j] + 1:
            deletions += 1
            i -= 1
        else:
            insertions += 1
            j -= 1
    return substitutions, insertions, deletions


def bootstrap_interval(utterances: Sequence[Utterance], seed: int) -> tuple[float, float]:
    """95 % percentile interval of the rate when utterances are drawn again with replacement."""
    counts = np.array([(u.edits, len(u.reference)) for u in utterances])
    generator = np.random.default_rng(seed)
    rates = []
    for _ in range(RESAMPLES):
        total, phones = counts[generator.integers(0, len(counts), len(counts))].sum(axis=0)
        rates.append(total / phones)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def write_details(path: Path, result: PhoneErrors) -> None:
    """Write a tab-separated line for every utterance."""
    with atomic_write(path) as file:
        file.write("id\tphones\tsubstitutions\tinsertions\tdeletions\treference\theard\n")
        for u in result.utterances:
            counts = f"{len(u.reference)}\t{u.substitutions}\t{u.insertions}\t{u.deletions}"
            file.write(f"{u.id}\t{counts}\t{' '.join(u.reference)}\t{' '.join(u.heard)}\n")
