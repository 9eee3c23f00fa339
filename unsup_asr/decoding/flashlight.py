"""Flashlight's beam search for phones in place of our own: what fairseq's wav2vec-U decoded with.

It needs the package flashlight-text (extra `flashlight`), whose KenLM reads the n-gram model as an ARPA file. It finds
what `BeamDecoder` finds where both beams are wide; its scores are of single precision. It has no score of insertions,
and its score of silences counts frames, so neither is used. Its search of words wants a separator at the end of each:
it cannot stay in a word's last phone, so words are left to our own search.

Source: Kahn et al. 2022 (Flashlight); Collobert et al. 2016 (the decoder of wav2letter).
"""

import math
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from textless.errors import UserError
from units.arpa import write_arpa
from unsup_asr.decoding.beam import NONE, Found
from unsup_asr.decoding.best_path import collapsed
from unsup_asr.decoding.decoder import DecodingOptions, Transcript, check_posteriors, transcript
from unsup_asr.decoding.language_model import LanguageModel, require_phones
from unsup_asr.recognizers import Posteriors, Topology


class FlashlightDecoder:
    """The best phones by the recogniser and a language model together; arguments as of `BeamDecoder`.

    Raises:
        UserError: flashlight-text is not installed, the language model lacks phones of the recogniser, or the options
            have scores of insertions or silences.
    """

    words: tuple[str, ...] = ()

    def __init__(
        self,
        phones: tuple[str, ...],
        silence: int | None,
        topology: Topology,
        language_model: LanguageModel,
        options: DecodingOptions,
    ) -> None:
        self._library, kenlm, dictionary = _flashlight()
        self.phones, self.silence, self.topology = phones, silence, topology
        if (require_phones(language_model, phones) < 0).any():
            raise UserError(f"flashlight's search needs the silence in {language_model.source}; our own does not")
        with tempfile.TemporaryDirectory() as folder:
            arpa = Path(folder) / "lm.arpa"
            write_arpa(arpa, language_model.model, language_model.symbols)
            self._lm = kenlm(str(arpa), dictionary(list(phones)))
        self.set_options(options)

    def set_options(self, options: DecodingOptions) -> None:
        """Decode with other weights from now on."""
        if options.insertion or options.silence:
            raise UserError(
                "flashlight's search has no score of insertions or silences: give --insertion 0, and no --tune"
            )
        self.options = options
        library, has_blank = self._library, self.topology == "ctc"
        columns = len(self.phones) + has_blank
        weights = library.LexiconFreeDecoderOptions(
            beam_size=options.beam,
            beam_size_token=columns,
            beam_threshold=options.threshold,
            lm_weight=options.lm_weight * math.log(10),  # KenLM's logs are of base 10
            sil_score=0.0,
            log_add=options.sum_paths,
            criterion_type=library.CriterionType.CTC if has_blank else library.CriterionType.ASG,
        )
        # It begins as if in its silence, whose first frames the n-grams would not see: so it is told of none.
        blank, transitions = (len(self.phones), []) if has_blank else (NONE, [0.0] * columns**2)
        self._decoder = library.LexiconFreeDecoder(weights, self._lm, NONE, blank, transitions)

    def __call__(self, posteriors: Posteriors) -> Transcript:
        """See `Decoder`."""
        check_posteriors(posteriors)
        logs = np.ascontiguousarray(posteriors.log_probs, dtype=np.float32)
        found = self._decoder.decode(logs.ctypes.data, *logs.shape)[:1] if len(logs) else []
        path = [token for best in found for token in best.tokens[1:-1]]
        score = sum(best.score for best in found)
        none = np.empty(0, dtype=np.int64)
        phones = collapsed(np.array(path, dtype=np.int64), logs.shape[1], self.topology)
        return transcript(posteriors, Found(phones, none, none, score), self)


def _flashlight() -> tuple[Any, Any, Any]:
    """The module of decoders, `KenLM` and `Dictionary`.

    Raises:
        UserError: the package is not there, or was built without KenLM.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            from flashlight.lib.text import decoder
            from flashlight.lib.text.decoder.kenlm import KenLM
            from flashlight.lib.text.dictionary import Dictionary
    except ImportError as error:
        raise UserError(
            f"--search flashlight needs flashlight-text: pip install 'textless[flashlight]' ({error})"
        ) from error
    return decoder, KenLM, Dictionary
