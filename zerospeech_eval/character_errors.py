"""Character error rate: what a recogniser of your choice writes down of speech against what was to be said.

A recogniser is anything that takes a waveform `(S,)` at 16 kHz and returns text: a function named `module:function`, or
its transcriptions in a file. The ZeroSpeech challenges of 2019 and 2020 had people transcribe; rates of different
recognisers do not compare.
"""

import importlib
import os
import sys
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from textless.audio.manifest import Manifest
from textless.errors import UserError
from textless.files import require
from textless.progress import track
from zerospeech_eval.names import listed
from zerospeech_eval.per import RESAMPLES, Utterance, bootstrap_interval, compare

Transcriber = Callable[[torch.Tensor], str]


@dataclass(frozen=True)
class CharacterErrors:
    """Errors of a corpus; `low` and `high` are the 95 % bootstrap interval of the rate, over utterances."""

    utterances: Sequence[Utterance]
    low: float
    high: float

    @property
    def n_reference(self) -> int:
        """Characters that were to be said."""
        return sum(len(u.reference) for u in self.utterances)

    @property
    def rate(self) -> float:
        """Edits by reference characters, over the whole corpus."""
        return sum(u.edits for u in self.utterances) / self.n_reference

    def summary(self) -> dict[str, Any]:
        """Rates in percent."""
        return {
            "character_error_rate_percent": 100 * self.rate,
            "interval_95_percent": [100 * self.low, 100 * self.high],
            "interval_is": f"percentile bootstrap over utterances, {RESAMPLES} resamples",
            "reference_characters": self.n_reference,
            "utterances": len(self.utterances),
        }


def character_errors(references: Mapping[str, str], heard: Mapping[str, str], seed: int = 0) -> CharacterErrors:
    """Compare texts by id, spaces counting as characters.

    Args:
        references: what was to be said.
        heard: what the recogniser wrote.
        seed: of the bootstrap.

    Raises:
        UserError: a reference has no transcription, or no reference has a character.
    """
    missing = [name for name in references if name not in heard]
    if missing:
        raise UserError(f"{len(missing)} of {len(references)} utterances have no transcription: {listed(missing)}")
    texts = {name: normalise(text) for name, text in references.items()}
    utterances = [compare(name, list(text), list(normalise(heard[name]))) for name, text in texts.items() if text]
    if not utterances:
        raise UserError("no utterance has a text to compare with; fill the column text of the manifest")
    return CharacterErrors(utterances, *bootstrap_interval(utterances, seed))


def normalise(text: str) -> str:
    """Lower case, without punctuation and symbols, words separated by single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c for c in folded if unicodedata.category(c)[0] not in "PS").split())


def transcribe(manifest: Manifest, transcriber: Transcriber) -> dict[str, str]:
    """Text of every recording, by id."""
    return {u.id: str(transcriber(manifest.load(u))) for u in track(manifest.utterances, "transcribing")}


def read_transcriptions(path: Path) -> dict[str, str]:
    """Texts of a file of `id<TAB>text` lines.

    Raises:
        UserError: naming the line that has no tab or repeats an id.
    """
    texts: dict[str, str] = {}
    for number, line in enumerate(require(path, "transcriptions").read_text(encoding="utf-8-sig").splitlines(), 1):
        name, separator, text = line.partition("\t")
        if line.strip() and (not separator or name in texts):
            raise UserError(f"{path}:{number} should be id<TAB>text, each id once, found {line[:80]!r}")
        if line.strip():
            texts[name] = text
    return texts


def load_transcriber(name: str) -> Transcriber:
    """The function `module:function`; modules of the working directory are found too.

    Raises:
        UserError: there is no such module or function.
    """
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise UserError(f"a recogniser is named module:function, such as my_recognizer:transcribe, not {name!r}")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds text
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"no recogniser {name!r}: {error}") from error
    if not callable(function):
        raise UserError(f"{name!r} is no function but {type(function).__name__}")
    return function
