"""A recogniser whose features are what it should hear, text it has not seen, and files of both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textless.corpora.alignment import Segment, write_alignment
from textless.features.store import StoreHeader, write_header, write_shard
from unsup_asr.decoding.best_path import greedy
from unsup_asr.phone_text import SILENCE
from unsup_asr.prepare_text import TextOptions, prepare_text
from unsup_asr.recognizers import EncoderSource, Posteriors

LETTERS = ("a", "d", "e", "n", "o", "r", "s", "t", SILENCE)
WORDS = ["and", "near", "dates", "toned", "seas", "sand", "tears", "rats", "door", "stones", "a", "ate", "one", "nest"]
WORDS += ["order", "to", "not", "so", "sos", "eased", "toast", "rode"]
FRAMES = 3  # of a letter
RATE = 50.0


def sentences(seed: int, n: int) -> list[list[str]]:
    """Words in an order that has a grammar of a kind: some follow some."""
    random = np.random.default_rng(7)
    following = random.dirichlet(np.full(len(WORDS), 0.1), len(WORDS))
    random = np.random.default_rng(seed)
    found = []
    for length in random.integers(3, 8, n):
        sentence = [int(random.integers(len(WORDS)))]
        while len(sentence) < length:
            sentence.append(int(random.choice(len(WORDS), p=following[sentence[-1]])))
        found.append([WORDS[word] for word in sentence])
    return found


def planted_text(directory: Path) -> None:
    """Prepared text of other sentences."""
    path = directory.with_suffix(".txt")
    path.write_text("\n".join(" ".join(sentence) for sentence in sentences(1, 800)), encoding="utf-8")
    prepare_text(path, directory, TextOptions("letters", silence=0.5))


def planted_speech(directory: Path, seed_name: str) -> dict[str, list[str]]:
    """A feature store of letters, with a silence between words, `alignments.tsv` beside it, and the words."""
    words = {f"{seed_name}-{i}": sentence for i, sentence in enumerate(sentences(len(seed_name), 40))}
    frames, alignment = {}, {}
    for name, sentence in words.items():
        letters = [SILENCE, *(letter for word in sentence for letter in (*word, SILENCE))]
        frames[name] = np.repeat(np.eye(len(LETTERS), dtype=np.float32)[[LETTERS.index(x) for x in letters]], FRAMES, 0)
        seconds = FRAMES / RATE
        alignment[name] = [
            Segment(i * seconds, (i + 1) * seconds, "SIL" if letter == SILENCE else letter)
            for i, letter in enumerate(letters)
        ]
    write_header(directory, StoreHeader("planted", "0" * 64, len(LETTERS), RATE, 1, "1" * 64))
    write_shard(directory, 0, 1, frames)
    write_alignment(directory / "alignments.tsv", alignment, "phone")
    return words


@dataclass(frozen=True)
class PlantedRecognizer:
    """Hears every letter, with noise; a deaf one hears but one. Equal letters of a word are one, as without a blank."""

    noise: float
    deaf: bool = False
    phones = LETTERS
    silence = len(LETTERS) - 1
    topology = "frames"
    source = EncoderSource("planted", "0" * 64, RATE)

    def posteriors(self, features: Sequence[np.ndarray]) -> list[Posteriors]:
        """See `unsup_asr.recognizers.Recognizer`."""
        found = []
        for frames in features:
            letters = len(frames) // FRAMES
            random = np.random.default_rng(letters)
            said = frames[::FRAMES].argmax(axis=1)
            wrong = (random.random(letters) < self.noise) & (said != self.silence)
            heard = np.where(wrong, random.integers(0, self.silence, letters), said)
            heard = np.repeat(np.zeros_like(heard) if self.deaf else heard, FRAMES)
            probabilities = 0.3 * np.asarray(frames) + 0.6 * np.eye(len(LETTERS))[heard] + 0.1 / len(LETTERS)
            starts = np.arange(len(frames))
            found.append(Posteriors(np.log(probabilities).astype(np.float32), starts, starts + 1))
        return found


def greedy_letters(recognizer: PlantedRecognizer, features: Sequence[np.ndarray]) -> list[list[str]]:
    """What it hears, without silences."""
    heard = (greedy(found.log_probs, "frames") for found in recognizer.posteriors(features))
    return [[LETTERS[p] for p in phones if p != recognizer.silence] for phones in heard]
