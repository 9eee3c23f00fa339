"""`textless units`: fit a quantizer, encode speech, look at what came out."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, Json, PrecisionName, PrecisionOption, Seed, Shards
from units import exchange_cli, look_cli, streams_cli

app = typer.Typer(help="Features and speech to discrete units.", no_args_is_help=True)


class Method(StrEnum):
    """How k-means goes through the frames."""

    lloyd = "lloyd"
    minibatch = "minibatch"


class Seeding(StrEnum):
    """How the first codes are chosen."""

    auto = "auto"
    plus_plus = "k-means++"
    parallel = "k-means||"


@app.command()
def fit(
    features: Annotated[Path, typer.Argument(help="Feature store.")],
    out: Annotated[Path, typer.Argument(help="Quantizer directory to write.")],
    *,
    k: Annotated[int, typer.Option("--k", min=1, help="Codebook size.")] = 50,
    method: Annotated[Method, typer.Option(help="In memory, or streamed: memory does not grow with the corpus.")] = (
        Method.lloyd
    ),
    seeding: Annotated[Seeding, typer.Option(help="auto: k-means|| for more than 256 codes.")] = Seeding.auto,
    iterations: Annotated[
        int, typer.Option(min=1, help="At most: of Lloyd's algorithm, or passes of mini-batches.")
    ] = 50,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Stop when the inertia improves by less, relative to itself.")
    ] = 1e-4,
    restarts: Annotated[int, typer.Option(min=1, help="Runs from different seeds; the best is kept.")] = 1,
    max_frames: Annotated[
        int | None,
        typer.Option(
            min=0, help="More are sampled uniformly; 0: all (default: a million for lloyd, all for minibatch)."
        ),
    ] = None,
    batch_frames: Annotated[int, typer.Option(min=1, help="Of a mini-batch, all processes together.")] = 32768,
    spherical: Annotated[bool, typer.Option("--spherical", help="Compare directions: frames of unit length.")] = False,
    speaker_normalised: Annotated[
        bool, typer.Option("--speaker-normalised", help="Normalise features by speaker, here and in encoding.")
    ] = False,
    manifest: Annotated[Path | None, typer.Option("--manifest", help="Names the speakers of the store.")] = None,
    duration_penalty: Annotated[
        float,
        typer.Option(min=0.0, help="Units that last: the price of a change, in multiples of the inertia; 0: plain."),
    ] = 0.5,
    seed: Seed = 0,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit k-means to stored features; a stopped fit goes on where it was."""
    import json

    from textless.audio.manifest import read_manifest
    from units.config import KMeansConfig
    from units.fit import fit_quantizer

    if max_frames is None:
        max_frames = 1_000_000 if method is Method.lloyd else 0
    config = KMeansConfig(
        k=k,
        method=method.value,
        seeding=seeding.value,
        iterations=iterations,
        tolerance=tolerance,
        restarts=restarts,
        max_frames=max_frames or None,
        batch_frames=batch_frames,
        spherical=spherical,
        speaker_normalised=speaker_normalised,
        duration_penalty=duration_penalty,
        seed=seed,
    )
    speakers = read_manifest(manifest) if manifest is not None else None
    done = fit_quantizer(features, out, config, manifest=speakers, device=device, force=force)
    if done is None:
        return
    result, identity = done.result, done.quantizer.identity
    measured = {
        "inertia": result.inertia,
        "frames": result.frames,
        "empty": result.empty,
        "reassigned": result.reassigned,
        "steps": result.steps,
        "seconds": round(done.seconds, 2),
        "memory_mib": round(done.memory),
    }
    if as_json:
        typer.echo(json.dumps({"identity": identity.model_dump(), **measured}))
    else:
        typer.echo(
            f"{identity}: inertia {result.inertia:.4f} a frame over {result.frames} frames, {result.empty} empty codes "
            f"({result.reassigned} reassigned), {result.steps} steps in {done.seconds:.1f} s, {done.memory:.0f} MiB "
            f"-> {out}"
        )


@app.command()
def encode(
    source: Annotated[Path, typer.Argument(help="Manifest of the recordings, or a feature store of the same encoder.")],
    out: Annotated[Path, typer.Argument(help="units.jsonl to write.")],
    quantizer: Annotated[Path, typer.Option("--quantizer", help="Quantizer directory.")],
    *,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Names the speakers of a store, for speaker normalisation.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Where the quantizer's encoder lies now, if it was moved.")
    ] = None,
    precision: PrecisionOption = PrecisionName.auto,
    shards: Shards = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode every recording, or its stored features, to deduplicated units with durations."""
    import json

    from textless.audio.manifest import read_manifest
    from textless.distributed import select_device
    from textless.errors import UserError
    from textless.features.store import FeatureStore
    from units.encode import SpeechToUnits, encode_corpus, encode_store
    from units.quantizer import load_quantizer

    where = select_device(device)
    if source.is_dir():
        loaded = load_quantizer(quantizer, where)
        speakers = read_manifest(manifest) if manifest is not None else None
        skipped = 0
        done = encode_store(FeatureStore(source), loaded, out, manifest=speakers, n_shards=shards, force=force)
    else:
        if manifest is not None:
            raise UserError(
                "--manifest names the speakers of a feature store; here the recordings are a manifest already"
            )
        parts = load_quantizer(quantizer)
        speech_to_units = SpeechToUnits(parts, where, encoder=encoder, precision=precision.value)
        loaded = speech_to_units.quantizer
        done, passed_over = encode_corpus(read_manifest(source), speech_to_units, out, n_shards=shards, force=force)
        skipped = len(passed_over)
    if as_json:
        typer.echo(json.dumps({"utterances": done, "skipped": skipped}))
    else:
        typer.echo(f"{done} utterances as units of {loaded.identity} -> {out}")
        if skipped:
            typer.echo(f"{skipped} recordings skipped, see {out.with_name('skipped.tsv')}")


class Representation(StrEnum):
    """How units become features."""

    onehot = "one-hot"
    codebook = "codebook"


@app.command("features")
def features_(
    units: Annotated[Path, typer.Argument(help="units.jsonl, with durations.")],
    out: Annotated[Path, typer.Argument(help="Feature store to write.")],
    quantizer: Annotated[Path, typer.Option("--quantizer", help="Quantizer directory.")],
    *,
    representation: Annotated[Representation, typer.Option("--as", help="A unit as 0/1 or as its code.")] = (
        Representation.onehot
    ),
    force: Force = False,
) -> None:
    """Turn units back into frames, for evaluators that compare features (ABX)."""
    from units.features import store_unit_features
    from units.files import read_units
    from units.quantizer import load_quantizer

    store_unit_features(read_units(units), load_quantizer(quantizer), representation.value, out, force=force)
    typer.echo(f"{representation.value} features of {units} -> {out}")


app.command()(look_cli.stats)
app.command()(look_cli.compare)
app.command("import-quantizer")(exchange_cli.import_quantizer)
app.command("export-quantizer")(exchange_cli.export_quantizer)
app.command()(exchange_cli.convert)
app.add_typer(streams_cli.bpe, name="bpe")
app.add_typer(streams_cli.prosody, name="prosody")
