"""`textless units`: fit a quantizer, encode speech, look at what came out."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from textless.options import Device, Force, Json, Seed, Shards

app = typer.Typer(help="Features and speech to discrete units.", no_args_is_help=True)


@app.command()
def fit(
    features: Annotated[Path, typer.Argument(help="Feature store.")],
    out: Annotated[Path, typer.Argument(help="Quantizer directory to write.")],
    *,
    k: Annotated[int, typer.Option("--k", min=1, help="Codebook size.")] = 100,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of Lloyd's algorithm.")] = 50,
    restarts: Annotated[int, typer.Option(min=1, help="Runs from different seeds; the best is kept.")] = 1,
    max_frames: Annotated[int, typer.Option(min=1, help="More are sampled uniformly.")] = 1_000_000,
    duration_penalty: Annotated[
        float, typer.Option(min=0.0, help="Units that last: the price of a change, in multiples of the inertia.")
    ] = 0.0,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Fit k-means to stored features."""
    import json

    from units.config import KMeansConfig
    from units.fit import fit_quantizer

    config = KMeansConfig(
        k=k,
        iterations=iterations,
        restarts=restarts,
        max_frames=max_frames,
        duration_penalty=duration_penalty,
        seed=seed,
    )
    quantizer, result = fit_quantizer(features, out, config, force=force)
    if as_json:
        row = {"identity": quantizer.identity.model_dump(), "inertia": result.inertia, "empty": result.empty}
        typer.echo(json.dumps(row))
    else:
        typer.echo(f"{quantizer.identity}: inertia {result.inertia:.4f} a frame, {result.empty} empty codes -> {out}")


@app.command()
def encode(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings.")],
    out: Annotated[Path, typer.Argument(help="units.jsonl to write.")],
    quantizer: Annotated[Path, typer.Option("--quantizer", help="Quantizer directory.")],
    *,
    shards: Shards = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Encode every recording of a manifest to deduplicated units with durations."""
    import json

    from textless.audio.manifest import read_manifest
    from textless.distributed import select_device
    from units.encode import SpeechToUnits, encode_corpus
    from units.quantizer import load_quantizer

    corpus = read_manifest(manifest)
    speech_to_units = SpeechToUnits(load_quantizer(quantizer), select_device(device))
    done, skipped = encode_corpus(corpus, speech_to_units, out, n_shards=shards, force=force)
    if as_json:
        typer.echo(json.dumps({"utterances": done, "skipped": len(skipped)}))
    else:
        typer.echo(f"{done} utterances as units of {speech_to_units.quantizer.identity} -> {out}")
        if skipped:
            typer.echo(f"{len(skipped)} recordings skipped, see {out.with_name('skipped.tsv')}")


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


@app.command()
def stats(units: Annotated[Path, typer.Argument(help="units.jsonl.")], *, as_json: Json = False) -> None:
    """Usage, perplexity, entropy bit rate and durations."""
    import json
    from dataclasses import asdict

    from units.files import read_units
    from units.stats import unit_statistics

    file = read_units(units)
    s = unit_statistics(file)
    if as_json:
        typer.echo(json.dumps({"quantizer": file.quantizer.model_dump(), **asdict(s)}))
        return
    p = s.duration_percentiles
    typer.echo(
        f"quantizer     {file.quantizer}\n"
        f"utterances    {s.utterances}, {s.hours:.2f} h, {s.frames} frames, {s.units} deduplicated units\n"
        f"codes used    {s.used} of {s.k}, perplexity {s.perplexity:.1f}\n"
        f"at frame rate {s.frame_entropy:.2f} bits x {file.quantizer.frame_rate:g} Hz = {s.frame_bit_rate:.0f} bit/s\n"
        f"deduplicated  {s.unit_entropy:.2f} bits x {s.units_per_second:.1f} /s = {s.unit_bit_rate:.0f} bit/s\n"
        f"durations     mean {1000 * s.mean_duration:.0f} ms, median {1000 * p['50']:.0f} ms, "
        f"5-95 % {1000 * p['5']:.0f}-{1000 * p['95']:.0f} ms, {s.duration_entropy:.2f} bits"
    )
