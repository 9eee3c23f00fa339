"""Scores of a submission: the files that the ZeroSpeech toolbox would write, with all their digits, and one of ours.

`summary.json` holds the figures of the leaderboards, by table and name; `textless eval leaderboard` reads it.
"""

from collections.abc import Mapping
from pathlib import Path

from textless.errors import UserError
from textless.files import read_json, write_json
from textless.provenance import check_header, make_header
from zerospeech_eval.precut_abx import DISTANCES, Name
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.expected import is_judged
from zerospeech_eval.submission.layout import Task
from zerospeech_eval.submission.measures import Measure, Scores, write_table
from zerospeech_eval.submission.params import Abx17Params, AbxParams, SlmParams
from zerospeech_eval.submission.score_abx import score_abx17, score_abx_ls
from zerospeech_eval.submission.score_codes import score_discophon, score_tde17, score_tts0
from zerospeech_eval.submission.score_language import score_prosaudit, score_slm21
from zerospeech_eval.submission.validate import PARAMS, locate, validate
from zerospeech_eval.submission.yaml_files import read_yaml

FORMAT, VERSION = "textless-submission-scores", 1
SUMMARY = "summary.json"


def score_submission(task: Task, root: Path, dataset: Dataset) -> Scores:
    """Score the parts that are there and that the dataset can judge.

    Raises:
        UserError: the submission is not valid (with the first problems), or nothing of it can be judged.
    """
    errors = [
        finding for finding in validate(task, root, dataset).errors if finding.where not in task.meta
    ]  # names are not needed to score
    if errors:
        shown = "; ".join(str(error) for error in errors[:3])
        raise UserError(f"{len(errors)} problems, see `textless eval validate`: {shown}")
    parts = {
        part.name: path for part in task.parts if (path := locate(root, part)) is not None and is_judged(part, dataset)
    }
    if not parts:
        raise UserError(f"the dataset {dataset.root} judges no part of this submission to {task.name}")
    return _score(task, root, parts, dataset)


def _score(task: Task, root: Path, parts: Mapping[str, Path], dataset: Dataset) -> Scores:
    params = task.params.parse(read_yaml(root / PARAMS) if (root / PARAMS).exists() else {}, PARAMS)
    match task.name, params:
        case "sLM21", SlmParams():
            return score_slm21(parts, dataset, params)
        case "prosAudit", _:
            return score_prosaudit(parts, dataset)
        case "abxLS", AbxParams():
            return score_abx_ls(parts, dataset, params)
        case "abx17", Abx17Params():
            return score_abx17(parts, dataset, params)
        case "tde17", _:
            return score_tde17(parts, dataset)
        case "discophon", _:
            return score_discophon(parts, dataset)
        case "tts0", _:
            return score_tts0(parts, dataset, _distance(root))
        case _:
            raise ValueError(f"no scorer of {task.name!r}")


def _distance(root: Path) -> Name:
    path = root / "2019" / "metadata.yaml"
    stated = read_yaml(path).get("abx distance")
    if stated not in DISTANCES:
        raise UserError(f"{path}: abx distance should be one of {', '.join(DISTANCES)}, found {stated!r}")
    return stated


def write_scores(folder: Path, task: Task, scores: Scores) -> None:
    """Write every table, and the figures."""
    for name, rows in scores.tables.items():
        write_table(folder / name, rows)
    for name, value in scores.values.items():
        write_json(folder / name, value)
    figures = [vars(measure) for measure in scores.measures]
    write_json(folder / SUMMARY, make_header(FORMAT, VERSION, task=task.name, measures=figures))


def read_measures(path: Path, task: str) -> list[Measure]:
    """Figures that `write_scores` wrote.

    Raises:
        UserError: they are of another task, or no such file.
    """
    values = check_header(read_json(path), FORMAT, VERSION, path)
    if values.get("task") != task:
        raise UserError(f"{path} holds scores of {values.get('task')}, not of {task}")
    return [Measure(**row) for row in values["measures"]]
