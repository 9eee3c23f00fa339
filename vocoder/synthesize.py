"""Turn a file of units into a folder of WAVs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textless.audio import io
from textless.audio.batches import bucket
from textless.audio.manifest import Skipped, Utterance, read_manifest, write_skipped
from textless.distributed import file_world, my_shards, shard_slice
from textless.files import sha256, sha256_file, shard_paths
from textless.progress import say, track
from units.files import Units, read_units
from units.identity import require_same
from vocoder.files import SynthesisFolder
from vocoder.model import weights_sha256
from vocoder.vocoder import MAX_FRAMES, Vocoder, load_vocoder


@dataclass(frozen=True)
class Voices:
    """Who speaks: one name for all, or each utterance's own speaker where it is known."""

    name: str | None = None
    manifest: Path | None = None

    def choose(self, utterances: Sequence[Units], vocoder: Vocoder) -> dict[str, str]:
        """Speaker of every utterance id. Without a name and a known speaker it is the vocoder's first; that is said.

        Raises:
            UserError: `name` is not a speaker of the vocoder.
        """
        if self.name is not None:
            vocoder.speaker_index(self.name)
            return {item.id: self.name for item in utterances}
        default = vocoder.speakers[0]
        if self.manifest is None:
            if len(vocoder.speakers) > 1:
                say(f"all utterances are spoken by {default}, the first of {len(vocoder.speakers)} speakers")
            return {item.id: default for item in utterances}
        own = {source.id: source.speaker for source in read_manifest(self.manifest)}
        chosen = {item.id: own.get(item.id) or "" for item in utterances}
        foreign = [utterance_id for utterance_id, speaker in chosen.items() if speaker not in vocoder.speakers]
        if foreign:
            say(
                f"{len(foreign)} of {len(utterances)} utterances have no speaker that the vocoder knows, "
                f"first {foreign[0]!r}; {default} speaks them"
            )
        return chosen | dict.fromkeys(foreign, default)


def synthesize_files(
    units_path: Path,
    out: Path,
    model: Path,
    *,
    voices: Voices,
    predict_durations: bool = False,
    speed: float = 1.0,
    device_name: str = "auto",
    force: bool = False,
    n_shards: int | None = None,
) -> None:
    """Write `out/<id>.wav` for every utterance, and `out/manifest.tsv`; what is there already is kept.

    Raises:
        UserError: units of another quantizer, an unknown speaker, or `out` holds something else.
    """
    file = read_units(units_path)
    vocoder = load_vocoder(model, device_name)
    require_same(vocoder.quantizer, file.quantizer, f"the vocoder {model}", str(units_path))
    speakers = voices.choose(file.utterances, vocoder)
    count = n_shards or file_world().size
    folder = SynthesisFolder(out, count)
    for item in file.utterances:
        folder.wav(item.id)  # refuses bad ids before any work
    recipe = {
        "model": weights_sha256(model),
        "units": sha256(*(sha256_file(path).encode() for path in shard_paths(units_path))),
        "speakers": sha256(*(f"{key}\t{name}\n".encode() for key, name in speakers.items())),
        "predict_durations": predict_durations,
        "speed": speed,
        "shards": count,
    }
    folder.claim(recipe, force=force)
    settings = {"predict_durations": predict_durations, "speed": speed}
    for index in my_shards(count):
        share = shard_slice(file.utterances, index, count)
        if force:
            folder.forget(index, [item.id for item in share])
        if folder.shard_manifest(index).exists():
            say(f"{folder.shard_manifest(index)} is finished; nothing to do (--force makes it again)")
            continue
        _write_shard(vocoder, folder, index, share, speakers, settings)
    folder.join()


def _write_shard(
    vocoder: Vocoder,
    folder: SynthesisFolder,
    index: int,
    share: Sequence[Units],
    speakers: dict[str, str],
    settings: dict[str, Any],
) -> None:
    waiting = [item for item in share if item.units and not folder.wav(item.id).exists()]
    clipped = samples = 0
    batches = bucket([item.n_frames for item in waiting], MAX_FRAMES)
    for batch in track(batches, "synthesizing"):
        items = [waiting[i] for i in batch]
        waveforms = vocoder.synthesize(items, [speakers[item.id] for item in items], **settings)
        for item, waveform in zip(items, waveforms, strict=True):
            io.save(folder.wav(item.id), waveform)
            clipped += int((waveform.abs() > 1).sum())
            samples += len(waveform)
    silent = [Skipped(item.id, "it has no units") for item in share if not item.units]
    write_skipped(folder.shard_skipped(index), silent)
    folder.finish(index, [_row(folder, item.id, speakers[item.id]) for item in share if item.units])
    kept = len(share) - len(silent) - len(waiting)
    say(
        f"{folder.directory}: {len(waiting)} utterances, {samples / io.SAMPLE_RATE:.1f} s"
        + (f"; {kept} were there already" if kept else "")
        + (f"; {len(silent)} without units skipped, see skipped.tsv" if silent else "")
        + (f"; {clipped} samples clipped ({100 * clipped / samples:.3f} %)" if clipped else "")
    )


def _row(folder: SynthesisFolder, utterance_id: str, speaker: str) -> Utterance:
    path = folder.wav(utterance_id)
    return Utterance(utterance_id, str(path.relative_to(folder.directory)), io.info(path).n_samples, speaker)
