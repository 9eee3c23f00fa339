"""Scores of features: abxLS and abx17."""

from collections.abc import Mapping
from pathlib import Path

from textless.corpora.items import read_items
from textless.features.store import FeatureFolder
from zerospeech_eval.abx import evaluate
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.frame_slices import FrameSlice
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.measures import Row, Scores
from zerospeech_eval.submission.params import Abx17Params, AbxParams, DistanceMode, FeatureParams
from zerospeech_eval.submission.params import SpeakerMode as Speakers
from zerospeech_eval.task import ContextMode, SpeakerMode, Task, zerospeech_task
from zerospeech_eval.token_distances import Distance

# Every figure of the leaderboards was computed with the frames that Libri-light takes.
FRAME_SLICE: FrameSlice = "librilight"
DISTANCES: dict[DistanceMode, Distance] = {
    "cosine": "angular",
    "euclidian": "euclidean",
    "euclidean": "euclidean",
    "kl": "kl",
    "kl_symmetric": "kl_symmetric",
}
CONTEXTS: dict[str, tuple[str, ContextMode]] = {
    "triphone-within": ("triphone_item_file", "within"),
    "phoneme-within": ("phoneme_item_file", "within"),
    "phoneme-any": ("phoneme_item_file", "any"),
}


def score_abx_ls(parts: Mapping[str, Path], dataset: Dataset, params: AbxParams) -> Scores:
    """ABX in every context that the parameters ask for; each item file is gone through once."""
    scores = Scores()
    rows: list[Row] = []
    contexts = [name for name in CONTEXTS if params.context in {"all", name}]
    for part, folder in parts.items():
        features = FeatureFolder(folder)
        for item in sorted({CONTEXTS[name][0] for name in contexts}):
            here = [name for name in contexts if CONTEXTS[name][0] == item]
            tasks = {
                f"{name} {mode}": task
                for name in here
                for mode, task in _tasks(params.speaker_mode, CONTEXTS[name][1], params).items()
            }
            found = _abx(dataset.need(part.replace("-", "_"), item), features, tasks, params)
            for key, error in found.items():
                context, _, mode = key.rpartition(" ")
                granularity, _, kind = context.partition("-")
                scores.add(context, **{f"{part} {mode}": 100 * error})
                rows.append(
                    {
                        "subset": part,
                        "speaker_mode": mode,
                        "context_mode": kind,
                        "granularity": granularity,
                        "score": error,
                        "pooling": "none",
                        "seed": params.seed,
                    }
                )
    scores.tables[f"{params.result_filename}.csv"] = rows
    return scores


def score_abx17(parts: Mapping[str, Path], dataset: Dataset, params: Abx17Params) -> Scores:
    """ABX by language and duration, and the mean over what there is."""
    scores = Scores()
    rows: list[Row] = []
    for part, folder in parts.items():
        language, _, duration = part.partition("/")
        tasks = _tasks(params.mode, "within", params)
        found = _abx(dataset.need(language, f"abx_{duration}_item"), FeatureFolder(folder), tasks, params)
        scores.add(language, **{f"{duration} {mode}": 100 * error for mode, error in found.items()})
        rows += [
            {"language": language, "duration": duration, "type": mode, "score": error} for mode, error in found.items()
        ]
    errors = [measure.value for measure in scores.measures if measure.value is not None]
    scores.add("all", mean=sum(errors) / len(errors))
    scores.tables[params.result_filename] = rows
    return scores


def _tasks(mode: Speakers, context: ContextMode, params: FeatureParams) -> dict[str, Task]:
    wanted: tuple[SpeakerMode, ...] = ("within", "across")
    return {
        speaker: zerospeech_task(
            speaker,
            context,
            max_size_group=params.max_size_group,
            max_x_across=params.max_x_across,
            seed=params.seed,
        )
        for speaker in wanted
        if mode in {"all", speaker}
    }


def _abx(items: Path, features: FeatureFolder, tasks: Mapping[str, Task], params: FeatureParams) -> dict[str, float]:
    data = make_dataset(read_items(items), features, params.frequency, frame_slice=FRAME_SLICE)
    # Libri-light's program, which scored the leaderboards, scales frames to unit length before any distance.
    scores = evaluate(tasks, data, DISTANCES[params.distance_mode], unit_length=True)
    return {name: score.value for name, score in scores.items()}
