"""Figures of a resynthesis: means over recordings, pitch errors over all frames, error rates over all tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from textless.audio.manifest import Skipped
from zerospeech_eval.acoustic_comparison import Acoustics
from zerospeech_eval.bit_rate import BitRate
from zerospeech_eval.f0_errors import F0Errors, add
from zerospeech_eval.perceived_quality import Quality
from zerospeech_eval.speaker_similarity import Similarity, Verification
from zerospeech_eval.token_errors import TokenErrors


@dataclass(frozen=True)
class Content:
    """Tokens heard; `original` is None where those heard in the originals are the reference."""

    transcriber: str
    resynthesis: TokenErrors
    original: TokenErrors | None


@dataclass(frozen=True)
class Speakers:
    """Similarity of every resynthesis, and verification of the resyntheses and of the originals."""

    encoder: str
    similarities: Mapping[str, Similarity]
    resynthesis: Verification
    original: Verification

    def mean(self, name: str) -> float | None:
        """Mean of a cosine over the recordings that have it."""
        found = [value for s in self.similarities.values() if (value := getattr(s, name)) is not None]
        return float(np.mean(found)) if found else None

    @property
    def nearer_to_target(self) -> float | None:
        """Share of the conversions that are nearer to the target's voice than to the source's, 0 to 1."""
        found = [s.to_target > s.to_source for s in self.similarities.values() if s.to_target is not None]
        return float(np.mean(found)) if found else None


@dataclass(frozen=True)
class Resynthesis:
    """All figures, by id where they are of one recording."""

    order: int
    acoustics: Mapping[str, Acoustics]
    skipped: Sequence[Skipped]
    notes: Sequence[str]
    content: Content | None = None
    speakers: Speakers | None = None
    quality: Mapping[str, tuple[Quality, Quality]] = field(default_factory=dict)  # original, resynthesis
    bit_rate: BitRate | None = None

    @property
    def seconds(self) -> float:
        """Length of the originals together."""
        return sum(found.seconds for found in self.acoustics.values())

    @property
    def f0(self) -> F0Errors:
        """Pitch errors over all frames."""
        return add(found.f0 for found in self.acoustics.values())

    def mcd(self, *, in_place: bool = False) -> tuple[float | None, float | None, int]:
        """Mean distortion in dB, its standard error over recordings, and how many there are."""
        values = [found.mcd_in_place if in_place else found.mcd for found in self.acoustics.values()]
        known = np.array([value for value in values if value is not None])
        error = float(known.std(ddof=1) / len(known) ** 0.5) if len(known) > 1 else None
        return float(known.mean()) if len(known) else None, error, len(known)

    def mean_quality(self, name: str) -> tuple[float, float]:
        """Mean estimate of the originals and of the resyntheses."""
        one, other = (float(np.mean([getattr(pair[i], name) for pair in self.quality.values()])) for i in (0, 1))
        return one, other

    def summary(self) -> dict[str, Any]:
        """Everything that is of the whole corpus, for JSON; what is undefined is None."""
        f0 = self.f0
        result: dict[str, Any] = {
            "recordings": len(self.acoustics),
            "seconds": self.seconds,
            "skipped": [vars(item) for item in self.skipped],
            "notes": list(self.notes),
            "mel_cepstra": self.order,
        }
        for name, in_place in (("mcd_warped", False), ("mcd_in_place", True)):
            mean, error, n = self.mcd(in_place=in_place)
            result[name] = {"db": mean, "standard_error": error, "recordings": n}
        rates = {
            name: getattr(f0, name) for name in ("rmse_hertz", "rmse_cents", "vde", "ffe", "gpe", "semitone_share")
        }
        result["f0"] = {**rates, "frames": f0.frames, "voiced_in_both": f0.both_voiced}
        if self.content is not None:
            original = self.content.original
            result["content"] = {
                "recognizer": self.content.transcriber,
                "resynthesis": self.content.resynthesis.summary(),
                "original": None if original is None else original.summary(),
            }
        if self.speakers is not None:
            found = self.speakers
            result["speakers"] = {
                "encoder": found.encoder,
                **{f"cosine_{name}": found.mean(name) for name in ("to_original", "to_source", "to_target")},
                "nearer_to_target": found.nearer_to_target,
                "resynthesis": vars(found.resynthesis),
                "original": vars(found.original),
            }
        for name in ("stoi", "pesq", "si_sdr") if self.quality else ():
            one, other = self.mean_quality(name)
            result.setdefault("squim", {})[name] = {"original": one, "resynthesis": other}
        if self.bit_rate is not None:
            result["bit_rate"] = self.bit_rate.summary()
        return result
