"""`textless eval resynthesis`: what is left of speech after its resynthesis or conversion."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Json, Seed

WHICH = "DIR of `speaker train`, or hf:DIR of an x-vector model"


def register(app: typer.Typer) -> None:
    """Add this verb to `textless eval`."""
    app.command()(resynthesis)


def resynthesis(
    original: Annotated[Path, typer.Argument(metavar="ORIGINAL", help="Folder or manifest of the recordings.")],
    resynthesized: Annotated[
        Path, typer.Argument(metavar="RESYNTHESIS", help="Folder or manifest, of equal ids or relative paths.")
    ],
    order: Annotated[
        int, typer.Option("--order", min=1, max=39, help="Mel-cepstra compared; 13 and 24 are usual.")
    ] = 13,
    recognizer: Annotated[
        str | None, typer.Option("--recognizer", help="Phone or character error rate: what `eval per` and `cer` take.")
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option("--text", help="What was said: alignments.tsv, `id<TAB>text` lines or a manifest with texts."),
    ] = None,
    speaker_encoder: Annotated[
        str | None, typer.Option("--speaker-encoder", help=f"Speaker similarity: {WHICH}.")
    ] = None,
    target_manifest: Annotated[
        Path | None, typer.Option("--target-manifest", help="Of a conversion: recordings of the target speakers.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="The one target (default: the speaker in RESYNTHESIS' manifest).")
    ] = None,
    units: Annotated[Path | None, typer.Option("--units", help="Bit rate: the units that were spoken.")] = None,
    squim: Annotated[
        Path | None,
        typer.Option("--squim", help="Weights of SQUIM (default: torchaudio's cache, where they are there)."),
    ] = None,
    details: Annotated[Path | None, typer.Option(help="Also write a TSV with a line for every recording.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also write a PNG.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    json: Json = False,
) -> None:
    """Judge a resynthesis or a conversion: timbre, pitch, what is said, who says it, bits."""
    from zerospeech_eval.report import print_json
    from zerospeech_eval.resynthesis import Settings, evaluate
    from zerospeech_eval.resynthesis_report import print_table, write_details, write_plot

    settings = Settings(
        order=order,
        recognizer=recognizer,
        text=text,
        speaker_encoder=speaker_encoder,
        target_manifest=target_manifest,
        target=target,
        units=units,
        squim=squim,
        seed=seed,
        device=device,
    )
    result = evaluate(original, resynthesized, settings)
    if details is not None:
        write_details(details, result)
    if plot is not None:
        write_plot(plot, result)
    if json:
        print_json(result.summary())
    else:
        print_table(result)
