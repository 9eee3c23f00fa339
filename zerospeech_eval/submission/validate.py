"""Is a submission complete and well-formed? Checked offline, and every problem is listed at once."""

from pathlib import Path

from textless.errors import UserError
from zerospeech_eval.submission import checks
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.expected import expected_names, is_judged
from zerospeech_eval.submission.findings import Findings
from zerospeech_eval.submission.layout import FILES, Part, Task
from zerospeech_eval.submission.meta import check
from zerospeech_eval.submission.yaml_files import read_yaml
from zerospeech_eval.transcribed_speech import read_tiers

PARAMS = "params.yaml"
ALLOWED = ("scores", "code", "help.md", "2017")  # at the top, beside the parts; 2017 is the other track of tts0


def validate(task: Task, root: Path, dataset: Dataset | None = None) -> Findings:
    """Check names, parameters, files and their content.

    Args:
        task: what is submitted to.
        root: folder of the submission.
        dataset: what it should answer; without one, no recording is missing or too many.

    Raises:
        UserError: the dataset is malformed.
    """
    findings = Findings()
    _check_meta(task, root, findings)
    extension = _check_params(task, root, findings)
    present = [part for part in task.parts if locate(root, part) is not None]
    for part in task.parts:
        _check_part(part, root, dataset, extension, findings)
    if not present:
        findings.error(".", f"nothing of a submission to {task.name}: it has {', '.join(p.path for p in task.parts)}")
    known = {Path(path).parts[0] for part in task.parts for path in (part.path, part.old_path) if path}
    known |= {PARAMS, *ALLOWED, *(Path(name).parts[0] for name in task.meta)}
    extra = sorted(entry.name for entry in root.iterdir() if entry.name not in known)
    if extra:
        findings.error(".", "extra files", extra)
    return findings


def locate(root: Path, part: Part) -> Path | None:
    """Where a part lies, under its present or its old name."""
    places = [root / path for path in (part.path, part.old_path) if path]
    return next((place for place in places if place.exists()), None)


def _check_meta(task: Task, root: Path, findings: Findings) -> None:
    for name, fields in task.meta.items():
        if not (root / name).exists():
            findings.error(name, "is missing")
            continue
        try:
            values = read_yaml(root / name)
        except UserError as error:
            findings.error(name, _without_path(error, root / name))
            continue
        check(fields, values, name, findings)
        stated = values.get("benchmark_name", task.name)
        if stated not in {task.name, f"test-{task.name}"}:
            findings.error(name, f"benchmark_name should be {task.name}, found {stated!r}")


def _check_params(task: Task, root: Path, findings: Findings) -> str | None:
    """The extension of feature files, where the parameters name one."""
    if not task.params.model_fields:
        return None
    if not (root / PARAMS).exists():
        findings.remark(PARAMS, "is missing; the defaults are taken")
        return None
    try:
        values = read_yaml(root / PARAMS)
        params = task.params.parse(values, PARAMS)
    except UserError as error:
        findings.error(PARAMS, _without_path(error, root / PARAMS))
        return None
    return getattr(params, "score_file_type", None) if "score_file_type" in values else None


def _check_part(part: Part, root: Path, dataset: Dataset | None, extension: str | None, findings: Findings) -> None:
    path = locate(root, part)
    if path is None:
        _check_absence(part, dataset, findings)
        return
    if (part.kind in FILES) == path.is_dir():
        findings.error(part.path, "should be a file" if part.kind in FILES else "should be a folder")
        return
    expected = expected_names(part, dataset) if dataset is not None else None
    where = path.relative_to(root).as_posix()
    match part.kind:
        case "scores":
            checks.check_scores(path, where, expected, findings)
        case "features":
            checks.check_features(path, where, expected, extension, findings)
        case "embeddings":
            checks.check_embeddings(path, where, expected, findings)
        case "recordings":
            checks.check_recordings(path, where, expected, findings)
        case "units":
            checks.check_units(path, where, expected, findings)
        case "classes":
            phones = dataset.find(part.subset, "alignment_phones") if dataset is not None else None
            checks.check_classes(path, where, set(read_tiers(phones)) if phones is not None else None, findings)


def _check_absence(part: Part, dataset: Dataset | None, findings: Findings) -> None:
    if part.optional:
        return
    if dataset is None:
        findings.remark(part.path, "is missing, and will not be judged")
    elif is_judged(part, dataset):
        findings.error(part.path, "is missing")


def _without_path(error: UserError, path: Path) -> str:
    return str(error).removeprefix(str(path)).removeprefix(path.name).lstrip(": ")
