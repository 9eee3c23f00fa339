"""Verb `lm`: an n-gram model of prepared text."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Force


def lm(
    text: Annotated[Path, typer.Argument(metavar="TEXT", help="Prepared text.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.arpa", help="File to write.")],
    *,
    words: Annotated[bool, typer.Option("--words", help="Of words, not of phones and silences.")] = False,
    order: Annotated[int | None, typer.Option("--order", min=1, help="Default 4, of words 3.")] = None,
    force: Force = False,
) -> None:
    """Estimate a modified Kneser-Ney model and write it in the ARPA format, which KenLM reads."""
    from textless.files import refuse_overwrite
    from units.arpa import write_arpa
    from unsup_asr.decoding.language_model import ORDER, Kind, estimate

    refuse_overwrite(out, force=force)
    kind: Kind = "words" if words else "phones"
    found = estimate(text, kind, order or ORDER[kind])
    write_arpa(out, found.model, found.symbols)
    typer.echo(f"{out}: order {found.model.order}, {len(found.symbols)} {kind}")
