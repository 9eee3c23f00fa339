"""Auxiliary targets of wav2vec-U 2.0: for every frame of the encoder, the cluster of the MFCC at that time.

As Liu et al. 2022, section 3.3: 64 clusters of 39-dimensional MFCC every 10 ms, subsampled to the encoder's frame rate.
They tie what a generator sees to the sound; nothing of them is a label. This module owns their folder:

    store.json, shard-*   feature store of (T, 1) integers, T as in the features they belong to
    quantizer/            the clusters
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from textless import distributed
from textless.audio.manifest import Manifest
from textless.encoders.encoder import load_encoder
from textless.errors import UserError
from textless.features.extract import store_features
from textless.features.store import HEADER_NAME, FeatureStore, is_finished, read_header, write_header, write_shard
from textless.files import remove
from textless.progress import track
from units.config import KMeansConfig
from units.fit import fit_quantizer
from units.quantizer import Quantizer, load_quantizer
from unsup_asr.speech_segments import QUANTIZER

CLUSTERS = 64
MFCC = "mfcc@100"
MFCC_STORE = "mfcc"  # below the folder while it is being made


class AuxiliaryTargets:
    """A finished folder; `targets[utterance_id]` is `(T,)` int64."""

    def __init__(self, directory: Path) -> None:
        self._store = FeatureStore(directory)
        self.n_clusters = len(load_quantizer(directory / QUANTIZER).codebook)

    def __getitem__(self, utterance_id: str) -> np.ndarray:
        return np.asarray(self._store[utterance_id][:, 0], dtype=np.int64)

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store)


def is_complete(directory: Path) -> bool:
    """Whether there is nothing left to do; what the targets were made of goes last."""
    return (directory / HEADER_NAME).is_file() and not (directory / MFCC_STORE).exists()


def write_auxiliary_targets(
    manifest: Manifest, features: Path, out: Path, *, clusters: int = CLUSTERS, seed: int = 0
) -> None:
    """Write the folder; one that was begun is continued, by all processes of a process group together.

    Args:
        manifest: the recordings whose features these are.
        features: their feature store, which gives the number of frames of each.
        out: folder to write.
        clusters: K.
        seed: of k-means.

    Raises:
        UserError: an utterance of the features is not in the manifest, or has no MFCC.
    """
    if is_complete(out):
        return
    store_features(manifest, load_encoder(MFCC), out / MFCC_STORE)
    distributed.barrier()
    if not (out / QUANTIZER / "config.json").is_file():
        config = KMeansConfig.parse({"k": clusters, "restarts": 3, "seed": seed}, "auxiliary targets")
        if fit_quantizer(out / MFCC_STORE, out / QUANTIZER, config) is None:
            raise SystemExit(0)
    quantizer = load_quantizer(out / QUANTIZER)
    frames, mfcc = FeatureStore(features), FeatureStore(out / MFCC_STORE)
    if absent := [utterance_id for utterance_id in frames if utterance_id not in mfcc]:
        raise UserError(f"{len(absent)} utterances of {features} are not in the manifest, first {absent[0]!r}")
    if distributed.world().rank == 0:
        identity = quantizer.identity
        header = replace(frames.header, encoder=f"{MFCC} clusters", encoder_sha256=identity.sha256, dim=1)
        write_header(out, header)
    distributed.barrier()
    count = read_header(out).n_shards
    here = distributed.world()
    for index in track(range(here.rank, count, here.size), "auxiliary targets"):
        if not is_finished(out, index, count):
            ids = distributed.shard_slice(list(frames), index, count)
            made = {i: _targets(quantizer, mfcc[i], len(frames[i]), frames.header.frame_rate) for i in ids}
            write_shard(out, index, count, made)
    distributed.barrier()
    if here.rank == 0:
        remove(out / MFCC_STORE)


def _targets(quantizer: Quantizer, mfcc: np.ndarray, n_frames: int, frame_rate: float) -> np.ndarray:
    """Clusters of the MFCC `(T', 39)` nearest in time to each of the encoder's frames `(T, 1)`.

    Frame i of either lies around (i + ½) / rate; halfway between two, the earlier one counts, as every second MFCC does
    for an encoder at 50 Hz.
    """
    labels = quantizer.encode(torch.from_numpy(np.array(mfcc)))
    centres = (np.arange(n_frames) + 0.5) / frame_rate
    nearest = np.ceil(centres * quantizer.frame_rate - 1 - 1e-6).astype(int)  # of (j + ½) / rate
    return labels[np.clip(nearest, 0, len(labels) - 1), None].astype(np.int32)
