"""sWUGGY, the lexical test of ZeroSpeech 2021: a word against a non-word that differs in a few phones.

A trial is a word and a non-word of one id and one voice; a pair's score is the mean over its voices, the headline the
mean over pairs. "In vocabulary" leaves out pairs whose word never occurs in the training data (frequency 0).
"""

from pathlib import Path

from textless.errors import UserError
from zerospeech_eval.pairs import PairResult, Row, Trial, accuracy, accuracy_by, mean_by, read_gold, score_trials
from zerospeech_eval.scores import LogProbs

COLUMNS = ("filename", "id", "voice", "frequency", "word", "phones", "length", "correct")
# Lower edges of the bands. The names are those of the reference, which are off by one: "6-20" holds 5 to 19.
BANDS = ((0, "oov"), (1, "1-5"), (5, "6-20"), (20, "21-100"), (100, ">100"))


def swuggy(scores: LogProbs, gold: Path, *, skip_missing: bool = False) -> PairResult:
    """Accuracy overall, in vocabulary, by frequency band and by length in phones.

    Args:
        scores: of every recording, see `read_scores`.
        gold: CSV with the columns filename, id, voice, frequency, word, phones, length, correct.
        skip_missing: leave out, and count, trials without scores.

    Raises:
        UserError: scores are missing, or the gold list does not pair up.
    """
    trials, outcomes, skipped = score_trials(scores, _trials(gold), skip_missing=skip_missing)
    by_id = mean_by([(trial.better["id"],) for trial in trials], outcomes)
    first = {trial.better["id"]: trial for trial in reversed(trials)}
    values = list(by_id.values())
    words = [first[key].better for (key,) in by_id]
    bands = [_band(gold, word) for word in words]
    known = [value for value, band in zip(values, bands, strict=True) if band != "oov"]
    by_band, by_length = accuracy_by(bands, values), accuracy_by([word["length"] for word in words], values)
    breakdown = {
        "by frequency": {name: by_band[name] for _, name in BANDS if name in by_band},
        "by length": {name: by_length[name] for name in sorted(by_length, key=_length)},
    }
    if known:
        breakdown = {"in vocabulary": {"all": accuracy(known)}, **breakdown}
    pairs = [
        {"id": key, "word": _written(first[key].better), "non word": _written(first[key].worse), "score": value}
        for (key,), value in by_id.items()
    ]
    return PairResult("sWUGGY", accuracy(values), breakdown, pairs, len(trials), skipped, scores.convention)


def _trials(gold: Path) -> list[Trial]:
    words: dict[tuple[str, str], Row] = {}
    others: dict[tuple[str, str], Row] = {}
    for number, row in enumerate(read_gold(gold, COLUMNS), 2):
        side, key = words if row["correct"] == "1" else others, (row["id"], row["voice"])
        if key in side:
            raise UserError(
                f"{gold}:{number}: id {key[0]} has two rows with correct={row['correct']} in voice {key[1]!r}"
            )
        side[key] = row
    alone = words.keys() ^ others.keys()
    if alone:
        key = min(alone)
        raise UserError(f"{gold}: {len(alone)} rows have no partner, among them id {key[0]} in voice {key[1]!r}")
    return [Trial(row, others[key]) for key, row in words.items()]


def _written(row: Row) -> str:
    return row["word"] or row["phones"]


def _band(gold: Path, row: Row) -> str:
    try:
        frequency = float(row["frequency"])
    except ValueError as error:
        raise UserError(
            f"{gold}: frequency of id {row['id']} should be a number, found {row['frequency']!r}"
        ) from error
    return next((name for edge, name in reversed(BANDS) if frequency >= edge), "oov")


def _length(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name
