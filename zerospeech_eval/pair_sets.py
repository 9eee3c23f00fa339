"""Sets of pairs to be recorded: what they have in common, whatever is paired.

The training text tells what a model may have heard: how often words are in it, and which sentences no pair may hold.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from textless.audio.manifest import read_manifest
from textless.corpora.pair_recordings import Recordings
from textless.corpora.phone_events import WORD
from textless.corpora.synthesizer import Voice, require_language, variants
from textless.errors import UserError
from textless.files import require, write_json
from textless.progress import say
from textless.provenance import make_header

FORMAT, VERSION = "textless-pairs", 1
TELLING = 0.6  # a measure that is right so often tells more than it should


def read_sentences(paths: Iterable[Path]) -> list[str]:
    """Sentences in lower case and without punctuation, of manifests with a column `text` and of files of lines.

    Raises:
        UserError: a manifest has no texts, or a file is no text.
    """
    found: list[str] = []
    for path in paths:
        if path.suffix == ".tsv":
            lines = [u.text or "" for u in read_manifest(path)]
            if not any(lines):
                raise UserError(f"{path} has no texts: which words and sentences it holds cannot be told")
        else:
            try:
                lines = require(path, "text file").read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
        found += filter(None, map(plain, lines))
    return found


def plain(sentence: str) -> str:
    """Words in lower case, without punctuation."""
    return " ".join(WORD.findall(sentence)).lower()


def draw_voices(language: str, n: int, seed: int) -> list[Voice]:
    """Different speakers of a language, each with a pitch and a rate of their own.

    Raises:
        UserError: espeak-ng speaks no such language, or has not so many voices.
    """
    require_language(language)
    available = variants()
    if not 1 <= n <= len(available):
        raise UserError(f"voices should be 1 to {len(available)}, found {n}")
    rng = random.Random(f"{seed} voices")
    return [
        Voice(language, name, rng.randint(150, 190), rng.randint(38, 62), rng.randint(35, 65))
        for name in rng.sample(available, n)
    ]


def duration_advantages(recordings: Recordings) -> list[float]:
    """How much longer the worse member of every pair is, in every voice; members follow each other."""
    lengths = [u.n_samples for u in recordings.utterances]
    return [float(worse - better) for better, worse in zip(lengths[::2], lengths[1::2], strict=True)]


def accuracy_of(advantages: Sequence[float]) -> float:
    """How often a measure says which member is better: the share of advantages above 0, those at 0 counting half."""
    values = np.array(advantages)
    return float(((values > 0) + 0.5 * (values == 0)).mean())


def write_report(root: Path, kind: str, tells: Mapping[str, Sequence[float]], **facts: object) -> dict[str, object]:
    """Write `pairs.json`: what the pairs are made of, and how often simple measures tell their members apart."""
    accuracies = {name: round(accuracy_of(values), 4) for name, values in tells.items()}
    for name, accuracy in accuracies.items():
        if max(accuracy, 1 - accuracy) > TELLING:
            say(f"{name} alone tell {100 * accuracy:.0f} % of the pairs: compare a model with that, not with 50 %")
    header = make_header(FORMAT, VERSION, kind=kind, **facts, accuracy_of=accuracies)
    write_json(root / "pairs.json", header)
    return header
