"""The data of a benchmark: gold lists, item files and alignments by the names the ZeroSpeech toolbox gives them.

A dataset is a folder that the toolbox has installed, with its `index.json`, or one of your own: a folder for every
subset, with the files named in `FILES`. It may lack subsets; what it lacks is not judged.
"""

from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from textless.errors import UserError
from textless.files import read_json, require

FILES = MappingProxyType(
    {
        "gold": ("gold.csv",),
        "pairs": ("pairs.csv",),
        "triphone_item_file": ("triphone.item",),
        "phoneme_item_file": ("phoneme.item",),
        "abx_1s_item": ("1s.item",),
        "abx_10s_item": ("10s.item",),
        "abx_120s_item": ("120s.item",),
        "alignment_phones": ("phones.phn", "alignments.tsv"),
        "alignment_words": ("words.wrd", "words.tsv"),
        "embedding_filelist": ("embedding_filelist.txt",),
        "bitrate_filelist": ("bitrate_filelist.txt",),
        "recording_filelist": ("recording_filelist.txt",),
        "abx_item": ("abx.item",),
    }
)


class Dataset:
    """Finds the files of subsets.

    Raises:
        UserError: the folder is not there, or its index is malformed.
    """

    def __init__(self, root: Path) -> None:
        self.root = require(root, "dataset")
        index = root / "index.json"
        self._subsets = self._read_index(index) if index.exists() else None

    @staticmethod
    def _read_index(path: Path) -> dict[str, dict[str, Any]]:
        values = read_json(path)
        try:
            return {name: dict(subset["items"]) for name, subset in values["subsets"].items()}
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{path} is no index of a ZeroSpeech dataset: it needs subsets with items") from error

    def find(self, subset: str, item: str) -> Path | None:
        """Where an item lies, if it is there."""
        if self._subsets is None:
            candidates = [self.root / subset / name for name in FILES.get(item, ())]
            return next((path for path in candidates if path.exists()), None)
        entry = self._subsets.get(subset, {}).get(item)
        if not isinstance(entry, dict) or "file" not in entry:
            return None
        return require(self._absolute(entry["file"], entry), f"{item} of {subset}")

    def need(self, subset: str, item: str) -> Path:
        """Where an item lies.

        Raises:
            UserError: it is not there.
        """
        path = self.find(subset, item)
        if path is None:
            expected = f"{subset}/{FILES[item][0]}" if self._subsets is None else f"{item} of {subset} in index.json"
            raise UserError(f"the dataset {self.root} has no {expected}")
        return path

    def stems(self, subset: str, item: str) -> list[str]:
        """Names without extension of a list of files, such as `wav_list`; empty if there is none."""
        entry = (self._subsets or {}).get(subset, {}).get(item)
        files = entry.get("files_list", []) if isinstance(entry, dict) else []
        return [PurePosixPath(file).stem for file in files]

    def _absolute(self, file: str, entry: dict[str, Any]) -> Path:
        return self.root / file if entry.get("relative_path", True) else Path(file)
