"""prosAudit (de Seyssel et al., 2023): a sentence with its pauses where they belong against one with a pause elsewhere.

Rows pair up by position, as in sBLIMP; a pair is (type, id), and its score the mean over its voices. Two tasks,
*protosyntax* (a boundary between phrases) and *lexical* (none inside a word); the benchmark defines no mean over them.
"""

from pathlib import Path

from zerospeech_eval.pairs import PairResult, accuracy_by, mean_by, pair_by_position, score_trials
from zerospeech_eval.scores import LogProbs

COLUMNS = ("filename", "id", "voice", "type", "subtype", "transcription", "correct")
KEY = ("type", "id")


def prosaudit(scores: LogProbs, gold: Path, *, skip_missing: bool = False) -> PairResult:
    """Accuracy by type.

    Args:
        scores: of every recording, see `read_scores`.
        gold: CSV with the columns filename, id, voice, type, subtype, transcription, correct.
        skip_missing: leave out, and count, trials without scores.

    Raises:
        UserError: scores are missing, or the gold list does not pair up.
    """
    trials, outcomes, skipped = score_trials(scores, pair_by_position(gold, COLUMNS, KEY), skip_missing=skip_missing)
    by_pair = mean_by([tuple(trial.better[name] for name in KEY) for trial in trials], outcomes)
    by_type = accuracy_by([kind for kind, _ in by_pair], list(by_pair.values()))
    pairs = [dict(zip((*KEY, "score"), (*key, value), strict=True)) for key, value in by_pair.items()]
    breakdown = {"by type": dict(sorted(by_type.items()))}
    return PairResult("prosAudit", None, breakdown, pairs, len(trials), skipped, scores.convention)
