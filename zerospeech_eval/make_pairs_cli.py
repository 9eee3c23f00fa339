"""`textless eval`: tests like sWUGGY and sBLIMP for languages that have none."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Force, Json, Seed

Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create: recordings and gold.csv.")]
Language = Annotated[str, typer.Option("--language", help="Code of a language of espeak-ng.")]
Training = Annotated[
    list[Path] | None,
    typer.Option("--training", help="What models hear: a manifest with texts, or sentences, one a line. Repeatable."),
]
Voices = Annotated[int, typer.Option("--voices", min=1, help="Readers of each pair.")]
Processes = Annotated[int | None, typer.Option("--processes", min=1, help="Default: one for every processor.")]


def register(app: typer.Typer) -> None:
    """Add these verbs to `textless eval`."""
    app.command("make-swuggy")(make_swuggy)
    app.command("make-sblimp")(make_sblimp)


def make_swuggy(
    out: Out,
    language: Language = "en-us",
    lexicon: Annotated[
        Path | None, typer.Option("--lexicon", help="Words, one a line, with counts after a tab or without.")
    ] = None,
    training: Training = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of a word and a nonword.")] = 200,
    voices: Voices = 4,
    seed: Seed = 0,
    processes: Processes = None,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """Record words, and nonwords that could be words, in any language with a lexicon or a text."""
    from zerospeech_eval.make_swuggy import SwuggyConfig
    from zerospeech_eval.make_swuggy import make_swuggy as make

    config = SwuggyConfig(language, lexicon, tuple(training or ()), pairs, voices, seed)
    _print(make(config, out, processes=processes, force=force), as_json=json)


def make_sblimp(
    out: Out,
    language: Language = "en-us",
    sentences: Annotated[
        Path | None, typer.Option("--sentences", help="Pairs of a linguist: TSV with type, subtype, good, bad.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Sentences of any language, one a line, to spoil by word order.")
    ] = None,
    training: Training = None,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of sentences.")] = 100,
    voices: Voices = 2,
    seed: Seed = 0,
    processes: Processes = None,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """Record right and wrong sentences: of the English grammar, of a linguist's list, or of a text of any language."""
    from zerospeech_eval.make_sblimp import SblimpConfig
    from zerospeech_eval.make_sblimp import make_sblimp as make

    config = SblimpConfig(language, sentences, text, tuple(training or ()), pairs, voices, seed)
    _print(make(config, out, processes=processes, force=force), as_json=json)


def _print(report: dict[str, object], *, as_json: bool) -> None:
    from zerospeech_eval.report import print_json

    if as_json:
        print_json(report)
        return
    accuracies = report["accuracy_of"]
    assert isinstance(accuracies, dict)
    typer.echo(f"{report['pairs']} pairs in {len(report['voices'])} voices")  # type: ignore[arg-type]
    for name, accuracy in accuracies.items():
        typer.echo(f"  {name} alone: right in {100 * accuracy:.1f} % of the pairs (chance 50)")
