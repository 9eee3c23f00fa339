"""`textless eval`: discovered terms and units against phones and words, and what a code costs."""

from pathlib import Path
from typing import Annotated

import typer

from textless.errors import UserError
from textless.options import Json


def register(app: typer.Typer) -> None:
    """Add these verbs to `textless eval`."""
    for verb in (tde, units, bitrate):
        app.command()(verb)


def tde(
    classes: Annotated[Path, typer.Argument(help="Discovered classes of fragments.")],
    phones: Annotated[Path, typer.Argument(help="alignments.tsv, or a .phn file.")],
    words: Annotated[Path, typer.Argument(help="words.tsv, or a .wrd file.")],
    *,
    json: Json = False,
) -> None:
    """Term discovery: NED, coverage, grouping, boundary, token and type scores."""
    from zerospeech_eval.classes import read_classes
    from zerospeech_eval.report import print_discovery
    from zerospeech_eval.term_discovery import evaluate
    from zerospeech_eval.transcribed_speech import read_speech

    print_discovery(evaluate(read_classes(classes), read_speech(phones, words)), as_json=json)


def units(
    units: Annotated[Path, typer.Argument(help="units.jsonl, with durations.")],
    alignments: Annotated[Path, typer.Argument(help="alignments.tsv: the phones of the same utterances.")],
    tolerance: Annotated[float, typer.Option(min=0, help="Of boundaries, in seconds.")] = 0.02,
    *,
    json: Json = False,
) -> None:
    """How well units name phones: PNMI and purities over frames, phone error rate and boundaries of the best naming."""
    from textless.corpora.alignment import read_alignment
    from units.files import read_units
    from zerospeech_eval.report import print_units
    from zerospeech_eval.unit_phones import summary

    print_units(summary(read_units(units), read_alignment(alignments), tolerance), as_json=json)


def bitrate(
    code: Annotated[Path, typer.Argument(help="Folder of embeddings, a vector a line; or units.jsonl.")],
    filelist: Annotated[
        Path | None, typer.Option("--filelist", help="`name seconds` lines: which files count (not needed for units).")
    ] = None,
    *,
    frames: Annotated[bool, typer.Option("--frames", help="Units: a symbol a frame, not a run.")] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out, and count, files of the list that are not there.")
    ] = False,
    json: Json = False,
) -> None:
    """Bits a second that a code takes: (N / D) times the entropy of its symbols."""
    from textless.features.store import open_features
    from units.files import read_units
    from zerospeech_eval.bit_rate import bit_rate_of_features, bit_rate_of_units, read_filelist
    from zerospeech_eval.report import print_json

    seconds = read_filelist(filelist) if filelist is not None else None
    if code.suffix == ".jsonl":
        result = bit_rate_of_units(read_units(code), seconds, frames=frames, skip_missing=skip_missing)
    elif seconds is None:
        raise UserError("embeddings need --filelist: how long each file lasts is not in them")
    else:
        result = bit_rate_of_features(open_features(code), seconds, skip_missing=skip_missing)
    if json:
        print_json(result.summary())
        return
    typer.echo(
        f"{result.value:.2f} bits a second: {result.n_symbols} symbols, {len(result.symbols)} distinct, "
        f"{result.entropy:.3f} bits each, in {result.seconds:.2f} s of {result.n_files} files"
        + (f"; {result.n_skipped} files left out" if result.n_skipped else "")
    )
