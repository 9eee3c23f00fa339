"""Prepare speech: project its features, find clusters, cut where the cluster changes, and take the mean of each piece.

As for wav2vec-U 1.0 (Baevski et al. 2021, section 4.1): PCA of the features without whitening, k-means with 128 codes
on the features themselves, a segment for every run of one code. With `segments_per_second`, changes of cluster cost
something instead, just so much that there are as many segments as wanted (see `units.segment`).

What is fitted to training speech is applied to any other with `like`. The work goes on where it stopped: the fit
first, then shard after shard; `speech.json` comes last and says that all is there. Several processes share the shards.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from textless import distributed
from textless.errors import UserError
from textless.features.store import HEADER_NAME, FeatureStore, is_finished, read_header, write_header, write_shard
from textless.files import read_json, refuse_overwrite, remove, write_json
from textless.progress import say, track
from textless.provenance import make_header
from units.config import KMeansConfig
from units.fit import fit_quantizer
from units.quantizer import Quantizer, load_quantizer
from unsup_asr.segmentation import Segmentation, principal_components
from unsup_asr.speech_segments import FORMAT, HEADER, PCA, SEGMENTS, SPANS, VERSION, Segments

PLAN, FIT = "plan.json", "fit"  # of unfinished work
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
        normalise: bring every utterance to zero mean and unit variance first, which takes much of the voice away.
        restarts: of k-means.
        seed: of k-means.
    """

    pca: int = 512
    clusters: int = 128
    segments_per_second: float | None = None
    normalise: bool = False
    restarts: int = 3
    seed: int = 0


def prepare_speech(
    features: Path,
    out: Path,
    options: SpeechOptions = SpeechOptions(),
    *,
    like: Path | None = None,
    vad: str | None = None,
    n_shards: int | None = None,
    device: str = "cpu",
    force: bool = False,
) -> dict[str, float]:
    """Write the folder of `unsup_asr.speech_segments`; one that was begun with the same arguments is continued.

    Args:
        features: a feature store (`textless encoder features`), of speech without silences.
        out: folder to write.
        options: how to fit; of no account with `like`.
        like: prepared speech, or anything else that a `Segmentation` was saved in, to cut as it was cut.
        vad: what took the silences away, if it is known; it is noted for those who transcribe other speech.
        n_shards: files to write; by default as many as keep a shard below 256 MiB, and one a process at least.
        device: of k-means.
        force: replace it.

    Returns:
        Utterances, segments, and segments a second.

    Raises:
        UserError: no such store, too few frames, an encoder other than that of `like`, or `out` is something else.
    """
    if distributed.file_world().size > distributed.world().size:
        raise UserError("speech is cut alike everywhere, so an array of jobs cannot do it: use one job, or torchrun")
    store = FeatureStore(features)
    model = None if like is None else Segmentation.load(like)
    if model is not None:
        model.require_encoder(store.header, features)
    with distributed.process_group(distributed.select_device(device)) as here:
        if here.rank == 0:
            _claim(out, _plan(store, options, model), force=force)
        distributed.barrier()
        model = _fitted(store, features, out, options, device) if model is None else model
        if here.rank == 0:
            if like is not None:
                model.save(out)
            _lay_out(store, model, out, n_shards or max(_n_shards(store, model.dim), min(len(store), here.size)))
        distributed.barrier()
        count = read_header(out / SEGMENTS).n_shards
        for index in track(range(here.rank, count, here.size), "cutting"):
            _write_shard(store, model, out, index, count)
        distributed.barrier()
        if here.rank == 0:
            _finish(store, model, out, options, vad)
        distributed.barrier()
    header = read_json(out / HEADER)
    return {name: header[name] for name in ("utterances", "segments", "segments_per_second")}


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


def _plan(store: FeatureStore, options: SpeechOptions, like: Segmentation | None) -> dict[str, object]:
    """What a folder is going to hold: two with equal plans end equal."""
    return {
        "encoder_sha256": store.header.encoder_sha256,
        "manifest_sha256": store.header.manifest_sha256,
        **({"options": asdict(options)} if like is None else {"clusters": like.quantizer.identity.sha256}),
    }


def _claim(out: Path, plan: dict[str, object], *, force: bool) -> None:
    """Begin `out`, or go on with it."""
    if force:
        remove(out)
    if (out / PLAN).is_file():
        if read_json(out / PLAN) != plan:
            raise UserError(f"{out} was begun with other features or options; give another output or --force")
        return
    refuse_overwrite(out, force=force)
    write_json(out / PLAN, plan)


def _fitted(store: FeatureStore, features: Path, out: Path, options: SpeechOptions, device: str) -> Segmentation:
    """Fit the clusters (all processes) and the projection (one), or read what was fitted before."""
    if not (out / PCA).is_file():
        if not (out / FIT / "config.json").exists():
            settings = {
                "k": options.clusters,
                "restarts": options.restarts,
                "seed": options.seed,
                "speaker_normalised": options.normalise,
            }
            config = KMeansConfig.parse(settings, "the clusters of segments")
            if fit_quantizer(features, out / FIT, config, device=device) is None:
                raise SystemExit(0)
        if distributed.world().rank == 0:
            quantizer = load_quantizer(out / FIT)
            mean, components = principal_components(store, options.pca, quantizer)
            if options.segments_per_second is not None:
                penalty = penalty_for(store, quantizer, options.segments_per_second)
                quantizer = replace(quantizer, duration_penalty=penalty)
            Segmentation(mean, components, quantizer).save(out)
        distributed.barrier()
    return Segmentation.load(out)


def _n_shards(store: FeatureStore, dim: int) -> int:
    """Shards below the largest size, as if every frame were a segment."""
    return max(1, min(len(store), -(-store.n_frames * dim * 4 // SHARD_BYTES)))


def _lay_out(store: FeatureStore, model: Segmentation, out: Path, n_shards: int) -> None:
    """Write the headers of both stores, unless the work was begun with some number of shards already."""
    for name, dim in ((SPANS, 2), (SEGMENTS, model.dim)):
        if not (out / name / HEADER_NAME).is_file():
            write_header(out / name, replace(store.header, dim=dim, n_shards=n_shards))


def _write_shard(store: FeatureStore, model: Segmentation, out: Path, index: int, count: int) -> None:
    """Write means and spans of one shard, unless they are there."""
    if is_finished(out / SEGMENTS, index, count):
        return
    ids: Sequence[str] = distributed.shard_slice(list(store), index, count)
    cut: dict[str, Segments] = {utterance_id: model.cut(store[utterance_id]) for utterance_id in ids}
    spans = {i: np.stack([s.frames, s.clusters], axis=1).astype(np.int32) for i, s in cut.items()}
    write_shard(out / SPANS, index, count, spans)
    write_shard(out / SEGMENTS, index, count, {i: s.means for i, s in cut.items()})


def _finish(store: FeatureStore, model: Segmentation, out: Path, options: SpeechOptions, vad: str | None) -> None:
    """Write the header, which says that the folder is whole, and remove what was needed to get there."""
    n_segments = FeatureStore(out / SPANS).n_frames
    header = make_header(
        FORMAT,
        VERSION,
        encoder=store.header.encoder,
        encoder_sha256=store.header.encoder_sha256,
        clusters=model.n_clusters,
        duration_penalty=model.quantizer.duration_penalty,
        options=asdict(options),
        vad=vad,
        utterances=len(store),
        segments=n_segments,
        segments_per_second=n_segments / (store.n_frames / store.header.frame_rate),
    )
    write_json(out / HEADER, header)
    remove(out / FIT)
    remove(out / PLAN)
