"""Verbs `sweep` and `ablate`: many runs of one configuration, side by side."""

from pathlib import Path
from typing import Annotated

import typer

from textless.options import ConfigFile, Device, Json, Set

Seeds = Annotated[int, typer.Option("--seeds", min=1, help="Random beginnings of every variation.")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, help="Runs at a time; 0: one for every CPU core.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Of each run; 0: as many as it takes by itself.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Folder to fill; one that was stopped is continued.")]


def sweep(
    config: ConfigFile,
    out: Out,
    grid: Annotated[
        list[str] | None,
        typer.Option("--grid", metavar="KEY=V,V", help="Values of a configuration key; again for a further key."),
    ] = None,
    seeds: Seeds = 5,
    jobs: Jobs = 0,
    threads: Threads = 1,
    settings: Set = None,
    device: Device = "auto",
    *,
    give_up: Annotated[
        bool, typer.Option("--give-up/--no-give-up", help="Stop runs that are hopeless, by what needs no label.")
    ] = True,
    judge_after: Annotated[
        float, typer.Option("--judge-after", min=0, max=1, help="Share of the updates that no run is given up in.")
    ] = 0.2,
    keep: Annotated[int, typer.Option("--keep", min=1, help="So many runs are never given up.")] = 2,
    as_json: Json = False,
) -> None:
    """Train a configuration with every combination of the grid and every seed, and choose the best without labels."""
    import json

    from unsup_asr.sweep.driver import Sweep, SweepOptions, cores, train_command
    from unsup_asr.sweep.hopeless import Patience
    from unsup_asr.sweep.plan import plan
    from unsup_asr.sweep.settings import read_swept

    asked = read_swept(config, settings or [])
    patience = Patience(round(judge_after * asked.updates), keep) if give_up and asked.updates else None
    options = SweepOptions(jobs or cores(), threads, patience)
    work = Sweep(out, config, train_command(config, settings or [], device), options)
    work.run(plan(grid or [], seeds))
    selection = work.select(asked.text)
    typer.echo(json.dumps(selection.summary()) if as_json else f"{selection}\n{selection.directory}")


def ablate(
    config: ConfigFile,
    out: Out,
    seeds: Seeds = 3,
    jobs: Jobs = 0,
    threads: Threads = 1,
    settings: Set = None,
    device: Device = "auto",
    *,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="An ingredient; again for a further one. Default: all.")
    ] = None,
    speech: Annotated[
        Path | None, typer.Option("--speech", help="Feature store that all transcribe, to report errors on.")
    ] = None,
    references: Annotated[
        Path | None, typer.Option("--references", help="Its transcripts or alignments.tsv, for the report alone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train with everything, and without one ingredient after the other: what each is worth."""
    import json

    from textless.errors import UserError
    from unsup_asr.ablate import ablation_table, ablations
    from unsup_asr.select_runs import select
    from unsup_asr.sweep.driver import Sweep, SweepOptions, cores, train_command
    from unsup_asr.sweep.settings import read_swept

    if (speech is None) != (references is None):
        raise UserError("errors need both: --speech FEATURES to transcribe, and --references to compare with")
    asked = read_swept(config, settings or [])
    if asked.gan is None:
        raise UserError(f"{config} is not of the adversarial method, whose ingredients these are")
    variations = ablations(asked.gan, seeds, without)
    options = SweepOptions(jobs or cores(), threads)
    work = Sweep(out, config, train_command(config, settings or [], device), options)
    work.run([variation for runs in variations.values() for variation in runs])
    folders = [folder for name in work.states if (folder := work.kept(name)) is not None]
    selection = select(folders, asked.text, speech)
    rates: dict[str, float] = {}
    if references is not None:
        from unsup_asr.oracle import compare_with_oracle
        from unsup_asr.scoring import ScoringOptions, read_references

        compared = compare_with_oracle(selection, read_references(references, ScoringOptions()))
        rates = {c.directory.name: r for c, r in zip(selection.candidates, compared.error_rates, strict=True)}
    table = ablation_table(variations, selection, rates)
    table.write(out)
    typer.echo(json.dumps(table.rows) if as_json else table.markdown())
