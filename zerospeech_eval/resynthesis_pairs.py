"""Which recording is the resynthesis of which: two folders or manifests, by utterance id or relative path."""

from dataclasses import dataclass
from pathlib import Path

import torch

from textless.audio import io
from textless.audio.manifest import Manifest, Skipped, Utterance, id_of, load_or_skip, read_manifest
from textless.errors import AudioError, UserError
from textless.files import require
from zerospeech_eval.names import listed

MANIFEST_NAME = "manifest.tsv"
SHORTEST_SECONDS = 0.1
SILENCE = 10 ** (-70 / 20)  # largest sample of a recording that counts as silent


@dataclass(frozen=True)
class Pair:
    """A recording and its resynthesis."""

    original: Utterance
    resynthesis: Utterance

    @property
    def id(self) -> str:
        """The original's id."""
        return self.original.id


@dataclass(frozen=True)
class Pairs:
    """Recordings that have a resynthesis, and how many of either side have no partner."""

    originals: Manifest
    resyntheses: Manifest
    pairs: tuple[Pair, ...]
    only_original: int
    only_resynthesis: int
    skipped: list[Skipped]  # files that no header could be read of

    def load(self, pair: Pair) -> tuple[torch.Tensor, torch.Tensor] | Skipped:
        """Both waveforms at 16 kHz, or why they cannot be compared."""
        waveforms = []
        for manifest, utterance in ((self.originals, pair.original), (self.resyntheses, pair.resynthesis)):
            waveform = load_or_skip(manifest, utterance)
            where = str(manifest.audio_path(utterance))
            if isinstance(waveform, Skipped):
                return Skipped(where, waveform.reason)
            if len(waveform) < SHORTEST_SECONDS * io.SAMPLE_RATE:
                seconds = len(waveform) / io.SAMPLE_RATE
                return Skipped(where, f"{seconds:.3f} s are too short, {SHORTEST_SECONDS} s are needed")
            if float(waveform.abs().max()) <= SILENCE:
                return Skipped(where, "it is silent")
            waveforms.append(waveform)
        return waveforms[0], waveforms[1]

    def sample_rates(self, pair: Pair) -> tuple[int, int]:
        """Sample rates of the two files, in Hz."""
        original = io.info(self.originals.audio_path(pair.original))
        return original.sample_rate, io.info(self.resyntheses.audio_path(pair.resynthesis)).sample_rate


def find_pairs(original: Path, resynthesis: Path) -> Pairs:
    """Pair recordings of equal ids; those left over, of equal relative paths without extension.

    Args:
        original: a manifest, or a folder (its `manifest.tsv` if it has one, else all audio files below it).
        resynthesis: likewise.

    Raises:
        UserError: there is no such folder, or no recording in common.
    """
    skipped: list[Skipped] = []
    originals, resyntheses = (list_recordings(path, skipped) for path in (original, resynthesis))
    by_id = {u.id: u for u in resyntheses}
    found = {u.id: by_id[u.id] for u in originals if u.id in by_id}
    taken = {u.id for u in found.values()}
    by_path = {id_of(u.path): u for u in resyntheses if u.id not in taken}
    pairs = []
    for utterance in originals:
        partner = found.get(utterance.id) or by_path.pop(id_of(utterance.path), None)
        if partner is not None:
            pairs.append(Pair(utterance, partner))
    if not pairs:
        raise UserError(
            f"{original} and {resynthesis} have no recording in common: the first holds "
            f"{listed((u.id for u in originals), 2)}, the second {listed((u.id for u in resyntheses), 2)}; give equal "
            "relative paths, or manifests with equal ids"
        )
    left = len(originals) - len(pairs), len(resyntheses) - len(pairs)
    return Pairs(originals, resyntheses, tuple(pairs), *left, skipped)


def list_recordings(path: Path, skipped: list[Skipped]) -> Manifest:
    """Recordings of a manifest or a folder; `skipped` receives the files that are no audio.

    Raises:
        UserError: there is none.
    """
    manifest = require(path, "folder or manifest of recordings")
    if path.is_dir():
        if not (path / MANIFEST_NAME).exists():
            return _scan(path, skipped)
        manifest = path / MANIFEST_NAME
    found = read_manifest(manifest)
    if not len(found):
        raise UserError(f"{manifest} lists no recordings")
    return found


def _scan(directory: Path, skipped: list[Skipped]) -> Manifest:
    """Audio files below a folder, by their headers alone: they are decoded once, when they are compared."""
    utterances = []
    for path in sorted(directory.rglob("*")):
        relative = path.relative_to(directory)
        if path.suffix.lower() not in io.EXTENSIONS or any(part.startswith(".") for part in relative.parts):
            continue
        try:
            utterances.append(Utterance(id_of(relative.as_posix()), relative.as_posix(), io.info(path).n_samples))
        except AudioError as error:
            skipped.append(Skipped(str(path), str(error)))
    if not utterances:
        raise UserError(f"no audio files below {directory} (looked for {', '.join(sorted(io.EXTENSIONS))})")
    return Manifest(directory, tuple(utterances))
