"""`textless eval`: ABX of features, sWUGGY and sBLIMP of unit language models, phone error rate of speech."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from textless.errors import UserError
from textless.options import Device, Force, Json, Seed

app = typer.Typer(help="Judge features, units, language models and speech.", no_args_is_help=True)

Scores = Annotated[Path, typer.Argument(help="What `textless ulm score` writes, or `name value` lines.")]
Pairs = Annotated[Path, typer.Argument(help="Gold CSV of the benchmark.")]
PerUnit = Annotated[bool, typer.Option("--per-unit", help="Divide log-probabilities by the number of units.")]
SkipPairs = Annotated[bool, typer.Option("--skip-missing", help="Leave out, and count, pairs without scores.")]


@app.command()
def abx(
    item: Annotated[Path, typer.Argument(help="Item file: which stretches of speech to compare.")],
    features: Annotated[Path, typer.Argument(help="Feature store, or a folder of .npy, .pt or .txt files.")],
    frequency: Annotated[
        str | None, typer.Option("--frequency", help="Frames a second (default: what the store says, else 50).")
    ] = None,
    speaker: Annotated[
        Literal["within", "across", "both"], typer.Option(help="X from the speaker of A and B, or another.")
    ] = "both",
    context: Annotated[
        Literal["within", "any"], typer.Option(help="Compare in the same context of phones, or in any.")
    ] = "within",
    distance: Annotated[
        Literal["angular", "euclidean", "kl_symmetric", "identical"], typer.Option(help="Between frames.")
    ] = "angular",
    frame_slice: Annotated[
        Literal["exact", "librilight"],
        typer.Option(help="librilight drops the last frame of every token, as the ABX-LS leaderboard does."),
    ] = "exact",
    max_size_group: Annotated[
        int | None, typer.Option(help="Tokens of a phone, speaker and context at most (default: all).")
    ] = None,
    max_x_across: Annotated[int | None, typer.Option(help="Speakers of X at most (default: all).")] = None,
    seed: Seed = 0,
    cells: Annotated[Path | None, typer.Option(help="Also write every cell to this CSV file.")] = None,
    *,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out, and count, tokens whose frames are not there.")
    ] = False,
    json: Json = False,
) -> None:
    """Phone discrimination: is a token nearer to one of the same phone than to one of another?"""
    from textless.corpora.items import read_items
    from textless.features.store import open_features
    from textless.progress import say
    from zerospeech_eval.abx import evaluate
    from zerospeech_eval.datasets import make_dataset
    from zerospeech_eval.report import abx_report, print_json
    from zerospeech_eval.task import Task

    if cells is not None and speaker == "both":
        raise UserError("--cells takes one mode: add --speaker within or --speaker across")
    speakers: tuple[Literal["within", "across"], ...] = ("within", "across") if speaker == "both" else (speaker,)
    task = Task(speakers, context, max_size_group, max_x_across, seed)
    items, store = read_items(item), open_features(features)
    rate = _frame_rate(store, features, frequency)
    data = make_dataset(items, store, rate, frame_slice=frame_slice, skip_missing=skip_missing)
    if data.skipped.total:
        say(f"left out {data.skipped}")
    scores = evaluate(task, data, distance)
    if cells is not None:
        scores[speakers[0]].write_csv(cells)
    if json:
        print_json(abx_report(scores, task, distance, rate, frame_slice))
        return
    for mode, score in scores.items():
        where = "in the same context" if context == "within" else "in any context"
        typer.echo(
            f"ABX error {mode} speakers {where}, {distance}: {100 * score.value:.3f} %  "
            f"({len(score)} cells, {score.n_triplets} triplets, {len(data)} tokens)"
        )


def _frame_rate(store: object, path: Path, frequency: str | None) -> str:
    from textless.features.store import FeatureStore
    from zerospeech_eval.datasets import parse_frequency

    if not isinstance(store, FeatureStore):
        return frequency or "50"
    stated = str(store.header.frame_rate)
    if frequency is not None and float(parse_frequency(frequency)) != store.header.frame_rate:
        raise UserError(f"{path} holds {stated} frames a second, but --frequency says {frequency}; leave it out")
    return stated


@app.command()
def swuggy(
    scores: Scores, pairs: Pairs, *, per_unit: PerUnit = False, skip_missing: SkipPairs = False, json: Json = False
) -> None:
    """Spot the word: does a language model find words likelier than non-words?"""
    from zerospeech_eval.report import print_result
    from zerospeech_eval.scores import read_scores
    from zerospeech_eval.swuggy import swuggy as evaluate

    print_result(evaluate(read_scores(scores, per_unit=per_unit), pairs, skip_missing=skip_missing), as_json=json)


@app.command()
def sblimp(
    scores: Scores, pairs: Pairs, *, per_unit: PerUnit = False, skip_missing: SkipPairs = False, json: Json = False
) -> None:
    """Acceptability: does a language model find grammatical sentences likelier than ungrammatical ones?"""
    from zerospeech_eval.report import print_result
    from zerospeech_eval.sblimp import sblimp as evaluate
    from zerospeech_eval.scores import read_scores

    print_result(evaluate(read_scores(scores, per_unit=per_unit), pairs, skip_missing=skip_missing), as_json=json)


@app.command("train-recognizer")
def train_recognizer(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings.")],
    alignments: Annotated[Path, typer.Argument(help="alignments.tsv: their phones.")],
    out: Annotated[Path, typer.Argument(help="Folder of the recognizer.")],
    steps: Annotated[int, typer.Option(min=1, help="Batches of about 15 s of speech.")] = 1000,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    force: Force = False,
) -> None:
    """Train a small phone recogniser, the judge of resynthesised speech."""
    from zerospeech_eval.train_recognizer import train

    train(manifest, alignments, out, steps=steps, seed=seed, device=device, force=force)


@app.command()
def per(
    manifest: Annotated[Path, typer.Argument(help="Manifest of the recordings to judge.")],
    alignments: Annotated[Path, typer.Argument(help="alignments.tsv: the phones they should hold.")],
    recognizer: Annotated[Path, typer.Option("--recognizer", help="What `train-recognizer` wrote.")],
    details: Annotated[Path | None, typer.Option(help="Also write a TSV with a line for every utterance.")] = None,
    seed: Seed = 0,
    device: Device = "auto",
    *,
    json: Json = False,
) -> None:
    """Phone error rate of speech, as a recogniser hears it."""
    from zerospeech_eval.per import evaluate, write_details
    from zerospeech_eval.report import print_json

    result = evaluate(manifest, alignments, recognizer, seed=seed, device=device)
    if details is not None:
        write_details(details, result)
    if json:
        print_json(result.summary())
        return
    typer.echo(
        f"phone error rate {100 * result.rate:.2f} % (95 % interval {100 * result.low:.2f} to {100 * result.high:.2f}, "
        f"bootstrap over {len(result.utterances)} utterances): {result.substitutions} substitutions, "
        f"{result.insertions} insertions, {result.deletions} deletions in {result.n_reference} phones"
    )


@app.command()
def units(
    units: Annotated[Path, typer.Argument(help="units.jsonl, with durations.")],
    alignments: Annotated[Path, typer.Argument(help="alignments.tsv: the phones of the same utterances.")],
    *,
    json: Json = False,
) -> None:
    """How well units name phones: PNMI, phone purity and cluster purity over frames."""
    from textless.corpora.alignment import read_alignment
    from units.files import read_units
    from zerospeech_eval.report import print_json
    from zerospeech_eval.unit_phones import cooccurrence, summary

    result = summary(cooccurrence(read_units(units), read_alignment(alignments)))
    if json:
        print_json(result)
        return
    typer.echo(
        f"PNMI {result['pnmi']:.4f}, phone purity {result['phone_purity']:.4f}, cluster purity "
        f"{result['cluster_purity']:.4f}, over {result['frames']} frames"
    )
