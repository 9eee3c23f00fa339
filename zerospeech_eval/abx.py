"""ABX discrimination of features (Schatz et al. 2013), as the ZeroSpeech benchmarks define it, by one pass over pairs.

A token X is compared with A, of the same phone, and B, of another one; the error rate of a cell is the share of its
triplets (a, b, x) with d(x, a) > d(x, b), ties counting one half. Cells are those of a `task`, d is dynamic time
warping over frame distances (`dtw`, `distances`), and the score is a mean of means (`abx_score`).

A `plan` puts the tokens of several tasks into blocks. For each pair of blocks the frames are gathered, a few matrix
products give the distances between all of them, and each pair of tokens that some cell needs is aligned once, for both
directions and for every task.
"""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from textless.corpora.items import Item
from textless.errors import UserError
from textless.progress import track
from zerospeech_eval.abx_score import Score, make_score
from zerospeech_eval.block_pairs import Job
from zerospeech_eval.cells import Cells, join_cells
from zerospeech_eval.datasets import Dataset, make_dataset
from zerospeech_eval.frame_slices import FrameSlice
from zerospeech_eval.plan import make_plan
from zerospeech_eval.task import ContextMode, SpeakerMode, Task, zerospeech_task
from zerospeech_eval.threads import cores, map_threads
from zerospeech_eval.token_distances import Distance, EditDistances, TokenDistances, WarpedDistances
from zerospeech_eval.token_frames import Form, Pooling

if TYPE_CHECKING:
    import torch


def abx(
    items: Iterable[Item],
    features: Mapping[str, np.ndarray],
    frequency: str | float | None,
    *,
    speaker: SpeakerMode = "within",
    context: ContextMode = "within",
    distance: Distance = "angular",
    pooling: Pooling = "none",
    unit_length: bool = False,
    frame_slice: FrameSlice = "exact",
    max_size_group: int | None = None,
    max_x_across: int | None = None,
    seed: int = 0,
    skip_missing: bool = False,
) -> Score:
    """ABX error rate of features; `evaluate` does several tasks, of any labels, in one pass.

    Args:
        items: tokens, see `textless.corpora.items.read_items`.
        features: `(T, D)` by file, e.g. `textless.features.store.open_features(path)`.
        frequency: frames a second of the features, exact where given as text; see `datasets.make_dataset`.
        speaker: X from the speaker of A and B, or from another.
        context: compare in the same context (previous and next phone), or in any.
        distance: between tokens, see `evaluate`.
        pooling: see `evaluate`.
        unit_length: see `evaluate`.
        frame_slice: see `frame_slices`.
        max_size_group: see `task.Task`; None is the exact score, without sampling.
        max_x_across: see `task.Task`.
        seed: of the sampling.
        skip_missing: leave out, and count in `.data.skipped`, tokens whose frames are not there.

    Returns:
        Score: `.value` is the error rate, 0 to 1; `.rows()` and `.pairs` say where it comes from.

    Raises:
        UserError: features are missing or unusable, or no cell can be built.
    """
    data = make_dataset(items, features, frequency, frame_slice=frame_slice, skip_missing=skip_missing)
    task = zerospeech_task(speaker, context, max_size_group=max_size_group, max_x_across=max_x_across, seed=seed)
    return evaluate({speaker: task}, data, distance, pooling=pooling, unit_length=unit_length)[speaker]


def evaluate(
    tasks: Mapping[str, Task],
    data: Dataset,
    distance: Distance = "angular",
    *,
    pooling: Pooling = "none",
    unit_length: bool = False,
    workers: int | None = None,
    memory: int | None = None,
    device: "torch.device | None" = None,
) -> dict[str, Score]:
    """Score tasks by name, in one pass.

    Args:
        tasks: what to compare.
        data: the tokens.
        distance: between frames, under dynamic time warping; or `edit` (of sequences of units without repetitions,
            divided by the longer one), or `levenshtein` (of all units, not divided: ABXpy's).
        pooling: compare one frame a token, the mean of its frames, plain or under a Hamming window.
        unit_length: scale frames to length 1 first, for every distance, as Libri-light does.
        workers: threads (default: every core, or two beside a device).
        memory: bytes for distances and cells (default: a quarter of the machine's memory).
        device: compute on it by torch; None is the CPU, by threads.

    Raises:
        UserError: a task has no cell, a column is missing, or the cells do not fit into the memory.
    """
    memory = memory or default_memory() // 2
    workers = workers or (cores() if device is None else 2)  # one gathers while the other computes
    form = Form(pooling, unit_length)
    compare = _token_distances(data, distance, form, device)
    job = Job(make_plan(tasks, data), data, compare, form, memory // (2 * workers))
    parts: dict[str, list[Cells]] = {name: [] for name in tasks}
    held = 0
    for found in map_threads(job.run, track(job.plan.pairs, "ABX"), workers):
        for name, cells in found:
            parts[name].append(cells)
            held += cells.nbytes
        if 3 * held > memory // 2:  # joining them takes twice as much again
            raise UserError(
                f"the cells do not fit into the {memory / 2e9:.2g} GB that are theirs; "
                "use --max-x-across, fewer tasks, or more --memory"
            )
    labels = {name: buckets.labels for name, buckets in job.plan.buckets.items()}
    return {name: _score(task, data, join_cells(parts.pop(name)), labels[name]) for name, task in tasks.items()}


def default_memory() -> int:
    """Half of this machine's memory, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _token_distances(data: Dataset, distance: Distance, form: Form, device: "torch.device | None") -> TokenDistances:
    if distance in {"edit", "levenshtein", "identical"}:
        if form != Form():
            raise UserError(f"{distance} compares units as they are; leave out --pooling and --unit-length")
    elif data.codebook is None and data.width == 1 and (distance == "angular" or data.arrays[0].dtype.kind in "iu"):
        raise UserError(
            f"{distance} compares vectors, but these features are single numbers: compare units by --distance "
            "identical, edit or levenshtein, or as codebook vectors or one-hot"
        )
    if distance == "edit" or distance == "levenshtein":  # noqa: PLR1714 -- tells mypy what is left
        return EditDistances(distance)
    if device is not None and device.type != "cpu":
        from zerospeech_eval.torch_distances import TorchDistances

        return TorchDistances(distance, device)
    return WarpedDistances(distance)


def _score(task: Task, data: Dataset, cells: Cells, labels: Mapping[str, np.ndarray]) -> Score:
    if not len(cells.roles):
        same = f"one {' and '.join(task.by)}" if task.by else "all"
        wants = (
            f"two of {task.on} and one of them again, by one and by another {' and '.join(task.across)}, in {same}"
            if task.across
            else f"two tokens of one {task.on} and one of another, in {same}"
        )
        there = ", ".join(f"{len(data.label(c).names)} of {c}" for c in (task.on, *task.by, *task.across))
        raise UserError(
            f"the items make no {'across' if task.across else 'within'} cell: it takes {wants}, and there are "
            f"{len(data)} tokens, {there}"
            + ("; --context any compares across contexts" if "context" in task.by else "")
        )
    return make_score(task, data, cells, labels)
