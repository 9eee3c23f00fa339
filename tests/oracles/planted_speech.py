"""Speech that is planted: every phone has a vector of its own, lasts a few frames, and there is noise on top."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textless.features.store import StoreHeader, write_header, write_shard
from textless.files import write_json
from textless.provenance import make_header
from unsup_asr.transcripts import write_transcripts

RATE, DIM = 50.0, 12
PHONES = tuple("abcdef")
SHA = "0" * 64


@dataclass(frozen=True)
class Utterance:
    """Phones `(N,)`, durations `(N + 2,)` with those of the silent edges, frames `(T, D)`, and who speaks."""

    phones: np.ndarray
    durations: np.ndarray
    frames: np.ndarray
    speaker: int


def sentence(random: np.random.Generator) -> np.ndarray:
    """A language: from each phone to two others only."""
    phones = [int(random.integers(len(PHONES)))]
    for _ in range(int(random.integers(4, 9))):
        phones.append((phones[-1] + int(random.choice([1, 2], p=[0.7, 0.3]))) % len(PHONES))
    return np.array(phones)


def utterances(count: int, seed: int, noise: float = 0.4, n_speakers: int = 2) -> list[Utterance]:
    """The vectors are the same for every seed; what is said and how is not."""
    fixed = np.random.default_rng(99)
    vectors = fixed.standard_normal((len(PHONES) + 1, DIM))  # the last is silence
    voices = 0.7 * fixed.standard_normal((n_speakers, DIM))
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        phones = sentence(random)
        durations = np.concatenate([random.integers(1, 5, 1), 2 + phones % 3 + random.integers(0, 2, len(phones)), [2]])
        symbols = np.repeat([len(PHONES), *phones, len(PHONES)], durations)
        speaker = int(random.integers(n_speakers))
        frames = vectors[symbols] + voices[speaker] + noise * random.standard_normal((len(symbols), DIM))
        found.append(Utterance(phones, durations, frames.astype(np.float32), speaker))
    return found


def write_store(directory: Path, frames: dict[str, np.ndarray]) -> None:
    """A feature store of an encoder that does not exist."""
    write_header(directory, StoreHeader("planted", SHA, DIM, RATE, 1, "0"))
    write_shard(directory, 0, 1, frames)


def write_corpus(directory: Path, spoken: list[Utterance], prefix: str = "u") -> None:
    """`features`, `phones.tsv` and `manifest.tsv`."""
    names = [f"{prefix}{place}" for place in range(len(spoken))]
    write_store(directory / "features", {name: u.frames for name, u in zip(names, spoken, strict=True)})
    said = {name: [PHONES[p] for p in u.phones] for name, u in zip(names, spoken, strict=True)}
    write_transcripts(directory / "phones.tsv", said)
    rows = "".join(f"{n}.wav\t{320 * len(u.frames)}\ts{u.speaker}\n" for n, u in zip(names, spoken, strict=True))
    (directory / "manifest.tsv").write_text(f"path\tn_samples\tspeaker\n{rows}")


def write_text(directory: Path, count: int, seed: int) -> None:
    """A folder as `asr prepare-text` writes it."""
    random = np.random.default_rng(seed)
    directory.mkdir(parents=True)
    write_json(directory / "text.json", make_header("textless-phone-text", 1, phones=list(PHONES)))
    lines = (" ".join(PHONES[p] for p in sentence(random)) for _ in range(count))
    (directory / "phones.txt").write_text("".join(f"{line}\n" for line in lines))
