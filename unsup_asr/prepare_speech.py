"""Prepare speech: project its features, find clusters, cut where the cluster changes, and take the mean of each piece.

As for wav2vec-U 1.0 (Baevski et al. 2021, section 4.1): PCA of the features without whitening, k-means with 128 codes
on the features themselves, a segment for every run of one code. With `segments_per_second`, changes of cluster cost
something instead, just so much that there are as many segments as wanted (see `units.segment`).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.numpy

from textless.errors import UserError
from textless.features.store import FeatureStore, StoreHeader, write_header, write_shard
from textless.files import atomic_directory, atomic_write, refuse_overwrite, write_json
from textless.progress import say, track
from textless.provenance import make_header
from units.config import KMeansConfig
from units.fit import fit_quantizer
from units.quantizer import Quantizer, load_quantizer
from unsup_asr.speech_segments import (
    FORMAT,
    HEADER,
    PCA,
    QUANTIZER,
    SEGMENTS,
    SPANS,
    VERSION,
    Segments,
    segment_means,
)

SHARD_BYTES = 256 << 20
PROBED = 200  # utterances by which the price of a change is found
HALVINGS = 30


@dataclass(frozen=True)
class SpeechOptions:
    """How speech is cut.

    Attributes:
        pca: numbers a segment is described by; no more than the features have.
        clusters: K.
        segments_per_second: None: a segment for every change of cluster.
        restarts: of k-means.
        seed: of k-means.
    """

    pca: int = 512
    clusters: int = 128
    segments_per_second: float | None = None
    restarts: int = 3
    seed: int = 0


def prepare_speech(features: Path, out: Path, options: SpeechOptions, *, force: bool = False) -> dict[str, float]:
    """Write the folder of `unsup_asr.speech_segments`.

    Args:
        features: a feature store (`textless encoder features`), of speech without silences.
        out: folder to write. The quantizer is fitted in `OUT.quantizer`, where a stopped fit goes on.
        options: see there.
        force: replace it.

    Returns:
        Utterances, segments, and segments a second.

    Raises:
        UserError: no such store, too few frames, or `out` exists.
    """
    refuse_overwrite(out, force=force)
    store = FeatureStore(features)
    fitted = out.with_name(f"{out.name}.quantizer")
    if not (fitted / "config.json").exists():
        settings = {"k": options.clusters, "restarts": options.restarts, "seed": options.seed}
        config = KMeansConfig.parse(settings, "the clusters of segments")
        if fit_quantizer(features, fitted, config) is None:
            raise SystemExit(0)
    quantizer = load_quantizer(fitted)
    mean, components = principal_components(store, options.pca)
    if options.segments_per_second is not None:
        quantizer = replace(quantizer, duration_penalty=penalty_for(store, quantizer, options.segments_per_second))
    with atomic_directory(out) as temporary:
        n_segments = _write(store, quantizer, mean, components, temporary)
        fitted.rename(temporary / QUANTIZER)
        with atomic_write(temporary / PCA, "wb") as file:
            file.write(safetensors.numpy.save({"mean": mean, "components": components}))
        rate = n_segments / (store.n_frames / store.header.frame_rate)
        summary = {"utterances": len(store), "segments": n_segments, "segments_per_second": rate}
        header = make_header(
            FORMAT,
            VERSION,
            encoder=store.header.encoder,
            encoder_sha256=store.header.encoder_sha256,
            clusters=options.clusters,
            duration_penalty=quantizer.duration_penalty,
            options=asdict(options),
            **summary,
        )
        write_json(temporary / HEADER, header)
    return summary


def principal_components(store: FeatureStore, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean `(D,)` and the `(d, D)` directions of most variance of all frames, in order; d = min(dim, D).

    Signs are fixed, so that the result depends on the data alone.
    """
    total = np.zeros(store.header.dim)
    products = np.zeros((store.header.dim, store.header.dim))
    for utterance_id in track(store, "PCA", len(store)):
        frames = np.asarray(store[utterance_id], dtype=np.float64)
        total += frames.sum(axis=0)
        products += frames.T @ frames
    mean = total / max(1, store.n_frames)
    _, vectors = np.linalg.eigh(products / max(1, store.n_frames) - np.outer(mean, mean))
    components = vectors.T[::-1][:dim]
    largest = np.abs(components).argmax(axis=1)
    components = components * np.sign(components[np.arange(len(components)), largest])[:, None]
    return mean.astype(np.float32), np.ascontiguousarray(components, dtype=np.float32)


def penalty_for(store: FeatureStore, quantizer: Quantizer, rate: float) -> float:
    """The price of a change at which there are `rate` segments a second, by halving an interval.

    Raises:
        UserError: even for nothing there are fewer.
    """
    probed = [store[utterance_id] for utterance_id in list(store)[:: max(1, len(store) // PROBED)]]
    seconds = sum(map(len, probed)) / quantizer.frame_rate

    def found(penalty: float) -> float:
        priced = replace(quantizer, duration_penalty=penalty)
        return sum(1 + int(np.count_nonzero(np.diff(priced.encode(x)))) for x in probed if len(x)) / seconds

    free = found(0.0)
    if free < rate:
        raise UserError(
            f"the clusters change {free:.1f} times a second, which is less than {rate:g}: use more clusters"
        )
    low, high = 0.0, 1.0
    while found(high) > rate:
        high *= 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if found(middle) > rate else (low, middle)
    say(f"a change of cluster costs {high:.4g}: {found(high):.2f} segments a second, {free:.2f} for nothing")
    return high


def _write(store: FeatureStore, quantizer: Quantizer, mean: np.ndarray, components: np.ndarray, directory: Path) -> int:
    """Write means and spans in shards; the number of segments."""
    groups = list(_groups(store, len(components)))
    n_segments = 0
    for name, dim in ((SEGMENTS, len(components)), (SPANS, 2)):
        header = StoreHeader(
            store.header.encoder,
            store.header.encoder_sha256,
            dim,
            store.header.frame_rate,
            len(groups),
            store.header.manifest_sha256,
        )
        write_header(directory / name, header)
    for index, ids in enumerate(track(groups, "cutting")):
        cut: dict[str, Segments] = {}
        for utterance_id in ids:
            frames = np.asarray(store[utterance_id], dtype=np.float32)
            cut[utterance_id] = segment_means((frames - mean) @ components.T, quantizer.encode(frames))
        spans = {i: np.stack([s.frames, s.clusters], axis=1).astype(np.int32) for i, s in cut.items()}
        write_shard(directory / SEGMENTS, index, len(groups), {i: s.means for i, s in cut.items()})
        write_shard(directory / SPANS, index, len(groups), spans)
        n_segments += sum(len(s.frames) for s in cut.values())
    return n_segments


def _groups(store: FeatureStore, dim: int) -> Iterator[list[str]]:
    """Ids of the utterances of each shard."""
    group: list[str] = []
    size = 0
    for utterance_id in store:
        group.append(utterance_id)
        size += len(store[utterance_id]) * dim * 4
        if size > SHARD_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
