"""N-gram models for decoding: of phones or of words, from an ARPA file or estimated from prepared text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from textless.errors import UserError
from units.arpa import read_arpa
from units.kneser_ney import NgramModel
from unsup_asr.phone_text import SILENCE, PhoneText, read_words

Kind = Literal["phones", "words"]
ORDER = {"phones": 4, "words": 3}
SHOWN = 8


@dataclass(frozen=True)
class LanguageModel:
    """An n-gram model, the names of its K tokens, and where it is from."""

    model: NgramModel
    symbols: tuple[str, ...]
    source: str

    def tokens(self, names: tuple[str, ...]) -> np.ndarray:
        """Tokens `(N,)` of these names; -1 where the model has none."""
        numbers = {symbol: number for number, symbol in enumerate(self.symbols)}
        return np.array([numbers.get(name, -1) for name in names], dtype=np.int64)


def load_language_model(source: Path, kind: Kind, order: int | None = None) -> LanguageModel:
    """Read an ARPA file, or estimate a model from a folder of prepared text.

    Args:
        source: either.
        kind: which side of prepared text.
        order: of what is estimated; None: 4 for phones, 3 for words.

    Raises:
        UserError: it is neither.
    """
    if source.is_dir():
        return estimate(source, kind, order or ORDER[kind])
    model, symbols = read_arpa(source)
    return LanguageModel(model, tuple(symbols), str(source))


def estimate(text: Path, kind: Kind, order: int) -> LanguageModel:
    """Estimate a model of phones, silences included, or of words from a folder of prepared text."""
    if kind == "phones":
        phones = PhoneText.load(text)
        return LanguageModel(NgramModel.fit(phones.sentences, len(phones.phones), order), phones.phones, str(text))
    sentences = read_words(text)
    words = tuple(sorted({word for sentence in sentences for word in sentence}))
    numbers = {word: number for number, word in enumerate(words)}
    model = NgramModel.fit([[numbers[word] for word in sentence] for sentence in sentences], len(words), order)
    return LanguageModel(model, words, str(text))


def require_phones(language_model: LanguageModel, phones: tuple[str, ...]) -> np.ndarray:
    """Tokens `(V,)` of phones in a model; -1 for a silence that it does not know.

    Raises:
        UserError: it lacks other phones, naming them.
    """
    tokens = language_model.tokens(phones)
    missing = [phone for phone, token in zip(phones, tokens.tolist(), strict=True) if token < 0 and phone != SILENCE]
    if missing:
        known = " ".join(language_model.symbols[:SHOWN])
        raise UserError(
            f"{language_model.source} lacks {len(missing)} of the {len(phones)} phones of the recogniser "
            f"({' '.join(missing[:SHOWN])}); it has {known}: use a model of the text that the recogniser was trained on"
        )
    return tokens
