"""Turn a folder of recordings into a manifest, decoding every file once so that later steps meet no surprise."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from textless.audio import io
from textless.audio.manifest import Manifest, Skipped, Utterance, id_of
from textless.errors import AudioError, UserError
from textless.progress import track

SpeakerFrom = Literal["none", "parent", "prefix"]


def scan(directory: Path, speaker_from: SpeakerFrom = "none") -> tuple[Manifest, list[Skipped]]:
    """Find every audio file below `directory`, in the order of their paths.

    Args:
        directory: searched recursively; files and folders whose name begins with a dot are passed over.
        speaker_from: `parent` takes the name of the file's folder, `prefix` the file name up to the first `-` or `_`.

    Returns:
        The manifest of usable files (n_samples at their own rate), and the files that cannot be used.

    Raises:
        UserError: there is no such directory, no audio file in it, or none that can be used.
    """
    if not directory.is_dir():
        raise UserError(f"not a directory: {directory}")
    paths = sorted(
        path
        for path in directory.rglob("*")
        if path.suffix.lower() in io.EXTENSIONS
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        and not path.is_dir()
    )
    if not paths:
        raise UserError(f"no audio files below {directory} (looked for {', '.join(sorted(io.EXTENSIONS))})")

    def examine(path: Path) -> Utterance | Skipped:
        relative = path.relative_to(directory).as_posix()
        try:
            if "\t" in relative or "\n" in relative:
                raise AudioError("its name contains a tab or a line break, which a manifest cannot hold")
            io.load(path)
            return Utterance(id_of(relative), relative, io.info(path).n_samples, _speaker(path, speaker_from))
        except AudioError as error:
            return Skipped(relative, str(error))

    with ThreadPoolExecutor(4) as pool:
        found = list(track(pool.map(examine, paths), "scanning", total=len(paths)))
    skipped = [item for item in found if isinstance(item, Skipped)]
    usable = tuple(item for item in found if isinstance(item, Utterance))
    if not usable:
        raise UserError(
            f"none of the {len(paths)} audio files below {directory} can be used; first: {skipped[0].reason}"
        )
    return Manifest(directory, usable), skipped


def _speaker(path: Path, speaker_from: SpeakerFrom) -> str | None:
    match speaker_from:
        case "none":
            return None
        case "parent":
            return path.parent.name
        case "prefix":
            return path.stem.replace("_", "-").split("-")[0]
