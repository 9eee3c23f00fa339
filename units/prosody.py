"""Pitch beside units: the log F0 of every unit, without the speaker's own level, in bins. Owns `prosody.json`.

As in pGSLM (Kharitonov et al. 2022, "Text-free prosody-aware generative spoken language modeling"): the logarithm of
F0, less the speaker's mean over voiced frames, falls into bins that are equally full over a corpus. A unit's value is
that of the mean over its voiced frames, 1..bins; 0 is a unit most of whose frames are unvoiced. The other prosodic
stream of pGSLM, how long a unit lasts, is its duration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textless.audio.manifest import Manifest
from textless.config import Config
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import read_json, refuse_overwrite, sha256, write_json
from textless.provenance import check_header, make_header
from units.files import Stream, Units, scan_units, write_units
from units.frames import stream
from units.normalisation import known_speakers

FORMAT, VERSION = "textless-prosody", 1
STREAM = "f0"
REACH, RESOLUTION = 4.0, 1e-4  # of the histogram of normalised log F0, in natural logarithms
EDGE_FRAMES = 2  # by which encoders may differ in length


class PitchBins(Config):
    """Edges between bins of normalised log F0, ascending, and the pitch they were fitted to."""

    pitch: str  # specification of the tracker
    pitch_sha256: str
    frame_rate: float
    edges: list[float]

    @property
    def stream(self) -> Stream:
        """Declaration of the values."""
        content = f"{self.pitch_sha256} {self.edges!r}"
        return Stream(size=len(self.edges) + 2, sha256=sha256(content.encode()))


@dataclass(frozen=True)
class NormalisedPitch:
    """Log F0 less the speaker's mean, of every utterance of a pitch store; NaN where unvoiced."""

    store: FeatureStore
    speakers: Mapping[str, str]
    means: Mapping[str, float]  # of speakers, of log F0 over voiced frames

    @classmethod
    def of(cls, store: FeatureStore, manifest: Manifest | None) -> "NormalisedPitch":
        """Find the speakers' means.

        Raises:
            UserError: the store holds something other than pitch.
        """
        if store.header.dim != 1 or not store.header.encoder.startswith("pitch@"):
            raise UserError(
                f"{store.directory} holds features of {store.header.encoder}; make pitch with `units prosody pitch`"
            )
        speakers = known_speakers(manifest, store)
        sums: dict[str, tuple[float, int]] = {}
        for utterance_id, pitch in stream(store):
            if utterance_id in speakers:
                total, count = sums.get(speakers[utterance_id], (0.0, 0))
                voiced = pitch[pitch > 0]
                logs = float(np.log(voiced, dtype=np.float64).sum())
                sums[speakers[utterance_id]] = total + logs, count + len(voiced)
        return cls(store, speakers, {name: total / max(count, 1) for name, (total, count) in sums.items()})

    def __getitem__(self, utterance_id: str) -> np.ndarray:
        """Of one utterance `(T,)`; its own mean is taken off where its speaker is not known."""
        pitch = self.store[utterance_id][:, 0]
        logs = np.full(len(pitch), np.nan)
        logs[pitch > 0] = np.log(pitch[pitch > 0], dtype=np.float64)
        if not (pitch > 0).any():
            return logs
        speaker = self.speakers.get(utterance_id)
        return logs - (np.nanmean(logs) if speaker is None else self.means[speaker])


def fit_pitch_bins(pitch: NormalisedPitch, out: Path, bins: int = 32, *, force: bool = False) -> PitchBins:
    """Find the edges of equally full bins over all voiced frames and write them.

    Raises:
        UserError: `out` exists, or fewer different pitches than bins were heard.
    """
    refuse_overwrite(out, force=force)
    counts = np.zeros(round(2 * REACH / RESOLUTION), dtype=np.int64)
    for utterance_id in pitch.store:
        values = pitch[utterance_id]
        place = ((values[~np.isnan(values)] + REACH) / RESOLUTION).astype(np.int64)
        counts += np.bincount(np.clip(place, 0, len(counts) - 1), minlength=len(counts))
    if np.count_nonzero(counts) < bins:
        raise UserError(
            f"{pitch.store.directory}: {np.count_nonzero(counts)} different pitches do not fill {bins} bins"
        )
    shares = np.arange(1, bins) / bins * counts.sum()
    edges = (np.searchsorted(np.cumsum(counts), shares) + 1) * RESOLUTION - REACH
    header = pitch.store.header
    fitted = PitchBins(
        pitch=header.encoder,
        pitch_sha256=header.encoder_sha256,
        frame_rate=header.frame_rate,
        edges=[round(float(edge), 6) for edge in edges],
    )
    write_json(out, make_header(FORMAT, VERSION, **fitted.model_dump()))
    return fitted


def load_pitch_bins(path: Path) -> PitchBins:
    """Read `prosody.json`."""
    header = check_header(read_json(path), FORMAT, VERSION, path)
    return PitchBins.parse({name: header.get(name) for name in PitchBins.model_fields}, str(path))


def add_pitch(units: Path, out: Path, pitch: NormalisedPitch, bins: PitchBins, *, force: bool = False) -> None:
    """Write the units with a stream `f0` beside them, utterance by utterance.

    Raises:
        UserError: the pitch is of another tracker or frame rate, lacks an utterance or does not fit its length, or the
            units have no durations.
    """
    refuse_overwrite(out, force=force)
    head, utterances = scan_units(units)
    header = pitch.store.header
    if header.encoder_sha256 != bins.pitch_sha256 or header.frame_rate != head.quantizer.frame_rate:
        raise UserError(
            f"{pitch.store.directory} holds {header.encoder} ({header.encoder_sha256[:12]}), the bins were fitted to "
            f"{bins.pitch} ({bins.pitch_sha256[:12]}), and the units come at {head.quantizer.frame_rate:g} Hz: all "
            "three should agree"
        )

    def with_pitch() -> Iterator[Units]:
        for item in utterances:
            if item.durations is None or item.id not in pitch.store:
                lack = "has units without durations" if item.durations is None else "has no pitch in the store"
                raise UserError(f"{item.id!r} {lack}")
            values = _fitted(pitch[item.id], item)
            yield Units(item.id, item.units, item.durations, {**item.streams, STREAM: unit_pitch(values, item, bins)})

    write_units(out, head.quantizer, with_pitch(), {**head.streams, STREAM: bins.stream})


def _fitted(values: np.ndarray, item: Units) -> np.ndarray:
    """Frames of pitch, cut or padded by what encoders differ at the edges."""
    missing = item.n_frames - len(values)
    if abs(missing) > EDGE_FRAMES:
        raise UserError(
            f"{item.id!r} has {item.n_frames} frames of units and {len(values)} of pitch: other recordings?"
        )
    return np.pad(values, (0, max(missing, 0)), constant_values=np.nan)[: item.n_frames]


def unit_pitch(values: np.ndarray, item: Units, bins: PitchBins) -> list[int]:
    """Normalised log F0 `(T,)` of frames, NaN where unvoiced → a value for every unit `(N,)`."""
    if not item.units:
        return []
    durations = np.asarray(item.durations)
    starts = np.cumsum(durations) - durations
    voiced = np.add.reduceat((~np.isnan(values)).astype(np.int64), starts)
    means = np.add.reduceat(np.nan_to_num(values), starts) / np.maximum(voiced, 1)
    return np.where(2 * voiced >= durations, np.searchsorted(bins.edges, means, side="right") + 1, 0).tolist()
