"""The decoder that a command line asks for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from textless.errors import UserError
from textless.progress import say
from unsup_asr.decoding.decoder import BeamDecoder, DecodingOptions, GreedyDecoder, SearchDecoder
from unsup_asr.decoding.flashlight import FlashlightDecoder
from unsup_asr.decoding.language_model import load_language_model
from unsup_asr.decoding.lexicon import read_pronunciations, word_lexicon
from unsup_asr.recognizers import Recognizer


@dataclass(frozen=True)
class DecoderSources:
    """What decoding goes by, besides the recogniser. With nothing, it is greedy.

    Attributes:
        lm: n-gram model of phones: an ARPA file, or prepared text to estimate one from.
        lexicon: words and their phones: a file, or prepared text. Words are decoded then.
        words_lm: n-gram model of words, likewise.
        order: of models that are estimated; None: 4 for phones, 3 for words.
        search: whose beam search: our own, or flashlight's (for phones).
    """

    lm: Path | None = None
    lexicon: Path | None = None
    words_lm: Path | None = None
    order: int | None = None
    search: Literal["own", "flashlight"] = "own"


def build_decoder(
    recognizer: Recognizer, sources: DecoderSources, options: DecodingOptions
) -> GreedyDecoder | SearchDecoder:
    """Greedy, phones with an n-gram model, or words with a lexicon.

    Raises:
        UserError: the sources do not go together, are no such files, or have other phones than the recogniser;
            flashlight-text is asked for and not installed.
    """
    phones, silence, topology = recognizer.phones, recognizer.silence, recognizer.topology
    if sources.search == "flashlight" and sources.lm is None:
        raise UserError(
            "--search flashlight decodes phones with a language model: give --lm. Its search of words needs a "
            "separator after each, so words (--lexicon) are decoded with our own"
        )
    match sources.lm, sources.lexicon, sources.words_lm:
        case None, None, None:
            return GreedyDecoder(topology)
        case lm, None, None if lm is not None:
            language_model = load_language_model(lm, "phones", sources.order)
            if sources.search == "flashlight":
                return FlashlightDecoder(phones, silence, topology, language_model, options)
            return BeamDecoder(phones, silence, topology, language_model, options=options)
        case None, lexicon, words_lm if lexicon is not None and words_lm is not None:
            words, unwritten = word_lexicon(read_pronunciations(lexicon), phones, str(lexicon))
            language_model = load_language_model(words_lm, "words", sources.order)
            kept, unknown = words.among(language_model.symbols)
            if not kept.words:
                raise UserError(f"{words_lm} has none of the {len(words.words)} words of {lexicon}")
            if unwritten or unknown:
                say(
                    f"{lexicon}: {len(kept.words)} words can be written; left out are {len(unwritten)} with phones "
                    f"that the recogniser lacks, and {len(unknown)} that {words_lm} does not know"
                )
            return BeamDecoder(phones, silence, topology, language_model, kept, options)
        case _:
            raise UserError("give --lm for phones, or --lexicon together with --words-lm for words")
