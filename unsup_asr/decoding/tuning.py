"""Weights of the beam search without labels: speak the language, and stay close to what was heard.

Every pair of an LM weight and an insertion score decodes the same utterances. Lowest is taken of

    max(H, H_text) · max(E, floor),

with H the entropy of the transcripts in nats a phone, by an n-gram model of phones, H_text that of the text itself, and
E the phone errors against greedy decoding (Baevski et al. 2021, section 3.6). Without the first bound a decoder that
always says the likeliest sentence would win; without the second, one that does not listen to the model at all.
Silences do not count.

The second bound decides how far one may go from what was heard: with 0.05, and an LM weight of 0 in the grid, nothing
beats greedy decoding. As many phones may change as the recogniser itself holds for wrong: by default the bound is 1
minus its mean confidence in the greedy phones, but no less than 0.05.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from textless.progress import track
from unsup_asr.decoding.decoder import DecodingOptions, GreedyDecoder, SearchDecoder
from unsup_asr.recognizers import Posteriors
from unsup_asr.selection import Judge, in_text_phones, without
from zerospeech_eval.token_errors import edits

LM_WEIGHTS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
INSERTIONS = (-2.0, -1.0, 0.0, 1.0, 2.0, 4.0)
LEAST_FLOOR = 0.05


@dataclass(frozen=True)
class Trial:
    """One pair of weights and what it led to; `nats` and `errors` before the bounds."""

    lm_weight: float
    insertion: float
    nats: float
    errors: float
    objective: float


@dataclass(frozen=True)
class Tuning:
    """What was tried, between which bounds, and the options with the best pair of weights."""

    trials: tuple[Trial, ...]
    text_nats: float
    floor: float
    options: DecodingOptions

    @property
    def best(self) -> Trial:
        """The trial that was taken."""
        return min(self.trials, key=lambda trial: trial.objective)


def tune(
    decoder: SearchDecoder,
    posteriors: Sequence[Posteriors],
    judge: Judge,
    *,
    lm_weights: Sequence[float] = LM_WEIGHTS,
    insertions: Sequence[float] = INSERTIONS,
    floor: float | None = None,
) -> Tuning:
    """Try a grid, and leave the decoder with the best pair.

    Args:
        decoder: its phones are among those of the judge's text.
        posteriors: of some utterances.
        judge: of unpaired text.
        lm_weights: to try.
        insertions: to try with each.
        floor: of the error rate; None: by the confidence of the recogniser.

    Raises:
        UserError: the text lacks phones of the recogniser.
    """
    greedy = GreedyDecoder(decoder.topology)
    likeliest = [greedy(p) for p in posteriors]
    heard = [without(transcript.phones, decoder.silence) for transcript in likeliest]
    if floor is None:
        confidences = np.concatenate([np.empty(0), *(transcript.confidences for transcript in likeliest)])
        floor = max(LEAST_FLOOR, 1 - float(confidences.mean())) if len(confidences) else LEAST_FLOOR
    asked = decoder.options
    trials = []
    for lm_weight, insertion in track(list(product(lm_weights, insertions)), "tuning"):
        decoder.set_options(replace(asked, lm_weight=lm_weight, insertion=insertion))
        said = [without(decoder(p).phones, decoder.silence) for p in posteriors]
        nats = judge(in_text_phones(said, decoder.phones, judge.text)).nats
        errors = _error_rate(heard, said)
        objective = max(nats, judge.text_nats) * max(errors, floor)
        trials.append(Trial(lm_weight, insertion, nats, errors, objective))
    best = min(trials, key=lambda trial: trial.objective)
    decoder.set_options(replace(asked, lm_weight=best.lm_weight, insertion=best.insertion))
    return Tuning(tuple(trials), judge.text_nats, floor, decoder.options)


def _error_rate(references: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> float:
    total = sum(sum(edits(one, other)) for one, other in zip(references, others, strict=True))
    return total / max(1, sum(map(len, references)))
