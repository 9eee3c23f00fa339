"""Fit a quantizer to stored features; a stopped fit goes on where it was.

While it runs, the output directory holds `metrics.jsonl` and `resume.pt`; the finished quantizer takes their place.
"""

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from textless import distributed
from textless.audio.manifest import Manifest
from textless.config import Config
from textless.errors import UserError
from textless.features.store import FeatureStore, open_features
from textless.files import refuse_overwrite
from textless.progress import say
from textless.training.checkpoint import CONFIG_NAME
from textless.training.run import METRICS_NAME, Run
from units.config import KMeansConfig
from units.frames import StoredFrames, stream
from units.kmeans import KMeansResult, Progress, fit_kmeans
from units.normalisation import SpeakerNormaliser, known_speakers, speaker_moments
from units.quantizer import Quantizer, save_quantizer

SAVE_SECONDS = 30.0


@dataclass(frozen=True)
class Fit:
    """A fitted quantizer, how well it fits, and what it took; memory is the peak of this process, in MiB."""

    quantizer: Quantizer
    result: KMeansResult
    seconds: float
    memory: float


def fit_quantizer(
    path: Path,
    out: Path,
    config: KMeansConfig,
    *,
    manifest: Manifest | None = None,
    device: str = "cpu",
    force: bool = False,
) -> Fit | None:
    """Fit k-means to a feature store and write the quantizer directory.

    Args:
        path: the feature store.
        out: the directory; one that a stopped fit of the same configuration left is continued.
        config: how to fit.
        manifest: names the speakers, for speaker normalisation.
        device: auto, cpu, cuda or cuda:N.
        force: start again where `out` exists.

    Returns:
        What came out; None if the fit was asked to stop before its end.

    Raises:
        UserError: the output is finished or something else, the features are not a finished store (so nobody knows
            which encoder made them), or they are no frames to cluster: not finite, or fewer distinct ones than codes.
    """
    if (out / CONFIG_NAME).exists() or not (out / METRICS_NAME).exists():
        refuse_overwrite(out, force=force)
    features = open_features(path)
    if not isinstance(features, FeatureStore):
        raise UserError(f"{path} does not say which encoder made it; write a store with `textless encoder features`")
    where = distributed.select_device(device)
    header = features.header
    source = f"{header.encoder} {header.encoder_sha256} {header.manifest_sha256}"
    with distributed.process_group(where), Run(out, FitRun(kmeans=config, features=source), force=force) as run:
        started = time.monotonic()
        stored = StoredFrames(
            features,
            config.max_frames,
            config.seed,
            normaliser=_normaliser(features, manifest) if config.speaker_normalised else None,
            spherical=config.spherical,
            device=where,
        )
        progress = Progress()
        run.resume({"kmeans": progress})
        result = fit_kmeans(stored, config, progress=progress, stopped=_Checkpoints(run))
        if result is None:
            say(f"stopped; the same command goes on where {out} is")
            return None
        quantizer = Quantizer(
            torch.from_numpy(result.codebook),
            header.encoder,
            header.encoder_sha256,
            header.frame_rate,
            config.duration_penalty * result.inertia,
            speaker_normalised=config.speaker_normalised,
            spherical=config.spherical,
        )
        if run.is_main:
            measured = {name: value for name, value in vars(result).items() if name != "codebook"}
            save_quantizer(out, quantizer, {"config": config.model_dump(), **measured})
        distributed.barrier()
        return Fit(quantizer, result, time.monotonic() - started, peak_memory())


class FitRun(Config):
    """What a fit is a run of; a stopped one is only continued with the same."""

    kmeans: KMeansConfig
    features: str


class _Checkpoints:
    """Logs every step, saves now and then, and says when to stop."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._saved = time.monotonic()

    def __call__(self, progress: Progress, inertia: float) -> bool:
        self._run.log(progress.rounds, restart=progress.restart, inertia=inertia, reassigned=progress.reassigned)
        stopping = self._run.stopping()
        due = torch.tensor(int(time.monotonic() - self._saved > SAVE_SECONDS))
        if stopping or distributed.total(due) > 0:  # all processes save together
            self._run.save(progress.rounds, {"kmeans": progress})
            self._saved = time.monotonic()
        return stopping


def _normaliser(features: FeatureStore, manifest: Manifest | None) -> SpeakerNormaliser:
    speakers = known_speakers(manifest, features)
    return SpeakerNormaliser(speaker_moments(stream(features), speakers), speakers)


def peak_memory() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # where there is one it is exact; `ru_maxrss` begins at what the parent process had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
