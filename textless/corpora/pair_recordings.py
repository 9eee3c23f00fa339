"""Recordings of pairs, a better and a worse member each, and the gold list that tells them apart.

    manifest.tsv, audio/VOICE/NUMBER_KIND.flac, alignments.tsv (phones), words.tsv, gold.csv

Every voice says both members with the same speaking rate, pitch, noise and level.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Utterance, write_manifest
from textless.corpora.alignment import SILENCE, Alignment, write_alignment
from textless.corpora.grammatical_pairs import GrammaticalPair
from textless.corpora.nonwords import WordPair
from textless.corpora.rendering import Job, Rendered, Renderer
from textless.corpora.synthesizer import Voice
from textless.files import atomic_write
from textless.progress import track

GOLD_WORDS = ("filename", "id", "voice", "frequency", "word", "phones", "length", "correct")
GOLD_SENTENCES = ("filename", "id", "voice", "type", "subtype", "transcription", "correct")


@dataclass(frozen=True)
class Recordings:
    """What was recorded: utterances, their phones and words."""

    utterances: list[Utterance] = field(default_factory=list)
    phones: Alignment = field(default_factory=dict)
    words: Alignment = field(default_factory=dict)

    @property
    def hours(self) -> float:
        """Duration of all recordings."""
        return sum(u.n_samples for u in self.utterances) / SAMPLE_RATE / 3600

    def add(self, name: str, job: Job, result: Rendered, text: str) -> None:
        """Add a recording."""
        self.utterances.append(Utterance(name, f"{name}.flac", result.n_samples, job.voice.variant, text))
        self.phones[name] = result.phones
        self.words[name] = result.words

    def write(self, root: Path) -> None:
        """Write the manifest and the alignments."""
        write_manifest(root / "manifest.tsv", Manifest(root, tuple(self.utterances)))
        write_alignment(root / "alignments.tsv", self.phones, "phone")
        if any(self.words.values()):
            write_alignment(root / "words.tsv", self.words, "word")


def record_words(
    root: Path, pairs: Sequence[WordPair], voices: Sequence[Voice], seed: tuple[int, ...], pool: Renderer
) -> Recordings:
    """Words and their nonwords, both spoken from phones.

    Args:
        root: folder to fill.
        pairs: what to say.
        voices: each says all of it.
        seed: of the recordings, with the numbers of the pair and of the voice after it.
        pool: renders.
    """
    texts = [("|".join(pair.word_phones), "|".join(pair.nonword_phones)) for pair in pairs]
    said = _plan(root, texts, voices, seed, ("word", "nonword"), phonemes=True)
    recordings, rows = Recordings(), []
    for one, result in _record(root, said, pool):
        heard = [segment.label for segment in result.phones if segment.label != SILENCE]
        pair = pairs[one.pair]
        word = pair.word if one.correct else "".join(heard)
        recordings.add(one.name, one.job, result, word)
        phones = " ".join(heard), len(heard)
        rows.append((one.name, one.pair, one.job.voice.variant, pair.frequency, word, *phones, int(one.correct)))
    recordings.write(root)
    write_gold(root / "gold.csv", GOLD_WORDS, rows)
    return recordings


def record_sentences(
    root: Path, pairs: Sequence[GrammaticalPair], voices: Sequence[Voice], seed: tuple[int, ...], pool: Renderer
) -> Recordings:
    """Right and wrong sentences; the arguments are those of `record_words`."""
    texts = [(f"{pair.good}.", f"{pair.bad}.") for pair in pairs]
    said = _plan(root, texts, voices, seed, ("good", "bad"), phonemes=False)
    recordings, rows = Recordings(), []
    for one, result in _record(root, said, pool):
        pair = pairs[one.pair]
        sentence = pair.good if one.correct else pair.bad
        recordings.add(one.name, one.job, result, sentence)
        rows.append((one.name, one.pair, one.job.voice.variant, pair.type, pair.subtype, sentence, int(one.correct)))
    recordings.write(root)
    write_gold(root / "gold.csv", GOLD_SENTENCES, rows)
    return recordings


@dataclass(frozen=True)
class _Said:
    """One recording: of which pair, whether of its better member, its name and how to make it."""

    pair: int
    correct: bool
    name: str
    job: Job


def _plan(
    root: Path,
    texts: Sequence[tuple[str, str]],
    voices: Sequence[Voice],
    seed: tuple[int, ...],
    kinds: tuple[str, str],
    *,
    phonemes: bool,
) -> list[_Said]:
    """Everything to say, pair by pair and voice by voice; both members of a pair in a voice have one seed."""
    said = []
    for index, pair in enumerate(texts):
        for number, voice in enumerate(voices):
            for text, kind, correct in zip(pair, kinds, (True, False), strict=True):
                name = f"audio/{voice.variant}/{index:06d}_{kind}"
                job = Job(root / f"{name}.flac", text, voice, (*seed, index, number), phonemes)
                said.append(_Said(index, correct, name, job))
    return said


def _record(root: Path, said: Sequence[_Said], pool: Renderer) -> Iterator[tuple[_Said, Rendered]]:
    results = track(pool.map([one.job for one in said]), f"recording {root.name}", total=len(said))
    return zip(said, results, strict=True)


def write_gold(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a gold list."""
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
