"""Fit the classical encoder (`gmm_posteriors`) to a manifest: warps of speakers first, then the mixture.

Recordings are read twice, speaker by speaker. A corpus larger than `max_hours` is thinned evenly beforehand; whatever
its size, at most 300 speakers teach the warps, a minute of each, and at most `max_frames` frames, drawn uniformly, the
mixture. An utterance without a speaker is taken for a speaker of its own.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import Field

from textless.audio.io import SAMPLE_RATE
from textless.audio.manifest import Manifest, Skipped, Utterance, load_or_skip, write_skipped
from textless.config import Config
from textless.encoders.directory import save_encoder
from textless.encoders.dirichlet_mixture import fit_dirichlet_mixture
from textless.encoders.gmm_posteriors import GmmPosteriors, GmmPosteriorsConfig
from textless.encoders.mixture import Covariance, Fit, fit_mixture
from textless.encoders.speaker_mfcc import SpeakerMfcc
from textless.encoders.speaker_sample import take_minute
from textless.encoders.vtln import candidates, fit_warp_model
from textless.errors import UserError
from textless.files import atomic_directory, refuse_overwrite
from textless.progress import say, track

WARPED_SPEAKERS = 300  # that teach the warps; each takes 1 MB


class GmmConfig(Config):
    """How the encoder is fitted."""

    components: int = Field(300, ge=1)  # of the mixture; with `dirichlet`, at most
    covariance: Covariance = "diagonal"
    dirichlet: bool = False  # let a Dirichlet process find the number of components
    concentration: float = Field(1.0, gt=0)  # of the Dirichlet process
    iterations: int = Field(15, ge=1)
    temperature: float = Field(0.3, gt=0)  # power of the posteriors; below 1 is flatter
    vtln: bool = True
    frame_rate: int = Field(100, ge=1)
    max_hours: float = Field(10.0, gt=0)
    max_frames: int = Field(300_000, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class GmmFit:
    """What came out: the encoder, how well its mixture fits, and what could not be used."""

    encoder: GmmPosteriors
    bounds: list[float]  # mean log-likelihood of a frame (or its lower bound) by iteration
    speakers: int
    frames: int
    skipped: list[Skipped]


def fit_gmm(
    manifest: Manifest, config: GmmConfig, out: Path, *, device: torch.device | None = None, force: bool = False
) -> GmmFit:
    """Fit the encoder and write its directory, with `skipped.tsv` where recordings could not be used.

    Raises:
        UserError: the output exists and `force` is not given, or the recordings have fewer frames than components.
    """
    refuse_overwrite(out, force=force)
    device = device or torch.device("cpu")
    speakers = _by_speaker(_thinned(manifest, config.max_hours, config.seed))
    unnamed = sum(not name for name, _ in speakers)
    if unnamed:
        say(f"{unnamed} utterances name no speaker: each is taken for a speaker of its own")
    mfcc = SpeakerMfcc(config.frame_rate, vtln=config.vtln).to(device)
    if config.vtln:
        chosen = list(speakers.values())[:: -(-len(speakers) // WARPED_SPEAKERS)]
        unusable: list[Skipped] = []  # will be met again below, and listed
        heard = (take_minute(_waveforms(manifest, u, mfcc, unusable)) for u in track(chosen, "warping", len(chosen)))
        warped = [candidates(mfcc.power(waveforms)).half().cpu() for waveforms in heard if waveforms]
        _require(warped)
        mfcc.warp_model = fit_warp_model(warped, config.seed, device).mixture
    skipped: list[Skipped] = []
    sample = _UniformSample(config.max_frames, config.seed)
    for utterances in track(speakers.values(), "speakers", len(speakers)):
        for features in _features(mfcc, _waveforms(manifest, utterances, mfcc, skipped)):
            sample.add(features.cpu())
    _require(sample.rows)
    frames = sample.frames()
    fit = _fit_mixture(frames, config, device)
    encoder = _assemble(mfcc, fit, config)
    found = {"frames": len(frames), "speakers": len(speakers), "bound": fit.bounds[-1]}
    with atomic_directory(out) as temporary:
        save_encoder(temporary, encoder, fitted={"config": config.model_dump(), **found})
        write_skipped(temporary / "skipped.tsv", skipped)
    return GmmFit(encoder, fit.bounds, len(speakers), len(frames), skipped)


def _require(found: Sequence[torch.Tensor]) -> None:
    if not found:
        raise UserError("the manifest has no usable recording")


def _fit_mixture(frames: torch.Tensor, config: GmmConfig, device: torch.device) -> Fit:
    kind, number, seed = config.covariance, config.iterations, config.seed
    if not config.dirichlet:
        return fit_mixture(frames, config.components, covariance=kind, iterations=number, seed=seed, device=device)
    return fit_dirichlet_mixture(
        frames,
        config.components,
        covariance=kind,
        concentration=config.concentration,
        iterations=number,
        seed=seed,
        device=device,
    )


def _assemble(mfcc: SpeakerMfcc, fit: Fit, config: GmmConfig) -> GmmPosteriors:
    encoder = GmmPosteriors(
        GmmPosteriorsConfig(
            components=len(fit.gaussians.weights),
            covariance=config.covariance,
            vtln=config.vtln,
            temperature=config.temperature,
            frame_rate=config.frame_rate,
        )
    )
    encoder.mfcc = mfcc
    encoder.mixture = fit.gaussians.mixture()
    return encoder.cpu().eval()


def _thinned(manifest: Manifest, max_hours: float, seed: int) -> list[Utterance]:
    """Utterances drawn at random, of about so many hours at most, in the order of the manifest.

    At random, because every n-th of a corpus whose speakers take turns would be some of the speakers only.
    """
    hours = sum(u.n_samples for u in manifest) / SAMPLE_RATE / 3600  # files of other rates are counted as 16 kHz
    if hours <= max_hours:
        return list(manifest)
    n_drawn = max(1, int(len(manifest) * max_hours / hours))
    drawn = torch.randperm(len(manifest), generator=torch.Generator().manual_seed(seed))[:n_drawn].tolist()
    return [manifest.utterances[index] for index in sorted(drawn)]


def _by_speaker(utterances: Iterable[Utterance]) -> dict[tuple[str, str], list[Utterance]]:
    speakers: dict[tuple[str, str], list[Utterance]] = {}
    for u in utterances:
        speakers.setdefault(u.voice, []).append(u)
    return speakers


def _waveforms(
    manifest: Manifest, utterances: Sequence[Utterance], mfcc: SpeakerMfcc, skipped: list[Skipped]
) -> Iterator[torch.Tensor]:
    """Waveforms `(S,)`, where `mfcc` is, of the utterances that can be used; the others are added to `skipped`."""
    for utterance in utterances:
        waveform = load_or_skip(manifest, utterance)
        if isinstance(waveform, Skipped):
            skipped.append(waveform)
        elif len(waveform) < mfcc.hop:
            skipped.append(Skipped(utterance.path, f"{len(waveform)} samples are less than one frame ({mfcc.hop})"))
        else:
            yield waveform.to(mfcc.window.device)


@torch.inference_mode()
def _features(mfcc: SpeakerMfcc, waveforms: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Features `(T, 39)` of one speaker's recordings."""
    heard = take_minute(waveforms)
    if not heard:
        return
    state = mfcc.state(mfcc.power(heard))
    for waveform in itertools.chain(heard, waveforms):
        length = torch.tensor([len(waveform)], device=waveform.device)
        yield mfcc(waveform[None], length, state[None])[0][0]


class _UniformSample:
    """At most `size` rows of all that are added, each equally likely: those with the smallest random keys."""

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self.rows: list[torch.Tensor] = []
        self.keys: list[torch.Tensor] = []

    def add(self, rows: torch.Tensor) -> None:
        """Add rows `(N, D)`."""
        self.rows.append(rows)
        self.keys.append(torch.rand(len(rows), generator=self.generator))
        if sum(map(len, self.keys)) > 2 * self.size:
            self._thin()

    def frames(self) -> torch.Tensor:
        """What is kept, in the order of arrival."""
        self._thin()
        return self.rows[0]

    def _thin(self) -> None:
        rows, keys = torch.cat(self.rows), torch.cat(self.keys)
        kept = keys.argsort()[: self.size].sort().values
        self.rows, self.keys = [rows[kept]], [keys[kept]]
