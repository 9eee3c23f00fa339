"""sBLIMP, the syntactic test of ZeroSpeech 2021: a grammatical sentence against an ungrammatical one.

The n-th row with correct=1 and the n-th with correct=0 are a trial, as in the reference; a pair's score is the mean
over its voices, the headline the mean over pairs.
"""

from pathlib import Path

from zerospeech_eval.pairs import PairResult, accuracy, accuracy_by, mean_by, pair_by_position, score_trials
from zerospeech_eval.scores import LogProbs

COLUMNS = ("filename", "id", "voice", "type", "subtype", "transcription", "correct")
KEY = ("type", "subtype", "id")


def sblimp(scores: LogProbs, gold: Path, *, skip_missing: bool = False) -> PairResult:
    """Accuracy overall, by type and by subtype.

    Args:
        scores: of every recording, see `read_scores`.
        gold: CSV with the columns filename, id, voice, type, subtype, transcription, correct.
        skip_missing: leave out, and count, trials without scores.

    Raises:
        UserError: scores are missing, or the gold list does not pair up.
    """
    trials, outcomes, skipped = score_trials(scores, pair_by_position(gold, COLUMNS, KEY), skip_missing=skip_missing)
    by_pair = mean_by([tuple(trial.better[name] for name in KEY) for trial in trials], outcomes)
    values = list(by_pair.values())
    by_type = accuracy_by([kind for kind, _, _ in by_pair], values)
    by_subtype = accuracy_by([f"{kind}/{subtype}" for kind, subtype, _ in by_pair], values)
    breakdown = {"by type": dict(sorted(by_type.items())), "by subtype": dict(sorted(by_subtype.items()))}
    pairs = [dict(zip((*KEY, "score"), (*key, value), strict=True)) for key, value in by_pair.items()]
    return PairResult("sBLIMP", accuracy(values), breakdown, pairs, len(trials), skipped, scores.convention)
