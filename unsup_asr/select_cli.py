"""Verb `select`: the best of several recognisers, without labels."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Json


def select(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN_DIR...", help="Directories of recognisers.")],
    text: Annotated[Path, typer.Option("--text", help="Prepared text, of no recording in particular.")],
    *,
    speech: Annotated[
        Path | None,
        typer.Option("--speech", help="Feature store that all transcribe; default: what was noted in training."),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option("--references", help="Transcripts or alignments.tsv: report what the choice costs, once made."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose a recogniser by the statistics of text. References change nothing: they are read after the choice."""
    import json

    from textless.errors import UserError
    from unsup_asr.select_runs import select as run

    if references is not None and speech is None:
        raise UserError("--references compares transcripts: give the speech to transcribe with --speech")
    selection = run(runs, text, speech)
    comparison = None
    if references is not None:
        from unsup_asr.oracle import compare_with_oracle
        from unsup_asr.scoring import ScoringOptions, read_references

        comparison = compare_with_oracle(selection, read_references(references, ScoringOptions()))
    if as_json:
        typer.echo(json.dumps(selection.summary() | (comparison.summary() if comparison else {})))
    else:
        typer.echo("\n".join([str(selection), *([str(comparison)] if comparison else []), str(selection.directory)]))
