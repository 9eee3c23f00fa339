"""Pretraining from end to end: units as targets, ABX and PNMI as judges, and HuBERT's iterations.

The rooms below know nothing of each other: pretraining takes labels and gives encoders, `units` makes labels of
features, the evaluators read features and units. Here they are put together, out of commands that anyone could type.
"""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from textless.config import Config
from textless.errors import UserError
from textless.files import write_json
from textless.pipeline.commands import Commands
from textless.pretraining.config import PretrainConfig
from textless.pretraining.data import Targets
from textless.pretraining.train import pretrain
from units.files import read_units
from units.runs import expand


class DevConfig(Config):
    """A labelled set that the encoder is judged on while it trains: nothing of it reaches the training."""

    directory: Path  # with manifest.tsv, alignments.tsv and triphone.item or phoneme.item
    layer: int | None = None  # the last by default
    k: int = Field(default=100, ge=1)  # of the units whose PNMI is taken


class RunConfig(PretrainConfig):
    """A pretraining run, and the set it is judged on."""

    dev: DevConfig | None = None


class IterationConfig(Config):
    """One iteration of HuBERT: k-means units of some encoder's features, then a model that predicts them.

    `targets` are encoder specifications; `previous:LAYER` is the model of the iteration before.
    """

    targets: tuple[str, ...]
    k: tuple[int, ...]
    max_frames: int = Field(default=1_000_000, ge=1)
    steps: int | None = None  # instead of the run's own
    warm_start: bool = False  # from the weights of the iteration before


class IterateConfig(RunConfig):
    """A run that is repeated, each time with targets from the model before."""

    iterations: tuple[IterationConfig, ...] = (
        IterationConfig(targets=("mfcc",), k=(100,)),
        IterationConfig(targets=("previous:6",), k=(500,)),
    )


def read_targets(paths: tuple[Path, ...]) -> list[Targets]:
    """Units files as labels at frame rate.

    Raises:
        UserError: a file is not there, or its units have no durations.
    """
    sets = []
    for path in paths:
        file = read_units(path)
        labels = {}
        for item in file.utterances:
            if item.durations is None:
                raise UserError(f"{path}: {item.id!r} has units without durations, which cannot be targets of frames")
            labels[item.id] = expand(item.units, item.durations)
        sets.append(Targets(labels, file.quantizer.k, file.quantizer.frame_rate, str(path)))
    return sets


def run_pretraining(config: RunConfig, out: Path, *, device: str = "auto", force: bool = False) -> None:
    """`textless encoder pretrain`: the loop, with its targets read and its judge called."""
    evaluate = None if config.dev is None else judge(config.dev, config.encoder.transformer.layers)
    pretrain(config, out, read_targets(config.data.targets), evaluate=evaluate, device=device, force=force)


def judge(config: DevConfig, last_layer: int) -> Callable[[Path], dict[str, float]]:
    """What tells ABX and PNMI of an encoder directory on a labelled set.

    Raises:
        UserError: the set lacks alignments or items.
    """
    manifest, alignments = config.directory / "manifest.tsv", config.directory / "alignments.tsv"
    kinds: list[tuple[Literal["within", "any"], str]] = [("within", "triphone.item"), ("any", "phoneme.item")]
    found = [(context, config.directory / name) for context, name in kinds if (config.directory / name).exists()]
    if not manifest.exists() or not alignments.exists() or not found:
        raise UserError(
            f"{config.directory} should hold manifest.tsv, alignments.tsv and triphone.item or phoneme.item"
        )
    context, item = found[0]
    layer = last_layer if config.layer is None else config.layer

    def evaluate(encoder: Path) -> dict[str, float]:
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            commands = Commands(work)
            commands.run("encoder features", manifest, work / "features", encoder=f"{encoder}:{layer}")
            caps: dict[str, Any] = {"context": context, "max_size_group": 10, "max_x_across": 5}
            abx = commands.run_json("eval abx", item, work / "features", **caps, skip_missing=True)
            commands.run("units fit", work / "features", work / "quantizer", k=config.k, duration_penalty=0)
            commands.run("units encode", work / "features", work / "units.jsonl", quantizer=work / "quantizer")
            phones = commands.run_json("eval units", work / "units.jsonl", alignments)
        errors = {f"abx_{speaker}": score["error_rate_percent"] for speaker, score in abx["scores"].items()}
        return {**errors, "pnmi": phones["pnmi"]}

    return evaluate


def iterate_hubert(config: IterateConfig, out: Path, *, device: str = "auto", force: bool = False) -> Path:
    """`textless encoder hubert-iterate`: features, k-means, units and pretraining, as often as is asked for.

    OUT/iteration-N holds features, quantizers, units and the encoder of one iteration; what is finished is kept.

    Returns:
        The directory of the last encoder.
    """
    previous: Path | None = None
    for number, iteration in enumerate(config.iterations, 1):
        if len(iteration.targets) != len(iteration.k):
            raise UserError(
                f"iteration {number} has {len(iteration.targets)} targets, but {len(iteration.k)} values of k"
            )
        folder = out / f"iteration-{number}"
        commands = Commands(folder)
        units = []
        for index, (target, k) in enumerate(zip(iteration.targets, iteration.k, strict=True), 1):
            spec = _resolve(target, previous, number)
            features, quantizer = folder / f"features-{index}", folder / f"quantizer-{index}"
            units.append(folder / f"units-{index}.jsonl")
            manifest = config.data.manifest
            commands.run("encoder features", manifest, features, encoder=spec, device=device)
            plain = {"k": k, "duration_penalty": 0, "max_frames": iteration.max_frames, "seed": config.seed}
            commands.run("units fit", features, quantizer, **plain, replace=True)
            commands.run("units encode", features, units[-1], quantizer=quantizer, replace=True)
        run = RunConfig.parse(
            {
                **{name: value for name, value in config.model_dump().items() if name != "iterations"},
                "data": {**config.data.model_dump(), "targets": units},
                "steps": iteration.steps or config.steps,
                "start": previous if iteration.warm_start else config.start,
            },
            f"iteration {number}",
        )
        write_json(folder / "pretrain.json", json.loads(run.model_dump_json()))
        encoder = folder / "encoder"
        run_pretraining(run, encoder, device=device, force=force)
        previous = encoder
    assert previous is not None
    return previous


def _resolve(target: str, previous: Path | None, number: int) -> str:
    if not target.startswith("previous"):
        return target
    if previous is None:
        raise UserError(f"the target {target!r} of iteration {number} has no model before it: name an encoder")
    return f"{previous}{target.removeprefix('previous')}"
