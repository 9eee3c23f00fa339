"""Character error rate: what a recogniser of your choice writes down of speech against what was to be said.

The recogniser is any transcriber of text (see `zerospeech_eval.transcribers`), or its transcriptions in a file. The
ZeroSpeech challenges of 2019 and 2020 had people transcribe; rates of different recognisers do not compare.
"""

import unicodedata
from collections.abc import Mapping

from textless.audio.manifest import Manifest
from textless.errors import UserError
from zerospeech_eval.token_errors import TokenErrors, token_errors
from zerospeech_eval.transcribers import Transcriber, require_kind, transcribe_recordings


def character_errors(references: Mapping[str, str], heard: Mapping[str, str], seed: int = 0) -> TokenErrors:
    """Compare texts by id, spaces counting as characters.

    Args:
        references: what was to be said.
        heard: what the recogniser wrote.
        seed: of the bootstrap.

    Raises:
        UserError: a reference has no transcription, or no reference has a character.
    """
    texts = {name: list(normalise(text)) for name, text in references.items()}
    if not any(texts.values()):
        raise UserError("no utterance has a text to compare with; fill the column text of the manifest")
    return token_errors("character", texts, {name: list(normalise(text)) for name, text in heard.items()}, seed)


def normalise(text: str) -> str:
    """Lower case, without punctuation and symbols, words separated by single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c for c in folded if unicodedata.category(c)[0] not in "PS").split())


def transcribe(recordings: Manifest, transcriber: Transcriber) -> dict[str, str]:
    """Text of every recording, by id.

    Raises:
        UserError: the transcriber writes phones.
    """
    require_kind(transcriber, ("words", "characters"), "take `textless eval per`, or a recogniser of text")
    between = " " if transcriber.kind == "words" else ""
    return {name: between.join(tokens) for name, tokens in transcribe_recordings(recordings, transcriber).items()}
