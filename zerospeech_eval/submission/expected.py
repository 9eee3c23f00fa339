"""Which recordings a part of a submission must answer, by the dataset."""

from pathlib import Path, PurePosixPath

from textless.corpora.items import read_items
from textless.files import require
from zerospeech_eval.pairs import read_table
from zerospeech_eval.submission.dataset import Dataset
from zerospeech_eval.submission.layout import Part
from zerospeech_eval.transcribed_speech import read_tiers


def is_judged(part: Part, dataset: Dataset) -> bool:
    """Whether the dataset holds what a part is to be judged by."""
    return any(dataset.find(part.subset, item) is not None for item in part.items)


def expected_names(part: Part, dataset: Dataset) -> list[str] | None:
    """Names without folder and extension, in the order of the dataset; None where the dataset does not say.

    Raises:
        UserError: a file of the dataset is malformed.
    """
    match part.kind:
        case "scores":
            gold = dataset.find(part.subset, "gold")
            listed = dataset.stems(part.subset, "wav_list")
            return _gold_names(gold) if gold is not None else listed or None
        case "features" if "gold" in part.items:
            kind = part.name.rpartition("/")[2]
            gold = dataset.find(part.subset, "gold")
            listed = dataset.stems(part.subset, f"{kind}_wav_list")
            return _gold_names(gold, kind) if gold is not None else listed or None
        case "features":
            files = {file for item in part.items for file in _item_names(dataset.find(part.subset, item))}
            return dataset.stems(part.subset, "wav_list") or sorted(files) or None
        case "embeddings" | "recordings":
            path = dataset.find(part.subset, part.items[0])
            return _listed_names(path) if path is not None else None
        case "units":
            path = dataset.find(part.subset, "alignment_phones")
            return list(read_tiers(path)) if path is not None else None
        case _:
            return None


def _gold_names(path: Path, kind: str | None = None) -> list[str]:
    rows = read_table(path, ("filename",) if kind is None else ("filename", "type"), "gold list")
    return [PurePosixPath(row["filename"]).name for row in rows if kind is None or row["type"] == kind]


def _item_names(path: Path | None) -> set[str]:
    return {PurePosixPath(item.file).name for item in read_items(path)} if path is not None else set()


def _listed_names(path: Path) -> list[str]:
    lines = require(path, "file list").read_text(encoding="utf-8-sig").splitlines()
    return [PurePosixPath(line.split()[0]).stem for line in lines if line.strip()]
