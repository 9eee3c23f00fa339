"""`textless ulm`: prepare, train, ngram, score, generate."""

from pathlib import Path
from typing import Annotated

import typer

from textless.errors import UserError
from textless.options import ConfigFile, Device, Force, Json, PrecisionName, PrecisionOption, Seed, Set, Shards
from ulm import exchange_cli

app = typer.Typer(help="Unit language models: train, score, generate.", no_args_is_help=True, rich_markup_mode=None)

UnitsArgument = Annotated[Path, typer.Argument(metavar="UNITS", help="Units file (units.jsonl, or its shards).")]
Model = Annotated[Path, typer.Option("--model", help="Directory of a unit LM.")]


@app.command()
def train(
    config: ConfigFile,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the run, and of the model.")],
    *,
    overrides: Set = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Train a Transformer on units; the same command goes on where a stopped run was.

    Paths in CONFIG.toml are relative to its folder, paths given by --set to the current one.
    """
    from ulm.config import TrainConfig
    from ulm.train import train as run

    run(TrainConfig.load(config, overrides or ()), output, device=device, force=force)


@app.command()
def prepare(
    units: UnitsArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write: data.train or data.valid of train.")],
    *,
    bpe: Annotated[Path | None, typer.Option("--bpe", help="Make tokens by this BPE (of `units bpe`).")] = None,
    shards: Shards = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Write the tokens of a corpus that is too large for memory; training reads them from the disk as it needs them.

    The same command goes on where a killed one was. Smaller corpora need no preparing: train reads units files, too.
    """
    from dataclasses import asdict
    from json import dumps

    from ulm.shards import prepare as run

    done = run(units, output, bpe=bpe, shards=shards, force=force)
    typer.echo(dumps(asdict(done)) if json else f"{done} -> {output}")


@app.command()
def ngram(
    units: UnitsArgument,
    output: Annotated[Path, typer.Argument(metavar="OUT", help="Directory of the model.")],
    *,
    order: Annotated[int, typer.Option("--order", min=1, help="Longest n-grams, in units.")] = 3,
    force: Force = False,
) -> None:
    """Count and smooth an n-gram model (interpolated modified Kneser-Ney): the baseline of every unit LM."""
    from textless.files import refuse_overwrite
    from textless.progress import say
    from ulm.language_model import NgramLanguageModel
    from units.files import read_units
    from units.kneser_ney import NgramModel

    refuse_overwrite(output, force=force)
    file = read_units(units)
    sequences = [item.units for item in file.utterances if item.units]
    if not sequences:
        raise UserError(f"{units} holds no units: nothing to count")
    model = NgramModel.fit(sequences, file.quantizer.k, order)
    NgramLanguageModel(model, file.quantizer).save(output)
    say(f"{output}: " + ", ".join(f"{len(t.keys)} {m}-grams" for m, t in enumerate(model.tables, 1)))


@app.command()
def score(
    units: UnitsArgument,
    output: Annotated[
        Path, typer.Argument(metavar="OUT.tsv", help="Log probability of each: sum, per unit, per second.")
    ],
    model: Model,
    *,
    eos: Annotated[bool, typer.Option("--eos", help="Count the end of the utterance too.")] = False,
    batch_tokens: Annotated[int, typer.Option("--batch-tokens", min=1, help="Tokens at once (memory).")] = 8192,
    stride: Annotated[
        int | None,
        typer.Option("--stride", help="Of windows over what is longer than the context (default: half of it)."),
    ] = None,
    precision: PrecisionOption = PrecisionName.fp32,
    shards: Shards = None,
    device: Device = "auto",
    force: Force = False,
    json: Json = False,
) -> None:
    """Log probability of every utterance, and bits per unit (and per second) of all on stdout."""
    from json import dumps

    from ulm.score import score as run

    summary = run(
        units,
        output,
        model,
        eos=eos,
        batch_tokens=batch_tokens,
        stride=stride,
        precision=precision.value,
        shards=shards,
        device=device,
        force=force,
    )
    typer.echo(dumps(summary.as_dict()) if json else str(summary))


@app.command()
def generate(
    output: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="Units file of the samples, without durations.")],
    model: Model,
    *,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="UNITS", help="Units to continue; none: new utterances.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Samples of each prompt.")] = 1,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="0: always the likeliest unit.")] = 0.7,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Only the k likeliest units; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", help="Only the likeliest units of this share; 1: all.")] = 1.0,
    min_p: Annotated[
        float, typer.Option("--min-p", help="Only units of this share of the likeliest one's probability; 0: all.")
    ] = 0.0,
    repetition_penalty: Annotated[
        float, typer.Option("--repetition-penalty", help="Above 1: what was said becomes less likely; 1: no penalty.")
    ] = 1.0,
    beams: Annotated[
        int, typer.Option("--beams", min=0, help="Beam search with so many: the n best, not samples; 0: sampling.")
    ] = 0,
    length_penalty: Annotated[
        float,
        typer.Option("--length-penalty", min=0.0, help="Of beams: 0 compares sums, 1 means of log probabilities."),
    ] = 1.0,
    seed: Seed = 0,
    max_units: Annotated[int, typer.Option("--max-units", min=1, help="Longest continuation.")] = 250,
    max_seconds: Annotated[
        float | None, typer.Option("--max-seconds", help="Instead, at the mean rate of units in the training data.")
    ] = None,
    prompt_seconds: Annotated[
        float | None, typer.Option("--prompt-seconds", help="Continue only the first seconds of each prompt.")
    ] = None,
    continuation_only: Annotated[
        bool, typer.Option("--continuation-only", help="Write the continuations without their prompts.")
    ] = False,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Samples made at once (memory).")] = 64,
    precision: PrecisionOption = PrecisionName.fp32,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Continue prompts, or make new utterances; the same seed gives the same samples, whatever the batch size."""
    for name, seconds in (("--max-seconds", max_seconds), ("--prompt-seconds", prompt_seconds)):
        if seconds is not None and seconds <= 0:
            raise UserError(f"{name} should be above 0, not {seconds:g}")
    if not 0 < top_p <= 1:
        raise UserError(f"--top-p should lie above 0 and up to 1, not {top_p:g}")
    if not 0 <= min_p <= 1:
        raise UserError(f"--min-p should lie in 0..1, not {min_p:g}")
    if not 0 < repetition_penalty < float("inf"):
        raise UserError(f"--repetition-penalty should be above 0, not {repetition_penalty:g}")
    if beams and (temperature, top_k, top_p, min_p, repetition_penalty) != (0.7, 0, 1.0, 0.0, 1.0):
        raise UserError("--beams searches for the likeliest: leave out the options of sampling, such as --temperature")
    from textless.progress import say
    from ulm.beams import BeamSearch
    from ulm.generate import generate as run
    from ulm.sampling import Sampling

    samples = run(
        model,
        output,
        BeamSearch(max_units, beams, length_penalty)
        if beams
        else Sampling(max_units, temperature, top_k, top_p, seed, min_p, repetition_penalty),
        prompts=prompts,
        n=n,
        max_seconds=max_seconds,
        prompt_seconds=prompt_seconds,
        continuation_only=continuation_only,
        batch_size=batch_size,
        precision=precision.value,
        device=device,
        force=force,
    )
    say(f"{output}: {len(samples)} utterances, {sum(len(item.units) for item in samples)} units")


app.command("import")(exchange_cli.import_model)
app.command("export")(exchange_cli.export_model)
