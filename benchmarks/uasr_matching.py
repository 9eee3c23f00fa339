"""How far matching and self-training come, and what limits them: several seeds, with ceilings and chance beside them.

    textless corpus synth corpus --hours 1 --speakers 22 --text sentences.txt
    python benchmarks/uasr_matching.py OUT --corpus corpus --text unpaired.txt --phones espeak:en-us --encoder SPEC \
        [--seeds 5] [--table]

Runs `textless asr prepare`, `asr train` with examples/configs/asr-matching.toml for every seed, and `asr diagnose`,
whose labels serve the table alone: the model of every seed was chosen without. A seed has converged if its phone error
rate is below half of chance. What is finished is not run again, so a killed benchmark goes on; a folder OUT/prepared
that is there is used.

With `--labelled-minutes`, the features are the hidden layer of a network that was taught by labels of so much of the
speech: no result, but it shows what the method does with purer clusters.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textless.corpora.alignment import read_alignment
from textless.corpora.silence import read_kept
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from textless.pipeline.commands import Commands
from textless.training.run import read_metrics
from unsup_asr.diagnostics import DiagnosisOptions, Labelled
from unsup_asr.self_training.config import SelfTrainingConfig
from unsup_asr.self_training.features import Frames
from unsup_asr.self_training.train import learn, read

CONFIG = Path(__file__).parents[1] / "examples/configs/asr-matching.toml"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--corpus", type=Path, required=True, help="with train/manifest.tsv and train/alignments.tsv")
    parser.add_argument("--text", type=Path, required=True, help="unpaired sentences")
    parser.add_argument("--phones", default="espeak:en-us")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--min-phone-count", type=int, default=300)
    parser.add_argument("--vad", default="energy")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--labelled-minutes", type=float)
    parser.add_argument("--table", action="store_true", help="only print what there is")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        prepare(options)
        if options.labelled_minutes:
            teach(options)
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            train(options, seed)
    print_table(options.out)


def prepare(options: argparse.Namespace) -> None:
    """Speech without silences, its features, and text as phones."""
    if not (options.out / "prepared").exists():
        commands = Commands(options.out)
        names = ("encoder", "phones", "vad", "min_phone_count")
        given = {name: getattr(options, name) for name in names}
        manifest = options.corpus / "train" / "manifest.tsv"
        commands.run("asr prepare", manifest, options.text, options.out / "preparing", no_agreement=True, **given)
        (options.out / "preparing").rename(options.out / "prepared")


def teach(options: argparse.Namespace) -> None:
    """Features that labels have made."""
    speech, out = options.out / "prepared" / "train", options.out / "labelled"
    if out.exists():
        return
    alignment = read_alignment(options.corpus / "train" / "alignments.tsv")
    kept = read_kept(speech / "recordings" / "kept.tsv")
    labelled = Labelled.of(FeatureStore(speech / "features"), alignment, kept, DiagnosisOptions())
    utterances = labelled.frames.split(labelled.frames.values)
    ends = np.cumsum([len(rows) for rows in utterances]) / labelled.frame_rate / 60
    count = int(np.searchsorted(ends, options.labelled_minutes)) + 1
    labels = np.concatenate(labelled.labels[:count])
    config = SelfTrainingConfig(hidden=64, epochs=4)
    network = learn(Frames.of(utterances[:count]), labels, len(labelled.names), config, 0, torch.device("cpu"))
    hidden = labelled.frames.split(read(network, labelled.frames, hidden=True))
    header = StoreHeader("labelled", "0" * 64, config.hidden, labelled.frame_rate, 1, "0" * 64)
    write_header(out, header)
    write_shard(out, 0, 1, dict(zip(labelled.ids, hidden, strict=True)))


def train(options: argparse.Namespace, seed: int) -> None:
    """One seed, and what it was worth."""
    report, run = options.out / f"seed-{seed}.json", options.out / f"seed-{seed}"
    if report.exists():
        return
    speech, text = options.out / "prepared" / "train", options.out / "prepared" / "text"
    features = options.out / "labelled" if options.labelled_minutes else speech / "features"
    commands = Commands(options.out / "commands" / str(seed))
    words: list[object] = [CONFIG, run]
    for setting in (f"data.features={features}", f"data.text={text}", f"seed={seed}"):
        words += ["--set", setting]
    commands.run("asr train", *words)
    labels = {"alignment": options.corpus / "train" / "alignments.tsv"}
    if (speech / "recordings" / "kept.tsv").exists():
        labels["kept"] = speech / "recordings" / "kept.tsv"
    found = commands.run_json("asr diagnose", features, model=run, **labels, seed=seed)
    stages = read_metrics(run)
    found["processor_seconds"] = sum(row["processor_seconds"] for row in stages)
    found["metrics"] = stages
    report.write_text(json.dumps(found))


def print_table(out: Path) -> None:
    paths = sorted(out.glob("seed-*.json"))
    found = [json.loads(path.read_text()) for path in paths]
    if not found:
        print("no seed is finished")
        return
    first = found[0]
    print(
        f"{first['utterances']} utterances, {first['seconds'] / 3600:.3f} h, {first['phones_per_second']:.1f} phones/s"
    )
    print("| seed | PER | of the best stage | chance | purity | map | taught | held out | CPU s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path, row in zip(paths, found, strict=True):
        print(f"| {path.stem} | {' | '.join(f'{value:.1f}' for value in cells(row))} |")
    columns = zip(*map(cells, found), strict=True)
    print(f"| mean ± sd | {' | '.join(map(described, columns))} |")
    converged = sum(row["model"]["percent"] < row["model"]["chance"] / 2 for row in found)
    print(f"{converged} of {len(found)} seeds converged; stages, PER / perplexity / the same without n-grams:")
    for path, row in zip(paths, found, strict=True):
        metrics = {metric["step"]: metric for metric in row["metrics"]}
        print(f"{path.stem}: {', '.join(described_stage(name, e, metrics) for name, e in row['stages'].items())}")


def cells(row: dict[str, Any]) -> list[float]:
    """A line of the table."""
    learnt = [errors["percent"] for name, errors in row["stages"].items() if name.endswith("learn")]
    ceilings = (row[name]["percent"] for name in ("best_map", "taught", "held_out"))
    chosen = row["model"]
    purity = 100 * row["purity"]
    return [chosen["percent"], min(learnt), chosen["chance"], purity, *ceilings, row["processor_seconds"]]


def described(values: tuple[float, ...]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}"


def described_stage(name: str, errors: dict[str, Any], metrics: dict[int, dict[str, Any]]) -> str:
    noted = metrics.get(int(name.split("-", maxsplit=1)[0]), {})
    rest = f" / {noted['perplexity']:.2f} / {noted['alone_perplexity']:.1f}" if "perplexity" in noted else ""
    return f"{name} {errors['percent']:.1f}{rest}"


if __name__ == "__main__":
    main()
