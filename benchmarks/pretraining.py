"""What minutes of training on a CPU teach a small HuBERT about real speech: ABX and PNMI beside MFCC and the mixture.

    TEXTLESS_SPEECH=DIR python benchmarks/pretraining.py OUT [--seeds 0 1 2] [--held-out]

Trains with the ready configuration `hubert-cpu.toml` on the recordings of kathleen_en, librispeech_multi and an4, and
judges on the aligned part of librispeech_multi (unlabelled in training; with `--held-out`, not in training at all). ABX
of phonemes in any context, at most 10 tokens a group and 5 speakers for X. "Joined" is one encoder of HuBERT and the
mixture that taught it (`textless encoder join`). Prints mean and standard deviation over
seeds, and the minutes that training took on this machine. A stopped run continues.
"""

import argparse
import os
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from textless.audio.manifest import Manifest, write_manifest
from textless.corpora.alignment import write_alignment
from textless.corpora.items import items_from_alignment, write_items
from textless.pipeline.commands import Commands
from textless.pipeline.recordings import collect
from textless.training.run import read_metrics

CONFIG = Path(__file__).parents[1] / "examples" / "configs" / "hubert-cpu.toml"
CORPORA = ("kathleen_en", "librispeech_multi", "an4")
JUDGED = "librispeech_multi"
K = 100
JOINED_WEIGHTS = (1.0, 0.7)  # of HuBERT's posteriors and the mixture's in an encoder of both


def prepare(speech: Path, out: Path, *, held_out: bool) -> None:
    """Manifests to train on and to judge by, with alignments and items of the latter."""
    found = collect(speech)
    training, judged = [], []
    for utterance in found.manifest:
        corpus = utterance.id.partition("/")[0]
        named = replace(utterance, speaker=f"{corpus}-{utterance.speaker}")
        if corpus in CORPORA and not (held_out and corpus == JUDGED):
            training.append(named)
        if corpus == JUDGED and utterance.id in found.alignment:
            judged.append(named)
    write_manifest(out / "train.tsv", Manifest(speech, tuple(training)))
    write_manifest(out / "judged.tsv", Manifest(speech, tuple(judged)))
    alignment = {u.id: found.alignment[u.id] for u in judged}
    write_alignment(out / "alignments.tsv", alignment, "phone")
    speakers = {u.id: u.speaker or "" for u in judged}
    write_items(out / "phoneme.item", list(items_from_alignment(alignment, speakers, "phoneme")))


def judge(commands: Commands, out: Path, name: str, spec: str) -> dict[str, float]:
    work = out / "judged" / name
    commands.run("encoder features", out / "judged.tsv", work / "features", encoder=spec)
    task: dict[str, Any] = {"context": "any", "max_size_group": 10, "max_x_across": 5, "skip_missing": True}
    abx = commands.run_json("eval abx", out / "phoneme.item", work / "features", **task)["scores"]
    commands.run("units fit", work / "features", work / "quantizer", k=K, duration_penalty=0, replace=True)
    commands.run("units encode", work / "features", work / "units.jsonl", quantizer=work / "quantizer", replace=True)
    phones = commands.run_json("eval units", work / "units.jsonl", out / "alignments.tsv")
    figures = {speaker: abx[speaker]["error_rate_percent"] for speaker in ("within", "across")} | {
        "pnmi": phones["pnmi"]
    }
    print(f"{name:24} within {figures['within']:.2f} %, across {figures['across']:.2f} %, PNMI {figures['pnmi']:.3f}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--held-out", action="store_true")
    options = parser.parse_args()
    out = options.out.resolve()
    if not (out / "phoneme.item").exists():
        prepare(Path(os.environ["TEXTLESS_SPEECH"]).resolve(), out, held_out=options.held_out)
    os.chdir(out)  # the configuration names `gmm` and `train.tsv`
    commands = Commands(out)
    commands.run("encoder fit-gmm", "train.tsv", "gmm", replace=True)
    judge(commands, out, "MFCC", "mfcc-cmvn")
    judge(commands, out, "GMM posteriors", "gmm")
    results: dict[str, list[dict[str, float]]] = {"HuBERT": [], "joined": []}
    for seed in options.seeds:
        run = Path(f"seed-{seed}")
        overrides = ["--set=data.manifest=train.tsv", f"--set=seed={seed}"]
        commands.run(f"encoder hubert-iterate {' '.join(overrides)}", CONFIG, run)
        encoder, joined = run / "iteration-1" / "encoder", run / "joined"
        minutes = {"minutes": read_metrics(encoder)[-1]["seconds"] / 60}
        results["HuBERT"].append(judge(commands, out, f"HuBERT, seed {seed}", f"{encoder}@100:5") | minutes)
        weights = " ".join(f"--weight={weight}" for weight in JOINED_WEIGHTS)
        commands.run(f"encoder join {weights}", joined, f"{encoder}@100:5", "gmm", replace=True)
        results["joined"].append(judge(commands, out, f"joined, seed {seed}", str(joined)))
    for encoder_name, found in results.items():
        for name in found[0]:
            values = [figures[name] for figures in found]
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            print(f"{encoder_name} {name}: {statistics.mean(values):.3f} +- {spread:.3f} over {len(values)} seeds")


if __name__ == "__main__":
    main()
