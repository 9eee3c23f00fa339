"""`textless asr ensemble`: one transcript of several, or of several recognisers."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from textless.errors import UserError
from textless.options import Force


def ensemble(
    output: Annotated[Path, typer.Argument(metavar="OUT.tsv", help="Transcripts to write.")],
    transcripts: Annotated[
        list[Path] | None, typer.Option("--transcripts", help="File of transcripts that vote, the best first; repeat.")
    ] = None,
    weights: Annotated[list[float] | None, typer.Option("--weight", help="Of each file's votes; repeat.")] = None,
    models: Annotated[
        list[Path] | None, typer.Option("--model", help="Directory of a recogniser, the best first; repeat.")
    ] = None,
    features: Annotated[Path | None, typer.Option("--features", help="Feature store that the models read.")] = None,
    method: Annotated[
        Literal["average", "rover"],
        typer.Option("--method", help="Of models: mean probabilities, or transcripts that vote with confidences."),
    ] = "average",
    lm: Annotated[Path | None, typer.Option("--lm", help="ARPA file of phones, or prepared text: beam search.")] = None,
    lm_weight: Annotated[float, typer.Option("--lm-weight", min=0, help="Of the language model.")] = 0.5,
    insertion: Annotated[float, typer.Option("--insertion", help="Score of every phone, with --lm.")] = 0.5,
    *,
    force: Force = False,
) -> None:
    """Let transcripts vote (ROVER), or recognisers of one encoder be one recogniser."""
    if bool(transcripts) == bool(models) or bool(models) != (features is not None):
        raise UserError("give --transcripts (two or more), or --features with --model (two or more)")
    from unsup_asr.decoding.decoder import DecodingOptions
    from unsup_asr.ensemble import combine, vote

    if transcripts:
        vote(transcripts, output, weights or (), force=force)
        return
    assert features is not None
    options = DecodingOptions(lm_weight, insertion)
    combine(features, models or (), output, method, language_model=lm, options=options, force=force)
