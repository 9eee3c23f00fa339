"""Verb `score`: transcripts against references."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Json, Seed


class TokenName(StrEnum):
    """What is counted."""

    phone = "phone"
    character = "character"
    word = "word"


def score(
    hypotheses: Annotated[Path, typer.Argument(metavar="HYP", help="Transcripts: id<TAB>phones, or words.")],
    references: Annotated[
        Path,
        typer.Argument(metavar="REF", help="Transcripts, alignments.tsv, words.tsv, or a manifest with texts."),
    ],
    *,
    token: Annotated[TokenName, typer.Option("--token", help="What is counted.")] = TokenName.phone,
    silence: Annotated[
        list[str] | None, typer.Option("--silence", help="Token to remove; again for several. Default: <SIL>, SIL.")
    ] = None,
    folding: Annotated[
        Path | None, typer.Option("--map", help="Lines of a phone and what it counts as on both sides; alone: nothing.")
    ] = None,
    permutations: Annotated[
        int, typer.Option("--permutations", min=0, help="Random renamings that estimate chance; 0: none.")
    ] = 20,
    confusions: Annotated[int, typer.Option("--confusions", min=0, help="Pairs shown.")] = 20,
    details: Annotated[Path | None, typer.Option("--details", help="Also write a line for every utterance.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Error rate of phones, characters or words, with its interval, confusions and what chance would reach."""
    import json

    from unsup_asr.scoring import SILENCES, ScoringOptions, read_folding, read_hypotheses, read_references
    from unsup_asr.scoring import score as run
    from zerospeech_eval.token_errors import write_details

    options = ScoringOptions(
        token.value,
        tuple(silence) if silence else SILENCES,
        read_folding(folding) if folding else None,
        permutations,
        seed,
    )
    result = run(read_hypotheses(hypotheses, options), read_references(references, options), options)
    if details is not None:
        write_details(details, result.errors)
    if as_json:
        typer.echo(json.dumps(result.summary(confusions), ensure_ascii=False))
    else:
        typer.echo("\n".join([str(result), *([result.table(confusions)] if confusions else [])]))
