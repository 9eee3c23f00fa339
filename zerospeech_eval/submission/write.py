"""Submissions made of what the other stages write: scores, features, units, classes."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from textless.errors import UserError
from textless.features.store import open_features
from textless.files import atomic_directory, refuse_overwrite, require
from textless.progress import track
from units.files import Units, read_units
from units.runs import expand
from zerospeech_eval.classes import read_classes, write_classes
from zerospeech_eval.names import find_ids, listed
from zerospeech_eval.scores import read_scores
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.expected import expected_names
from zerospeech_eval.submission.layout import Part, Task
from zerospeech_eval.submission.meta import fill
from zerospeech_eval.submission.unit_lines import write_lines
from zerospeech_eval.submission.validate import PARAMS
from zerospeech_eval.submission.yaml_files import write_yaml


def write_submission(
    task: Task,
    out: Path,
    sources: Mapping[str, Path],
    *,
    meta: Mapping[str, str],
    params: Sequence[str],
    dataset: Dataset | None = None,
    per_unit: bool = False,
    force: bool = False,
) -> None:
    """Write a folder; it appears only when complete.

    Args:
        task: what is submitted to.
        out: folder to create.
        sources: what each part is made of, by its name: scores of `textless ulm score` or `name value` lines; a feature
            store, folder of features, or units; a class file; recordings.
        meta: values of `meta.yaml` by their paths, as text; the required ones that lack become placeholders.
        params: values of `params.yaml` other than the defaults, as `key=value`.
        dataset: whose recordings to write, in its order; none: all there are.
        per_unit: divide log-probabilities by the number of units.
        force: replace what is there.

    Raises:
        UserError: an unknown part or parameter, sources that cannot be read, or recordings of the dataset missing.
    """
    refuse_overwrite(out, force=force)
    parts = {task.part(name): path for name, path in sources.items()}
    values = task.params.load(None, params)
    filled = fill(task.meta, {"benchmark_name": task.name, **meta})
    with atomic_directory(out) as root:
        for name, tree in filled.items():
            write_yaml(root / name, tree)
        if task.params.model_fields:
            write_yaml(root / PARAMS, values.model_dump(mode="json"))
            (root / "scores").mkdir()
        for part, source in parts.items():
            expected = expected_names(part, dataset) if dataset is not None else None
            _write_part(part, root / part.path, source, expected, per_unit=per_unit)


def _write_part(part: Part, path: Path, source: Path, expected: Sequence[str] | None, *, per_unit: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    match part.kind:
        case "scores":
            scores = read_scores(source, per_unit=per_unit).values
            chosen = _choose(scores, expected, source)
            path.write_text("".join(f"{name} {scores[id_]!r}\n" for name, id_ in chosen.items()), encoding="utf-8")
        case "features":
            _write_arrays(path, source, expected)
        case "embeddings":
            _write_text(path, source, expected)
        case "units":
            units = {item.id: item for item in read_units(source).utterances}
            chosen = _choose(units, expected, source)
            write_lines(path, {name: _frames(units[id_]).tolist() for name, id_ in chosen.items()})
        case "classes":
            write_classes(path, read_classes(source))
        case "recordings":
            recordings = {file.stem: file for file in sorted(require(source, "recordings").rglob("*.wav"))}
            path.mkdir(parents=True, exist_ok=True)
            for name, id_ in _choose(recordings, expected, source).items():
                shutil.copyfile(recordings[id_], path / f"{name}.wav")


def _write_arrays(path: Path, source: Path, expected: Sequence[str] | None) -> None:
    """`(T, D)` in float64, the one type that the organisers' toolbox takes; units as one-hot vectors at frame rate."""
    path.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".jsonl":
        file = read_units(source)
        units = {item.id: item for item in file.utterances}
        for name, id_ in track(_choose(units, expected, source).items(), path.name):
            vectors = np.eye(file.quantizer.k, dtype=np.float64)[_frames(units[id_])]
            np.save(path / f"{name}.npy", vectors, allow_pickle=False)
        return
    features = open_features(source)
    for name, id_ in track(_choose(features, expected, source).items(), path.name):
        np.save(path / f"{name}.npy", np.asarray(features[id_], dtype=np.float64), allow_pickle=False)


def _write_text(path: Path, source: Path, expected: Sequence[str] | None) -> None:
    """A vector a line; of units the deduplicated numbers, so that a repetition costs no bits."""
    path.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".jsonl":
        units = {item.id: item for item in read_units(source).utterances}
        for name, id_ in _choose(units, expected, source).items():
            (path / f"{name}.txt").write_text("".join(f"{unit}\n" for unit in units[id_].units), encoding="utf-8")
        return
    features = open_features(source)
    for name, id_ in track(_choose(features, expected, source).items(), path.name):
        rows = np.asarray(features[id_]).tolist()
        lines = (" ".join(map(repr, row)) + "\n" for row in rows)
        (path / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def _frames(item: Units) -> np.ndarray:
    """Units at frame rate, `(T,)`."""
    if item.durations is None:
        raise UserError(f"{item.id!r} has units without durations, which make no features")
    return expand(item.units, item.durations)


def _choose(available: Iterable[str], expected: Sequence[str] | None, source: Path) -> dict[str, str]:
    """Id by the name to write it under: its last part.

    Raises:
        UserError: expected ones are missing, or two ids have one name.
    """
    ids = list(available)
    wanted = list(dict.fromkeys(expected)) if expected is not None else [PurePosixPath(id_).name for id_ in ids]
    repeated = [name for name, n in Counter(wanted).items() if n > 1]
    if repeated:
        raise UserError(f"{source} has several recordings of one name: {listed(repeated)}")
    found = find_ids(ids, wanted)
    missing = [name for name, id_ in zip(wanted, found, strict=True) if id_ is None]
    if missing:
        raise UserError(f"{source} lacks {len(missing)} recordings of the dataset: {listed(missing)}")
    return {name: id_ for name, id_ in zip(wanted, found, strict=True) if id_ is not None}
