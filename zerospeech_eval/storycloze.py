"""Benchmarks whose pairs are in the names of their recordings: the spoken StoryClozes and SALMon.

- sSC and tSC (Hassid et al., 2023), a story with its own ending or another: `12_correct`, `12_incorrect`. Pairs are
  what has one folder and one number before the first underscore.
- SALMon (Maimon et al., 2024), a recording that stays as it began, or whose background suits its words, against one
  that does not: `speaker_consistency/sample_7_0`, `.../sample_7_1`. Pairs are what has one folder, the *part*, and one
  number after the first underscore. There is no mean over the parts.

Of the two, the one that sorts first is the better one.
"""

from collections.abc import Callable
from pathlib import PurePosixPath

from textless.errors import UserError
from zerospeech_eval.names import listed
from zerospeech_eval.pairs import PairResult, accuracy, accuracy_by
from zerospeech_eval.scores import LogProbs

SALMON_PARTS = (
    "bg_alignment",
    "bg_all_consistency",
    "bg_domain_consistency",
    "gender_consistency",
    "rir_consistency",
    "sentiment_alignment",
    "sentiment_consistency",
    "speaker_consistency",
)


def storycloze(scores: LogProbs, *, skip_missing: bool = False) -> PairResult:
    """Accuracy overall, and by folder where there are several.

    Args:
        scores: of every recording.
        skip_missing: leave out, and count, stories without both endings.

    Raises:
        UserError: a name has no number, or a story has not exactly two endings.
    """
    outcomes, skipped = _outcomes(scores, lambda stem: stem.split("_")[0], "12_correct", skip_missing=skip_missing)
    folders = [folder for folder, _ in outcomes]
    by_folder = accuracy_by(folders, list(outcomes.values()))
    breakdown = {"by folder": dict(sorted(by_folder.items()))} if len(by_folder) > 1 else {}
    overall = accuracy(list(outcomes.values()))
    return PairResult("StoryCloze", overall, breakdown, _rows(outcomes), len(outcomes), skipped, scores.convention)


def salmon(scores: LogProbs, *, skip_missing: bool = False) -> PairResult:
    """Accuracy by part.

    Args:
        scores: of every recording; the last folder of an id is its part.
        skip_missing: leave out, and count, samples without both recordings.

    Raises:
        UserError: a part is unknown, a name has no number, or a sample has not exactly two recordings.
    """
    unknown = sorted({PurePosixPath(name).parent.name for name in scores.values} - set(SALMON_PARTS))
    if unknown:
        raise UserError(
            f"SALMon has no part {listed(unknown)}; the last folder of an id should be one of {', '.join(SALMON_PARTS)}"
        )
    outcomes, skipped = _outcomes(scores, lambda stem: stem.split("_")[1], "sample_7_0", skip_missing=skip_missing)
    by_part = accuracy_by([PurePosixPath(folder).name for folder, _ in outcomes], list(outcomes.values()))
    breakdown = {"by part": dict(sorted(by_part.items()))}
    return PairResult("SALMon", None, breakdown, _rows(outcomes), len(outcomes), skipped, scores.convention)


Key = tuple[str, int]  # folder, number


def _outcomes(
    scores: LogProbs, number_of: Callable[[str], str], example: str, *, skip_missing: bool
) -> tuple[dict[Key, float], int]:
    """Outcome of every pair, in {0, ½, 1}, and how many were left out."""
    groups: dict[Key, list[str]] = {}
    for name in sorted(scores.values):
        path = PurePosixPath(name)
        try:
            key = path.parent.as_posix(), int(number_of(path.name))
        except (ValueError, IndexError) as error:
            raise UserError(f"{name!r} should be named like {example!r}, with the number of its pair") from error
        groups.setdefault(key, []).append(name)
    broken = [f"{folder}/{number}" for (folder, number), members in groups.items() if len(members) != 2]
    if broken and not skip_missing:
        raise UserError(
            f"{len(broken)} of {len(groups)} pairs have not exactly two scores: {listed(broken)}; score the other "
            "recordings, or use --skip-missing"
        )
    pairs = {key: members for key, members in groups.items() if len(members) == 2}
    if not pairs:
        raise UserError("no pair has both its scores")
    likelier = {key: (scores.values[better], scores.values[worse]) for key, (better, worse) in pairs.items()}
    return {key: (one > other) + 0.5 * (one == other) for key, (one, other) in likelier.items()}, len(broken)


def _rows(outcomes: dict[Key, float]) -> list[dict[str, object]]:
    return [{"folder": folder, "number": number, "score": score} for (folder, number), score in outcomes.items()]
