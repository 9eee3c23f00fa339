"""`textless eval`: submissions to the ZeroSpeech benchmarks, and the leaderboards."""

from pathlib import Path
from typing import Annotated

import typer

from textless.errors import UserError
from textless.options import Force, Json

TaskName = Annotated[
    str, typer.Argument(metavar="TASK", help="abxLS, abx17, sLM21, prosAudit, tde17, tts0 or discophon.")
]
Submission = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the submission, or a zip archive of it.")]
DatasetOption = Annotated[
    Path | None,
    typer.Option("--dataset", help="The benchmark's data: a folder that the toolbox installed, or your own."),
]


def register(app: typer.Typer) -> None:
    """Add these verbs to `textless eval`."""
    for verb in (submit, validate, score, leaderboard):
        app.command()(verb)


def submit(
    task: TaskName,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create.")],
    sources: Annotated[
        list[str],
        typer.Option("--from", metavar="PART=PATH", help="What a part is made of, e.g. lexical/dev=scores.tsv."),
    ],
    values: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of meta.yaml, e.g. publication.team=Us.")
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="Of params.yaml, e.g. feature_size=0.02.")
    ] = None,
    dataset: DatasetOption = None,
    archive: Annotated[Path | None, typer.Option("--zip", help="Also pack the submission into this archive.")] = None,
    *,
    per_unit: Annotated[
        bool, typer.Option("--per-unit", help="Divide log-probabilities by the number of units.")
    ] = False,
    force: Force = False,
) -> None:
    """Write a submission of scores, features, units or classes; say what is still to be filled in."""
    from zerospeech_eval.submission.archive import pack
    from zerospeech_eval.submission.dataset import Dataset
    from zerospeech_eval.submission.layout import task_named
    from zerospeech_eval.submission.validate import validate as check
    from zerospeech_eval.submission.write import write_submission

    layout = task_named(task)
    data = Dataset(dataset) if dataset is not None else None
    paths = {name: Path(path) for name, path in _pairs(sources, "--from").items()}
    write_submission(
        layout,
        out,
        paths,
        meta=_pairs(values or [], "--set"),
        params=params or [],
        dataset=data,
        per_unit=per_unit,
        force=force,
    )
    if archive is not None:
        pack(out, archive)
    for finding in check(layout, out, data).all:
        typer.echo(str(finding))


def _pairs(options: list[str], name: str) -> dict[str, str]:
    cut = [option.partition("=") for option in options]
    if any(not (key and separator and value) for key, separator, value in cut):
        raise UserError(f"{name} takes KEY=VALUE, found {' '.join(options)}")
    return {key: value for key, _, value in cut}


def validate(
    task: TaskName,
    submission: Submission,
    dataset: DatasetOption = None,
    *,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail also for what only the organisers' toolbox refuses.")
    ] = False,
    json: Json = False,
) -> None:
    """Check a submission offline and list every problem; the exit status is 1 if there is one."""
    from zerospeech_eval.report import print_json
    from zerospeech_eval.submission.archive import opened
    from zerospeech_eval.submission.dataset import Dataset
    from zerospeech_eval.submission.layout import task_named
    from zerospeech_eval.submission.validate import validate as check

    layout = task_named(task)
    with opened(submission) as root:
        findings = check(layout, root, Dataset(dataset) if dataset is not None else None)
    failed = bool(findings.all if strict else findings.errors)
    if json:
        print_json({"task": task, "valid": not failed, "findings": [vars(finding) for finding in findings.all]})
    else:
        for finding in findings.all:
            typer.echo(str(finding))
        typer.echo(
            "not valid" if failed else "valid" + ("" if dataset else ", as far as can be told without --dataset")
        )
    if failed:
        raise typer.Exit(1)


def score(
    task: TaskName,
    submission: Submission,
    dataset: Annotated[Path, typer.Option("--dataset", help="The benchmark's data.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder of the score files (default: scores in that of the submission)."),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Score a submission and write the files that the organisers' toolbox would write."""
    from zerospeech_eval.report import print_json
    from zerospeech_eval.submission.archive import opened
    from zerospeech_eval.submission.dataset import Dataset
    from zerospeech_eval.submission.layout import task_named
    from zerospeech_eval.submission.score import score_submission, write_scores

    if out is None and not submission.is_dir():
        raise UserError("--out says where the scores of an archive go")
    layout = task_named(task)
    with opened(submission) as root:
        scores = score_submission(layout, root, Dataset(dataset))
    write_scores(out or submission / "scores", layout, scores)
    if json:
        print_json({"task": task, "measures": [vars(measure) for measure in scores.measures]})
        return
    for measure in scores.measures:
        value = "undefined" if measure.value is None else f"{measure.value:.3f}"
        typer.echo(f"{measure.table:<16} {measure.name:<32} {value:>10}")


def leaderboard(
    task: Annotated[str, typer.Argument(metavar="TASK", help="Such as sLM21, abxLS, tde17, salmon, storycloze.")],
    ours: Annotated[Path | None, typer.Option("--ours", help="Folder of scores that `score` wrote.")] = None,
    name: Annotated[str, typer.Option("--name", help="What to call them.")] = "ours",
    table: Annotated[str | None, typer.Option("--table", help="Only this one, such as test or english.")] = None,
    by: Annotated[str | None, typer.Option("--by", help="Sort by this figure (default: the first).")] = None,
    *,
    json: Json = False,
) -> None:
    """Published figures, the best first, with ours among them."""
    from zerospeech_eval.leaderboard import leaderboards, lines
    from zerospeech_eval.report import print_json
    from zerospeech_eval.submission.score import SUMMARY, read_measures

    figures: dict[str, dict[str, float]] | None = None
    if ours is not None:
        figures = {}
        for measure in read_measures(ours / SUMMARY, task):
            if measure.value is not None:
                figures.setdefault(measure.table, {})[measure.name] = measure.value
    boards = [board for board in leaderboards(task, figures, name) if table in {None, board.table}]
    if not boards:
        raise UserError(f"{task} has no table {table!r}")
    if json:
        print_json({"task": task, "tables": {b.table: [vars(entry) for entry in b.ranked(by)] for b in boards}})
        return
    typer.echo("\n\n".join("\n".join(lines(board, by)) for board in boards))
