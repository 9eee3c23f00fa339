"""Run an encoder over a corpus: the stream of features that every consumer reads, and the verb that stores it.

Recordings are decoded ahead in threads, batched by length and bounded by total samples. Files that cannot be used are
passed over, counted and listed; a manifest that does not describe its files stops the work.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from textless import distributed
from textless.audio.batches import bucket
from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Skipped, Utterance, load_or_skip, write_skipped
from textless.encoders.encoder import LayerEncoder
from textless.encoders.speaker_sample import take_minute
from textless.errors import UserError
from textless.features import store
from textless.files import read_json, remove, sha256, shard_path, write_json
from textless.progress import say, track

SAMPLES_PER_BATCH = {  # by kind of device
    "cpu": 16_000 * 8,  # small enough for the activations of a batch to stay in the cache
    "cuda": 16_000 * 240,  # large enough to keep a GPU busy
}
SHARD_BYTES = 256 << 20
LOADERS = 2


def encode_utterances(
    manifest: Manifest, utterances: Sequence[Utterance], encoder: LayerEncoder, skipped: list[Skipped]
) -> Iterator[tuple[Utterance, torch.Tensor]]:
    """Yield every usable utterance with its features `(T, D)`, in an order of the batching's own.

    Args:
        manifest: where the recordings lie.
        utterances: which of them to encode.
        encoder: what encodes them.
        skipped: receives the recordings that cannot be used.
    """
    batches = bucket([u.n_samples for u in utterances], samples_per_batch(encoder))
    speakers = speaker_states(manifest, utterances, encoder)
    resampled = 0
    with ThreadPoolExecutor(LOADERS) as pool:

        def read(batch: list[int]) -> list[torch.Tensor | Skipped]:
            return [load_or_skip(manifest, utterances[index]) for index in batch]

        ahead = [pool.submit(read, batch) for batch in batches[:LOADERS]]
        for number, batch in enumerate(batches):
            loaded = ahead.pop(0).result()
            if number + LOADERS < len(batches):
                ahead.append(pool.submit(read, batches[number + LOADERS]))
            usable: list[tuple[Utterance, torch.Tensor]] = []
            resampled += sum(
                not isinstance(waveform, Skipped) and len(waveform) != utterances[index].n_samples
                for index, waveform in zip(batch, loaded, strict=True)
            )
            for index, waveform in zip(batch, loaded, strict=True):
                utterance = utterances[index]
                if isinstance(waveform, Skipped):
                    skipped.append(waveform)
                elif len(waveform) < encoder.min_samples:
                    reason = f"{len(waveform)} samples are less than one frame of {encoder.spec}"
                    skipped.append(Skipped(utterance.path, reason))
                else:
                    usable.append((utterance, waveform))
            if usable:
                states = [speakers[u.voice] for u, _ in usable] if speakers else None
                features = encoder.encode([waveform for _, waveform in usable], states)
                yield from ((utterance, frames) for (utterance, _), frames in zip(usable, features, strict=True))
    if resampled:
        say(f"{resampled} recordings of other sample rates were resampled to {SAMPLE_RATE} Hz for {encoder.spec}")


def samples_per_batch(encoder: LayerEncoder) -> int:
    """Largest padded batch for the device that an encoder runs on; longer recordings go alone."""
    return SAMPLES_PER_BATCH.get(encoder.device.type, SAMPLES_PER_BATCH["cpu"])


def speaker_states(
    manifest: Manifest, utterances: Sequence[Utterance], encoder: LayerEncoder
) -> dict[tuple[str, str], torch.Tensor]:
    """State of every speaker among `utterances`, for an encoder that adapts to speakers (empty for others).

    It is estimated from up to a minute of the speaker's recordings, in the order of the whole manifest, so that it does
    not depend on how the work is shared out.
    """
    if not encoder.adapts_to_speakers:
        return {}
    wanted = {u.voice for u in utterances}
    recordings: dict[tuple[str, str], list[Utterance]] = {}
    for utterance in manifest:
        recordings.setdefault(utterance.voice, []).append(utterance)
    states = {}
    for speaker in track(sorted(wanted), "speakers", len(wanted)):
        loaded = (load_or_skip(manifest, utterance) for utterance in recordings[speaker])
        usable = (w for w in loaded if not isinstance(w, Skipped) and len(w) >= encoder.min_samples)
        if heard := take_minute(usable):
            states[speaker] = encoder.speaker_state(heard)
    return states


def store_features(
    manifest: Manifest, encoder: LayerEncoder, directory: Path, *, n_shards: int | None = None, force: bool = False
) -> list[Skipped]:
    """Encode this process's shards of a corpus into a feature store; shards that are finished are kept.

    Args:
        manifest: the corpus.
        encoder: what encodes it.
        directory: the store; one that another encoder or corpus began is an error without `force`.
        n_shards: files to write; by default as many as keep a shard below 256 MiB, and one a process at least.
        force: start again.

    Returns:
        The recordings skipped by this process, also listed in `skipped.tsv` beside each shard.
    """
    header = _plan(manifest, encoder, n_shards)
    if directory.exists() and not force:
        header = _continue(directory, header, keep_shards=n_shards is None)
    elif directory.exists() and distributed.file_world().rank == 0:
        remove(directory)
    store.write_header(directory, header)
    skipped: list[Skipped] = []
    count = header.n_shards
    for index in distributed.my_shards(count):
        if store.is_finished(directory, index, count):
            continue
        share = distributed.shard_slice(manifest.utterances, index, count)
        passed_over: list[Skipped] = []
        stream = encode_utterances(manifest, share, encoder, passed_over)
        frames = {u.id: features.numpy() for u, features in track(stream, f"shard {index + 1}/{count}", len(share))}
        write_skipped(shard_path(directory / "skipped.tsv", index, count), passed_over)
        store.write_shard(directory, index, count, {u.id: frames[u.id] for u in share if u.id in frames})
        skipped += passed_over
    return skipped


def _plan(manifest: Manifest, encoder: LayerEncoder, n_shards: int | None) -> store.StoreHeader:
    if n_shards is None:
        seconds = sum(u.n_samples for u in manifest) / encoder.encoder.sample_rate
        size = seconds * encoder.frame_rate * encoder.dim * np.dtype(np.float32).itemsize
        n_shards = max(1, -(-int(size) // SHARD_BYTES), min(len(manifest), distributed.file_world().size))
    content = "".join(f"{u.id}\t{u.n_samples}\n" for u in manifest)
    return store.StoreHeader(
        encoder.spec, encoder.sha256, encoder.dim, encoder.frame_rate, n_shards, sha256(content.encode())
    )


def _continue(directory: Path, header: store.StoreHeader, *, keep_shards: bool) -> store.StoreHeader:
    """Header to go on with in a directory that exists; an empty one is as good as none."""
    # Another process may be writing the header just now: what lies there is looked at before the header is missed.
    is_occupied = not directory.is_dir() or any(not path.name.startswith(".") for path in directory.iterdir())
    if not (directory / store.HEADER_NAME).exists():
        if is_occupied:
            raise UserError(f"{directory} exists and is no feature store; give another output or --force")
        return header
    before = store.read_header(directory)
    if keep_shards:
        header = replace(header, n_shards=before.n_shards)
    if before != header:
        names = [name for name, value in vars(header).items() if value != getattr(before, name)]
        raise UserError(f"{directory} holds other features ({', '.join(names)} differ); give another output or --force")
    return header


def write_npy_folder(
    manifest: Manifest, encoder: LayerEncoder, directory: Path, *, force: bool = False
) -> list[Skipped]:
    """Encode this process's share of a corpus to one `<id>.npy` an utterance; files that exist are kept.

    Raises:
        UserError: the directory holds features of another encoder (its `encoder.json` tells) and `force` is not given.
    """
    label = {"encoder": encoder.spec, "encoder_sha256": encoder.sha256, "frame_rate": encoder.frame_rate}
    path = directory / "encoder.json"
    if force and distributed.file_world().rank == 0:
        remove(directory)
    if directory.exists() and any(directory.iterdir()) and (not path.exists() or read_json(path) != label):
        raise UserError(
            f"{directory} holds something other than features of {encoder.spec}; give another output or --force"
        )
    write_json(path, label)
    here = distributed.file_world()
    share = distributed.shard_slice(manifest.utterances, here.rank, here.size)
    share = [u for u in share if not (directory / f"{u.id}.npy").exists()]
    skipped: list[Skipped] = []
    for utterance, features in track(encode_utterances(manifest, share, encoder, skipped), "encoding", len(share)):
        store.write_npy(directory, utterance.id, features.numpy())
    write_skipped(shard_path(directory / "skipped.tsv", here.rank, here.size), skipped)
    return skipped
