"""Verbs that exchange vocoders with other programs: `import`."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Force


def import_(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="g_00400000, generator.pt, model.pt ...")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Vocoder directory to write.")],
    quantizer: Annotated[Path, typer.Option("--quantizer", help="Quantizer directory: whose units it speaks.")],
    config: Annotated[
        Path | None, typer.Option("--config", help="Its config.json (default: the one beside the checkpoint).")
    ] = None,
    *,
    force: Force = False,
) -> None:
    """Make a vocoder of a published unit HiFi-GAN; nothing in the file is executed.

    Read are checkpoints of fairseq, textlesslib and speech-resynthesis. Names of speakers and styles are taken from
    speakers.txt and styles.txt beside the configuration.
    """
    from units.quantizer import load_quantizer
    from vocoder.checkpoints import import_vocoder

    model = import_vocoder(checkpoint, out, load_quantizer(quantizer).identity, config=config, force=force)
    told = [
        f"{len(model.speakers)} speakers" if model.config.speaker == "table" else f"speaker: {model.config.speaker}"
    ]
    told += [f"pitch: {model.config.pitch}", f"{len(model.styles)} styles", f"durations: {model.config.duration}"]
    typer.echo(f"unit HiFi-GAN of {model.quantizer} ({', '.join(told)}) -> {out}")
