"""ABX of embeddings whose files are the tokens, as in the ZeroSpeech challenges of 2019 and 2020 (TTS without T).

Every file is cut to one token before it is embedded, at whatever rate, so a token is all of its file. Across speakers,
averaged as ABXpy does.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from textless.corpora.items import Item
from zerospeech_eval.abx import evaluate
from zerospeech_eval.abx_score import Score
from zerospeech_eval.datasets import make_dataset
from zerospeech_eval.names import find_ids
from zerospeech_eval.task import zerospeech_task
from zerospeech_eval.token_distances import Distance

Name = Literal["dtw_cosine", "dtw_kl", "levenshtein"]
DISTANCES: dict[str, Distance] = {"dtw_cosine": "angular", "dtw_kl": "kl_abxpy", "levenshtein": "levenshtein"}


def precut_abx(
    items: Iterable[Item],
    embeddings: Mapping[str, np.ndarray],
    distance: Name,
    *,
    max_size_group: int | None = None,
    seed: int = 0,
) -> Score:
    """ABX error rate across speakers.

    Args:
        items: tokens; their times are not used.
        embeddings: `(T, D)` by file, numbers or integer codes.
        distance: `levenshtein` compares sequences of symbols, a symbol being a distinct row.
        max_size_group: see `task.Task`.
        seed: of the sampling.

    Raises:
        UserError: embeddings are missing or unusable, or no cell can be built.
    """
    items = list(items)
    files = sorted({item.file for item in items})
    found = {file: id_ for file, id_ in zip(files, find_ids(embeddings, files), strict=True) if id_ is not None}
    arrays = {file: np.asarray(embeddings[id_]) for file, id_ in found.items()}
    if distance == "levenshtein":
        arrays = _codes(arrays)
    lengths = {file: len(array) for file, array in arrays.items()}
    whole = [replace(item, onset="0", offset=str(lengths.get(item.file, 1))) for item in items]
    data = make_dataset(whole, arrays, "1")
    task = zerospeech_task("across", averaging="abxpy", max_size_group=max_size_group, seed=seed)
    return evaluate({"across": task}, data, DISTANCES[distance])["across"]


def _codes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rows as numbers `(T, 1)`, equal for equal rows of any file."""
    numbers: dict[bytes, int] = {}
    return {
        file: np.array(
            [[numbers.setdefault(row.tobytes(), len(numbers))] for row in array.astype(np.float64) + 0.0],
            dtype=np.int64,
        ).reshape(-1, 1)
        for file, array in arrays.items()
    }
