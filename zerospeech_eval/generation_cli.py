"""`textless eval`: what generated speech says, and how varied it is."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from textless.errors import UserError
from textless.options import Device, Force, Json, Seed


class TokenKind(StrEnum):
    """What n-grams are of."""

    words = "words"
    phones = "phones"
    characters = "characters"


def register(app: typer.Typer) -> None:
    """Add these verbs to `textless eval`."""
    app.command("train-text-lm")(train_text_lm)
    app.command()(generation)


def train_text_lm(
    text: Annotated[
        Path, typer.Argument(help="Lines of text, id<TAB>text lines, an alignment, or a manifest with texts.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the model.")],
    order: Annotated[int, typer.Option(min=1, help="Longest n-grams.")] = 5,
    tokens: Annotated[TokenKind, typer.Option(help="What n-grams are of.")] = TokenKind.words,
    *,
    verbatim: Annotated[bool, typer.Option("--verbatim", help="Keep case and punctuation.")] = False,
    force: Force = False,
) -> None:
    """Train an n-gram model of text (interpolated modified Kneser-Ney), the judge of generated speech."""
    from textless.files import refuse_overwrite
    from textless.progress import say
    from zerospeech_eval.character_errors import normalise
    from zerospeech_eval.text_lm import NgramTextLM
    from zerospeech_eval.texts import read_texts

    refuse_overwrite(out, force=force)
    keep = verbatim or tokens is TokenKind.phones
    texts = [found if keep else normalise(found) for found in read_texts(text).values()]
    model = NgramTextLM.fit(texts, order, "characters" if tokens is TokenKind.characters else "words")
    model.save(out)
    say(f"{out}: {len(model.symbols) - 1} different {tokens}, {order}-grams, of {sum(map(bool, texts))} texts")


def generation(
    continuations: Annotated[
        list[str],
        typer.Argument(
            metavar="[TEMPERATURE=]PATH...",
            help="Folders or manifests of recordings, or transcripts; or a TSV that lists temperature and path.",
        ),
    ],
    lm: Annotated[
        str, typer.Option("--lm", help="A folder of `train-text-lm`, arpa:FILE, or hf:DIR (Hugging Face causal LM).")
    ],
    recognizer: Annotated[
        str | None,
        typer.Option(
            "--transcriber",
            "--recognizer",
            metavar="RECOGNIZER",
            help="A folder of `train-recognizer`, hf:DIR (Hugging Face CTC), torchaudio:NAME, or MODULE:FUNCTION.",
        ),
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="What people said: texts, or recordings. Gives the oracle points.")
    ] = None,
    tokens: Annotated[
        TokenKind | None, typer.Option(help="What n-grams are of (default: what the transcriber writes, else words).")
    ] = None,
    order: Annotated[
        list[int] | None, typer.Option(min=1, help="Longest n-grams of the BLEUs [2]; given twice: mean of the VERTs.")
    ] = None,
    perplexity: Annotated[
        Literal["mean", "geometric", "corpus"], typer.Option(help="Average over texts that the curve is of.")
    ] = "mean",
    limit: Annotated[int | None, typer.Option(min=2, help="Judge so many texts of each set, drawn at random.")] = None,
    bootstrap: Annotated[int, typer.Option(min=1, help="Resamples of the 95 % intervals.")] = 1000,
    transcripts: Annotated[Path | None, typer.Option(help="Folder to write the transcripts to.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of PPX against VERT to write, a .png.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    verbatim: Annotated[bool, typer.Option("--verbatim", help="Keep case and punctuation, as slamkit does.")] = False,
    json: Json = False,
) -> None:
    """Fluency and variety of generated speech: PPX, self-BLEU, auto-BLEU, VERT, and the area under their curve."""
    from zerospeech_eval.continuations import parse_sources
    from zerospeech_eval.generation_report import print_generation
    from zerospeech_eval.generation_sweep import Settings, evaluate

    if plot is not None and plot.suffix != ".png":
        raise UserError(f"a plot is a .png, not {plot}")
    settings = Settings(
        lm,
        recognizer,
        None if tokens is None else tokens.value,
        tuple(order or [2]),
        perplexity,
        verbatim=verbatim,
        limit=limit,
        n_resamples=bootstrap,
        seed=seed,
    )
    sources = parse_sources(continuations)
    result = evaluate(sources, settings, reference=text, transcripts=transcripts, device=device)
    if plot is not None:
        from zerospeech_eval.tradeoff_plot import write_plot

        write_plot(plot, result)
    print_generation(result, as_json=json)
