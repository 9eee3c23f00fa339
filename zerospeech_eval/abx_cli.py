"""`textless eval abx`: phone discrimination of features and units; and `make-abx-items`, its items."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from textless.errors import UserError
from textless.options import Device, Force, Json, Seed

if TYPE_CHECKING:
    import torch

GIGABYTE = 10**9
SpeakerFrom = Literal["prefix", "parent", "id"]


def register(app: typer.Typer) -> None:
    """Add these verbs to `textless eval`."""
    app.command()(abx)
    app.command("make-abx-items")(make_abx_items)


def abx(
    item: Annotated[Path, typer.Argument(help="Item file: which stretches of speech to compare.")],
    features: Annotated[
        Path,
        typer.Argument(
            help="Feature store, folder of .npy, .pt or .txt files, units.jsonl, or manifest of recordings."
        ),
    ],
    frequency: Annotated[
        str | None, typer.Option("--frequency", help="Frames a second (default: what the features say, else 50).")
    ] = None,
    speaker: Annotated[
        Literal["within", "across", "both"], typer.Option(help="X from the speaker of A and B, or another.")
    ] = "both",
    context: Annotated[
        Literal["within", "any", "both"], typer.Option(help="Compare in the same context of phones, or in any.")
    ] = "within",
    distance: Annotated[
        Literal["angular", "euclidean", "kl", "kl_symmetric", "kl_abxpy", "identical", "edit", "levenshtein"],
        typer.Option(help="Between frames under time warping; edit, levenshtein: between sequences of units."),
    ] = "angular",
    pooling: Annotated[
        Literal["none", "mean", "hamming"], typer.Option(help="Compare one frame a token instead: the mean of its own.")
    ] = "none",
    frame_slice: Annotated[
        Literal["exact", "librilight"],
        typer.Option(help="librilight drops the last frame of every token, as the ABX-LS leaderboard does."),
    ] = "exact",
    averaging: Annotated[
        Literal["librilight", "abxpy"],
        typer.Option(help="abxpy averages over pairs of speakers last, as ZeroSpeech 2015 to 2020 did."),
    ] = "librilight",
    max_size_group: Annotated[
        int | None, typer.Option(help="Tokens of a phone, speaker and context at most (default: all).")
    ] = None,
    max_x_across: Annotated[int | None, typer.Option(help="Speakers of X at most (default: all).")] = None,
    seed: Seed = 0,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Encode the recordings of a manifest: mfcc, NAME:LAYER, ...")
    ] = None,
    quantizer: Annotated[
        Path | None, typer.Option("--quantizer", help="Compare the units of this quantizer instead of features.")
    ] = None,
    units_as: Annotated[
        Literal["codebook", "one-hot", "units"] | None,
        typer.Option("--as", help="What units become (default: codebook where there is a quantizer, else one-hot)."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(min=0, help="Resamples for 95 % intervals (0: none), e.g. 1000.")] = 0,
    bootstrap_over: Annotated[
        Literal["speaker", "context"], typer.Option(help="What to resample: who else, or what else, might be said.")
    ] = "speaker",
    cells: Annotated[Path | None, typer.Option(help="Also write every cell to this CSV file.")] = None,
    phone_pairs: Annotated[Path | None, typer.Option(help="Also write the error of every pair of phones.")] = None,
    speakers: Annotated[Path | None, typer.Option(help="Also write the error of every speaker.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: one for every processor.")] = None,
    memory: Annotated[
        float | None, typer.Option(help="Gigabytes for features, distances and cells (default: half the machine's).")
    ] = None,
    device: Device = "cpu",
    *,
    unit_length: Annotated[
        bool, typer.Option("--unit-length", help="Scale frames to length 1 for every distance, as Libri-light does.")
    ] = False,
    time_column: Annotated[
        bool, typer.Option("--time-column", help="The first column of the features is the time of each frame.")
    ] = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out, and count, tokens whose frames are not there.")
    ] = False,
    json: Json = False,
) -> None:
    """Phone discrimination: is a token nearer to one of the same phone than to one of another?"""
    from textless.corpora.items import count_overlaps, read_items
    from textless.progress import say
    from zerospeech_eval.abx import default_memory, evaluate
    from zerospeech_eval.abx_report import describe, summarise, write_cells, write_pairs, write_speakers
    from zerospeech_eval.bootstrap import bootstrap as resample
    from zerospeech_eval.datasets import make_dataset
    from zerospeech_eval.feature_source import open_source
    from zerospeech_eval.report import print_json
    from zerospeech_eval.task import zerospeech_tasks

    if memory is not None and memory <= 0:
        raise UserError(f"--memory should be a positive number of gigabytes, found {memory:g}")
    budget = default_memory() if memory is None else int(memory * GIGABYTE)
    sampling: dict[str, Any] = {"max_size_group": max_size_group, "max_x_across": max_x_across, "seed": seed}
    tasks = zerospeech_tasks(speaker, context, averaging=averaging, **sampling)
    items = read_items(item)
    overlaps = count_overlaps(items)
    if overlaps:
        say(f"{overlaps} of {len(items)} tokens share time with another of the same phone and context")
    accelerator = _device(device)
    source = open_source(
        features,
        sorted({i.file for i in items}),
        encoder=encoder,
        quantizer=quantizer,
        units_as=units_as,
        frequency=frequency,
        time_column=time_column,
        device=accelerator,
        memory=budget // 2,
    )
    data = make_dataset(
        items,
        source.features,
        source.frequency,
        frame_slice=frame_slice,
        skip_missing=skip_missing,
        codebook=source.codebook,
        memory=budget // 2,
    )
    if data.skipped.total:
        say(f"left out {data.skipped}")
    scores = evaluate(
        tasks,
        data,
        distance,
        pooling=pooling,
        unit_length=unit_length,
        workers=threads,
        memory=budget // 2,
        device=accelerator,
    )
    intervals = {name: resample(score, bootstrap_over, bootstrap, seed) for name, score in scores.items() if bootstrap}
    for path, write in ((cells, write_cells), (phone_pairs, write_pairs), (speakers, write_speakers)):
        if path is not None:
            write(path, scores)
    if json:
        settings: dict[str, Any] = {"distance": distance, "unit_length": unit_length, "pooling": pooling}
        settings |= {"frame_slice": frame_slice, "averaging": averaging}
        print_json(summarise(scores, intervals, context=context, frequency=source.frequency, **settings, **sampling))
        return
    for name, score in scores.items():
        typer.echo(describe(score, intervals.get(name), distance))


def make_abx_items(
    alignment: Annotated[Path, typer.Argument(help="alignments.tsv, .ctm, .TextGrid, or a folder of TextGrids.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for phoneme.item and triphone.item.")],
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="Manifest with a column of speakers; others are left out.")
    ] = None,
    speaker_from: Annotated[
        SpeakerFrom | None,
        typer.Option(help="Speaker: the id up to the first - or _, its folder, or all of it."),
    ] = None,
    tier: Annotated[str | None, typer.Option(help="Tier of TextGrids (default: the one named phones).")] = None,
    *,
    force: Force = False,
    json: Json = False,
) -> None:
    """Make phoneme and triphone items of every phone between two phones."""
    from textless.corpora.alignment_formats import read_any_alignment
    from textless.corpora.items import items_from_alignment, write_items
    from textless.files import atomic_directory, refuse_overwrite
    from zerospeech_eval.report import print_json

    refuse_overwrite(out, force=force)
    spoken = read_any_alignment(alignment, tier)
    speakers = _speakers(list(spoken), manifest, speaker_from)
    utterances = len(spoken)
    spoken = {utterance: segments for utterance, segments in spoken.items() if utterance in speakers}
    phonemes, triphones = (list(items_from_alignment(spoken, speakers, span)) for span in ("phoneme", "triphone"))
    if not phonemes:
        raise UserError(f"{alignment} has no phone between two phones, so there is nothing to compare")
    with atomic_directory(out) as temporary:
        write_items(temporary / "phoneme.item", phonemes)
        write_items(temporary / "triphone.item", triphones)
    summary = {
        "utterances_left_out": utterances - len(spoken),
        "items": len(phonemes),
        "phones": len({i.phone for i in phonemes}),
        "contexts": len({i.context for i in phonemes}),
        "speakers": len({i.speaker for i in phonemes}),
        "utterances": len({i.file for i in phonemes}),
    }
    if json:
        print_json(summary)
        return
    typer.echo(
        f"{summary['items']} items of {summary['phones']} phones in {summary['contexts']} contexts, "
        f"{summary['speakers']} speakers -> {out}"
    )


def _speakers(ids: list[str], manifest: Path | None, speaker_from: SpeakerFrom | None) -> dict[str, str]:
    """Speaker by utterance id; utterances that a manifest does not name have none."""
    if manifest is None and speaker_from is not None:
        from textless.corpora.items import speakers_from_ids

        return speakers_from_ids(ids, speaker_from)
    if manifest is None or speaker_from is not None:
        raise UserError("say who speaks: give either --manifest, with a column of speakers, or --speaker-from")
    from textless.audio.manifest import read_manifest
    from zerospeech_eval.feature_arrays import find_ids

    known = {u.id: u.speaker for u in read_manifest(manifest)}
    speakers = {utterance: known[found] for utterance, found in find_ids(known, ids).items()}
    nobody = [utterance for utterance, speaker in speakers.items() if speaker is None]
    if nobody or not speakers:
        problem = f"names no speaker of {nobody[0]!r}" if nobody else f"has no {ids[0]!r}, nor any other utterance"
        raise UserError(f"{manifest} {problem}")
    return {utterance: speaker for utterance, speaker in speakers.items() if speaker is not None}


def _device(name: str) -> "torch.device | None":
    """None for the CPU, whose kernels need no torch."""
    if name == "cpu":
        return None
    from textless.distributed import select_device

    device = select_device(name)
    return None if device.type == "cpu" else device
