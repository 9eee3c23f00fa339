"""The demo's encoders: MFCC, the classical mixture posteriors, and a small HuBERT trained from scratch, side by side.

OUT/encoders/gmm        posteriors of a mixture, fitted in a minute
OUT/encoders/hubert     log-mel HuBERT, taught with units of the mixture's two layers
OUT/encoders/NAME       features, k-means and units by which each is judged on the test set
"""

import random
from pathlib import Path
from typing import Any

from textless.audio.manifest import Manifest, read_manifest, write_manifest
from textless.files import atomic_write
from textless.pipeline.commands import Commands

TARGETS = {1: 100, 0: 300}  # layer of the mixture encoder (posteriors, MFCC) -> K of the units that HuBERT predicts
SAMPLE = 700  # utterances that mixture and codebooks are fitted to
JUDGED_K = 100
JUDGED_LAYER = 5  # the model's posteriors over the first of the targets


def train_encoders(out: Path, commands: Commands, *, steps: int, seed: int) -> None:
    """Fit the mixture, and pretrain HuBERT with its units."""
    train, folder = out / "corpus" / "train" / "manifest.tsv", out / "encoders"
    gmm = folder / "gmm"
    sample = folder / "sample.tsv"
    if not sample.exists():
        write_manifest(sample, _sample(read_manifest(train), seed))
    commands.run("encoder fit-gmm", sample, gmm, replace=True)
    for layer, k in TARGETS.items():
        features, quantizer = folder / "targets" / f"features-{layer}", folder / "targets" / f"quantizer-{layer}"
        commands.run("encoder features", sample, features, encoder=f"{gmm}:{layer}")
        fitting = {"k": k, "duration_penalty": 0, "max_frames": 100_000, "iterations": 12}
        commands.run("units fit", features, quantizer, **fitting, seed=seed, replace=True)
        commands.run("units encode", train, _units(folder, layer), quantizer=quantizer, replace=True)
    config = out / "configs" / "hubert.toml"
    units = ", ".join(f'"../{_units(folder, layer).relative_to(out)}"' for layer in TARGETS)
    with atomic_write(config) as file:
        file.write(HUBERT_CONFIG.format(steps=steps, seed=seed, units=units))
    commands.run("encoder pretrain", config, folder / "hubert")


def judge_encoders(out: Path, commands: Commands, abx: dict[str, Any], item: Path, *, seed: int) -> dict[str, Any]:
    """ABX of the features, and PNMI of k-means units of them, on the test set: name → figures."""
    folder, corpus = out / "encoders", out / "corpus"
    specs = {
        "MFCC": "mfcc",
        "GMM posteriors": str(folder / "gmm"),
        "HuBERT": f"{folder / 'hubert'}@100:{JUDGED_LAYER}",
    }
    results = {}
    for name, spec in specs.items():
        work = folder / f"judged-{name.split()[0].lower()}"
        commands.run("encoder features", corpus / "test" / "manifest.tsv", work / "test", encoder=spec)
        commands.run("encoder features", corpus / "dev" / "manifest.tsv", work / "dev", encoder=spec)
        fitting = {"k": JUDGED_K, "duration_penalty": 0, "seed": seed}
        commands.run("units fit", work / "dev", work / "quantizer", **fitting, replace=True)
        units = work / "test.jsonl"
        commands.run("units encode", work / "test", units, quantizer=work / "quantizer", replace=True)
        results[name] = {
            "abx": commands.run_json("eval abx", item, work / "test", **abx, seed=seed, skip_missing=True),
            "phones": commands.run_json("eval units", units, corpus / "test" / "alignments.tsv"),
        }
    return results


def _sample(manifest: Manifest, seed: int) -> Manifest:
    """As many utterances, drawn at random, as a mixture and codebooks need; features of all would fill the disk."""
    drawn = set(random.Random(seed).sample(range(len(manifest)), min(SAMPLE, len(manifest))))
    return Manifest(manifest.root, tuple(u for index, u in enumerate(manifest) if index in drawn))


def _units(folder: Path, layer: int) -> Path:
    return folder / "targets" / f"units-{layer}.jsonl"


HUBERT_CONFIG = """\
steps = {steps}
seed = {seed}
log_every = 50

[data]
manifest = "../corpus/train/manifest.tsv"
targets = [{units}]
seconds = 2.56
batch_seconds = 30.7

[objective]
kind = "hubert"
mask_span = 8
mask_probability = 0.52
unmasked_share = 0.3
augmentation = {{ warp = 0.15, frequency_mask = 6, noise = 0.05 }}

[encoder]
projection_norm = false

[encoder.front_end]
kind = "logmel"
normalise = "utterance"

[encoder.transformer]
dim = 256
layers = 4
heads = 4
ffn_dim = 1024
norm_first = true
activation = "relu"
position = "alibi"

[optimizer]
lr = 1e-3
weight_decay = 0.02
schedule = {{ warmup_steps = 200 }}
"""
