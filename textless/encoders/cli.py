"""`textless encoder`: speech to features, and the encoders that do it: known ones, imported ones, what one is."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, Json, PrecisionName, PrecisionOption, Set, Shards

app = typer.Typer(help="Speech to features.", no_args_is_help=True)


class FeatureFormat(StrEnum):
    """How features lie on disk."""

    store = "store"
    npy = "npy"


@app.callback()
def _group() -> None:
    """Speech to features."""


@app.command()
def features(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings.")],
    out: Annotated[Path, typer.Argument(help="Feature store, or folder of .npy files, to write.")],
    encoder: Annotated[str, typer.Option("--encoder", help="mfcc, logmel@50, NAME:LAYER or DIR:LAYER.")],
    *,
    format_: Annotated[FeatureFormat, typer.Option("--format", help="npy: one float32 (T, D) file an utterance.")] = (
        FeatureFormat.store
    ),
    chunk: Annotated[
        float | None, typer.Option(min=1.0, help="Seconds that attention sees at once (default: the whole recording).")
    ] = None,
    precision: PrecisionOption = PrecisionName.auto,
    shards: Shards = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode every recording of a manifest; a killed run continues where it stopped."""
    import json

    from textless.audio.manifest import read_manifest
    from textless.distributed import select_device
    from textless.encoders.encoder import load_encoder
    from textless.features import extract

    corpus = read_manifest(manifest)
    spec = encoder if chunk is None else f"{encoder},chunk={chunk:g}"
    loaded = load_encoder(spec, select_device(device), precision.value)
    if format_ is FeatureFormat.npy:
        skipped = extract.write_npy_folder(corpus, loaded, out, force=force)
    else:
        skipped = extract.store_features(corpus, loaded, out, n_shards=shards, force=force)
    result = {
        "encoder": spec,
        "dim": loaded.dim,
        "frame_rate": loaded.frame_rate,
        "utterances": len(corpus) - len(skipped),
        "skipped": len(skipped),
    }
    if as_json:
        typer.echo(json.dumps(result))
    else:
        typer.echo(f"{result['utterances']} utterances, {loaded.dim} dimensions at {loaded.frame_rate:g} Hz -> {out}")
        if skipped:
            typer.echo(f"{len(skipped)} recordings skipped, see {out / 'skipped.tsv'}")


@app.command("fit-gmm")
def fit_gmm_(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings, with speakers where they are known.")],
    out: Annotated[Path, typer.Argument(help="Encoder directory to write.")],
    *,
    set_: Set = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Fit the classical zero-resource encoder: VTLN and a Gaussian mixture; OUT is then an encoder everywhere."""
    from textless.audio.manifest import read_manifest
    from textless.distributed import select_device
    from textless.encoders.fit_gmm import GmmConfig, fit_gmm

    config = GmmConfig.load(None, set_ or ())
    fit = fit_gmm(read_manifest(manifest), config, out, device=select_device(device), force=force)
    components = fit.encoder.config.components
    typer.echo(f"{components} components from {fit.frames} frames of {fit.speakers} speakers -> {out}")
    if fit.skipped:
        typer.echo(
            f"{len(fit.skipped)} recordings could not be used, first {fit.skipped[0].path}: {fit.skipped[0].reason}"
        )


@app.command("list")
def list_(*, as_json: Json = False) -> None:
    """Encoders that have a name: frame rate, layers, dimensions, and where they come from."""
    import json

    from textless.encoders.describe import list_encoders

    rows = list_encoders()
    if as_json:
        typer.echo(json.dumps(rows))
        return
    typer.echo(f"{'name':22} {'Hz':>4} {'layers':>6} {'dim':>5} {'normalises':>10} {'cached':>6}  source")
    for row in rows:
        layers, normalises, cached = (_word(row[name]) for name in ("layers", "normalises", "cached"))
        columns = f"{row['name']:22} {row['frame_rate']:4g} {layers:>6} {row['dim']:5} {normalises:>10} {cached:>6}"
        typer.echo(f"{columns}  {row['source']}")


@app.command("import")
def import_(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint file, Hugging Face folder, or published name.")],
    out: Annotated[Path, typer.Argument(help="Encoder directory to write: safetensors and config.json.")],
    *,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Convert somebody else's checkpoint; OUT:LAYER is then an encoder everywhere."""
    import json

    from textless.encoders.describe import describe_foreign, load_any
    from textless.encoders.directory import save_encoder
    from textless.files import refuse_overwrite

    refuse_overwrite(out, force=force)
    foreign = load_any(checkpoint)
    save_encoder(out, foreign.encoder, layout=foreign.source, checkpoint=Path(checkpoint).name)
    description = describe_foreign(foreign)
    if as_json:
        typer.echo(json.dumps(description))
    else:
        _show(description)
        typer.echo(f"-> {out}")


@app.command()
def join(
    out: Annotated[Path, typer.Argument(help="Encoder directory to write.")],
    encoders: Annotated[list[str], typer.Argument(metavar="ENCODER...", help="Such as DIR:LAYER; of one frame rate.")],
    *,
    weights: Annotated[
        list[float] | None, typer.Option("--weight", help="Length of an encoder's part, in their order (default: 1).")
    ] = None,
    force: Force = False,
) -> None:
    """Make one encoder of several: frames of unit length side by side; OUT is then an encoder everywhere."""
    from textless.encoders.directory import save_encoder
    from textless.encoders.joining import join_encoders
    from textless.files import refuse_overwrite

    refuse_overwrite(out, force=force)
    joined = join_encoders(encoders, weights or ())
    save_encoder(out, joined, joined=encoders)
    typer.echo(f"{joined.layer_dim(0)} dimensions at {joined.frame_rate:g} Hz -> {out}")


@app.command()
def describe(
    encoder: Annotated[str, typer.Argument(help="Encoder directory, checkpoint file, Hugging Face folder, or name.")],
    *,
    as_json: Json = False,
) -> None:
    """What an encoder is: layers, sizes, identity, configuration; and which keys of a foreign checkpoint go unused."""
    import json

    from textless.encoders.describe import describe_encoder

    description = describe_encoder(encoder)
    if as_json:
        typer.echo(json.dumps(description))
    else:
        _show(description)


def _word(value: object) -> str:
    """A cell of a table: what is not known beforehand is a dash."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _show(description: dict[str, object], indent: str = "") -> None:
    for name, value in description.items():
        match value:
            case dict():
                typer.echo(f"{indent}{name}")
                _show(value, indent + "  ")
            case list():
                typer.echo(f"{indent}{name:{18 - len(indent)}} {' '.join(map(str, value)) or '-'}")
            case _:
                typer.echo(f"{indent}{name:{18 - len(indent)}} {_word(value)}")
