"""Turn a file of units into a folder of WAVs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from textless.audio import io
from textless.audio.batches import bucket
from textless.audio.manifest import Skipped, Utterance, write_skipped
from textless.distributed import file_world, my_shards, shard_slice
from textless.errors import UserError
from textless.features.store import HEADER_NAME
from textless.files import sha256, sha256_file, shard_paths
from textless.progress import say, track
from textless.training.precision import Precision
from units.files import Units, UnitsFile, read_units
from units.identity import require_same
from vocoder.casting import Cast, Casting, Contours
from vocoder.files import SynthesisFolder, write_pieces
from vocoder.loudness import gain_to
from vocoder.model import weights_sha256
from vocoder.pitch import not_predicted
from vocoder.vocoder import MAX_FRAMES, Vocoder, load_vocoder


@dataclass(frozen=True)
class Delivery:
    """How the utterances are said.

    Attributes:
        predict_durations: also where durations are known.
        speed: 2 speaks twice as quickly.
        semitones: added to the pitch, for vocoders with raw pitch or an F0 quantizer.
        loudness: of every utterance in LUFS; None: as it comes.
        predict_pitch: for vocoders with pitch; none is read then.
    """

    predict_durations: bool = False
    speed: float = 1.0
    semitones: float = 0.0
    loudness: float | None = None
    predict_pitch: bool = False


@dataclass
class Tally:
    """What was written."""

    utterances: int = 0
    samples: int = 0
    clipped: int = 0
    unscaled: int = 0  # silent or too short to have a loudness


def synthesize_files(
    units_path: Path,
    out: Path,
    model: Path,
    *,
    casting: Casting,
    delivery: Delivery | None = None,
    f0: Path | None = None,
    precision: Precision = "fp32",
    device_name: str = "auto",
    force: bool = False,
    n_shards: int | None = None,
) -> None:
    """Write `out/<id>.wav` for every utterance, and `out/manifest.tsv`; what is there already is kept.

    Args:
        units_path: a units file.
        out: a folder; `files.py` says what lies in it.
        model: a vocoder's directory.
        casting: who speaks.
        delivery: how.
        f0: store of the pitch of the recordings, for vocoders with pitch.
        precision: see `Vocoder`.
        device_name: auto, cpu, cuda or cuda:N.
        force: replace what is there.
        n_shards: None: one a process.

    Raises:
        UserError: units or pitch of another quantizer, an unknown speaker, or `out` holds something else.
    """
    file = read_units(units_path)
    vocoder = load_vocoder(model, device_name, precision)
    require_same(vocoder.quantizer, file.quantizer, f"the vocoder {model}", str(units_path))
    how = delivery or Delivery()
    studio = Studio(vocoder, file, casting, how, f0)
    count = n_shards or file_world().size
    folder = SynthesisFolder(out, count)
    for item in file.utterances:
        folder.wav(item.id)  # refuses bad ids before any work
    recipe = {
        "model": weights_sha256(model),
        "units": sha256(*(sha256_file(path).encode() for path in shard_paths(units_path))),
        "speakers": sha256(*(f"{key}\t{name}\n".encode() for key, name in studio.cast.speakers.items())),
        "embeddings": None if casting.embeddings is None else sha256_file(casting.embeddings),
        "style": casting.style,
        "f0": None if f0 is None else sha256_file(f0 / HEADER_NAME),
        "sources": None if casting.sources is None else sha256_file(casting.sources),
        "precision": precision,
        **vars(how),
        "shards": count,
    }
    folder.claim(recipe, force=force)
    for index in my_shards(count):
        share = shard_slice(file.utterances, index, count)
        if force:
            folder.forget(index, [item.id for item in share])
        if folder.shard_manifest(index).exists():
            say(f"{folder.shard_manifest(index)} is finished; nothing to do (--force makes it again)")
            continue
        _write_shard(studio, folder, index, share)
    folder.join()


class Studio:
    """A vocoder, who speaks with it, and how."""

    def __init__(
        self, vocoder: Vocoder, file: UnitsFile, casting: Casting, delivery: Delivery, f0: Path | None
    ) -> None:
        if casting.sources is not None and f0 is None:
            raise UserError(f"{casting.sources} says whose pitch is read, but none is read: it goes with --f0")
        self.vocoder = vocoder
        self.delivery = delivery
        self.cast = Cast(casting, file.utterances, vocoder)
        if not delivery.predict_pitch:
            self.contours = Contours.of(vocoder, file, f0, casting.source_speakers(), delivery.semitones)
        elif f0 is not None:
            raise UserError(f"pitch is either read from {f0} or predicted: leave out --f0 or --pitch-from model")
        elif vocoder.model.pitch_predictor is None and file.utterances:
            raise not_predicted(file.utterances[0].id)
        else:
            self.contours = Contours(None, {})

    def record(self, folder: SynthesisFolder, items: Sequence[Units], tally: Tally) -> None:
        """Write the WAVs of some utterances: a batch, or a single one of any length."""
        how = self.delivery
        voices = [self.cast.voice(item.id, self.contours.level(item)) for item in items]
        if how.predict_pitch:  # not what the units file has
            items = [replace(item, streams={}) for item in items]
        pitch = [self.contours.pitch(item) for item in items]
        # A contour of the store is shifted already, before an F0 quantizer makes codes of it.
        semitones = how.semitones if self.contours.intonation is None else 0.0
        if len(items) == 1 and items[0].n_frames > MAX_FRAMES and how.loudness is None:
            pieces = self.vocoder.pieces(
                items[0],
                voices[0],
                predict_durations=how.predict_durations,
                speed=how.speed,
                pitch=pitch[0],
                semitones=semitones,
                predict_pitch=how.predict_pitch,
            )
            self._write(folder.wav(items[0].id), pieces, tally)
            return
        waveforms = self.vocoder.synthesize(
            items,
            voices,
            predict_durations=how.predict_durations,
            speed=how.speed,
            pitch=pitch,
            semitones=semitones,
            predict_pitch=how.predict_pitch,
        )
        for item, waveform in zip(items, waveforms, strict=True):
            gain = 1.0 if how.loudness is None else gain_to(waveform, how.loudness)
            tally.unscaled += gain is None
            self._write(folder.wav(item.id), [waveform * (1.0 if gain is None else gain)], tally)

    @staticmethod
    def _write(path: Path, pieces: Iterable[torch.Tensor], tally: Tally) -> None:
        samples, clipped = write_pieces(path, pieces)
        tally.utterances += 1
        tally.samples += samples
        tally.clipped += clipped


def _write_shard(studio: Studio, folder: SynthesisFolder, index: int, share: Sequence[Units]) -> None:
    waiting = [item for item in share if item.units and not folder.wav(item.id).exists()]
    tally = Tally()
    batches = bucket([item.n_frames for item in waiting], MAX_FRAMES)
    for batch in track(batches, "synthesizing"):
        studio.record(folder, [waiting[i] for i in batch], tally)
    silent = [Skipped(item.id, "it has no units") for item in share if not item.units]
    write_skipped(folder.shard_skipped(index), silent)
    folder.finish(index, [_row(folder, item.id, studio.cast.speakers[item.id]) for item in share if item.units])
    kept = len(share) - len(silent) - len(waiting)
    say(
        f"{folder.directory}: {tally.utterances} utterances, {tally.samples / io.SAMPLE_RATE:.1f} s"
        + (f"; {kept} were there already" if kept else "")
        + (f"; {len(silent)} without units skipped, see skipped.tsv" if silent else "")
        + (f"; {tally.unscaled} silent or under 0.4 s, their loudness is as it came" if tally.unscaled else "")
        + (f"; {tally.clipped} samples clipped ({100 * tally.clipped / tally.samples:.3f} %)" if tally.clipped else "")
    )


def _row(folder: SynthesisFolder, utterance_id: str, speaker: str) -> Utterance:
    path = folder.wav(utterance_id)
    return Utterance(utterance_id, str(path.relative_to(folder.directory)), io.info(path).n_samples, speaker)
