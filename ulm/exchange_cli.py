"""Verbs that exchange unit LMs with other libraries: `import`, `export`."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import Force, Json


def import_model(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="fairseq's .pt, or a folder of Hugging Face, slamkit or TWIST.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Model directory to write.")],
    quantizer: Annotated[Path, typer.Option("--quantizer", help="Directory of the quantizer of its units.")],
    *,
    dictionary: Annotated[
        Path | None, typer.Option("--dictionary", help="fairseq's dict.txt, if it is not beside the checkpoint.")
    ] = None,
    offset: Annotated[
        int | None, typer.Option("--offset", min=0, help="Number of unit 0 in a folder that does not say it.")
    ] = None,
    bos: Annotated[
        int | None, typer.Option("--bos", min=0, help="Symbol before the first unit, if the folder does not say it.")
    ] = None,
    eos: Annotated[
        int | None, typer.Option("--eos", min=0, help="Symbol after the last unit, if the folder does not say it.")
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", min=4, help="Longest window, in units, if not what it was made for.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Make a unit LM of another library's checkpoint; nothing in the file is executed."""
    from json import dumps

    from ulm.checkpoints import import_model as run
    from units.quantizer import load_quantizer

    model = run(
        checkpoint,
        output,
        load_quantizer(quantizer).identity,
        dictionary=dictionary,
        offset=offset,
        begin=bos,
        end=eos,
        context=context,
        force=force,
    )
    config, vocabulary = model.network.config, model.vocabulary
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    if as_json:
        sizes = {"parameters": parameters, "layers": config.layers, "dim": config.dim, "context": model.context}
        typer.echo(dumps(sizes | {"k": vocabulary.k, "inert": vocabulary.inert}))
    else:
        typer.echo(
            f"{parameters / 1e6:.1f} M parameters, {config.layers} layers of {config.dim}, {vocabulary.k} units, "
            f"{vocabulary.inert} inert symbols, context {model.context} -> {output}"
        )


def export_model(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Directory of a unit LM.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write.")],
    *,
    force: Force = False,
) -> None:
    """Write a folder that Hugging Face transformers loads with equal logits."""
    from ulm.export import export_model as run

    typer.echo(f"{run(model, output, force=force)} -> {output}")
