"""Who speaks the utterances of a units file, and with which intonation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from textless.audio.manifest import read_manifest
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.progress import say
from textless.speakers.embeddings import Embeddings, read_embeddings
from units.files import Units, UnitsFile
from units.prosody import STREAM
from vocoder.intonation import Intonation, level_of
from vocoder.pitch import lacking, not_shifted
from vocoder.vocoder import Vocoder
from vocoder.voices import Voices


@dataclass(frozen=True)
class Casting:
    """What the user said about voices.

    Attributes:
        name: of one speaker for all.
        manifest: gives each utterance its own speaker, where that is known.
        embeddings: of speakers or utterances, for vocoders that read them; their ids are names of speakers too.
        style: of all, for vocoders with styles.
        sources: names who spoke the recordings that pitch was tracked in; None: those of `manifest`.
    """

    name: str | None = None
    manifest: Path | None = None
    embeddings: Path | None = None
    style: str | None = None
    sources: Path | None = None

    def own_speakers(self) -> dict[str, str]:
        """Speaker of every utterance of the manifest that has one."""
        return _speakers(self.manifest)

    def source_speakers(self) -> dict[str, str]:
        """Who spoke the utterances in the first place, where that is known."""
        return _speakers(self.sources or self.manifest)

    def read_embeddings(self, vocoder: Vocoder) -> Embeddings | None:
        """The embeddings, if there are any; raises `UserError` if the vocoder does not read these."""
        if self.embeddings is None:
            return None
        if vocoder.model.config.speaker != "embedding":
            raise UserError(f"the vocoder takes speakers by name, not the embeddings of {self.embeddings}")
        found, trained = read_embeddings(self.embeddings), vocoder.model.speaker_encoder
        if trained is not None and found.encoder_sha256 != trained:
            raise UserError(
                f"the vocoder was trained with embeddings of the speaker encoder {trained[:12]}, {self.embeddings} "
                f"holds those of {found.encoder} ({found.encoder_sha256[:12]})"
            )
        return found


class Cast:
    """Who speaks what.

    Attributes:
        speakers: name of the speaker of every utterance id.
    """

    def __init__(self, casting: Casting, utterances: Sequence[Units], vocoder: Vocoder) -> None:
        """Choose. Without a name and a known speaker it is the vocoder's first, which is said.

        Raises:
            UserError: a name that is not known, or nobody to choose.
        """
        self.vocoder = vocoder
        self.style = casting.style
        vocoder.style_index(casting.style)
        found = casting.read_embeddings(vocoder)
        self._vectors: Mapping[str, torch.Tensor] = {} if found is None else found.rows()
        self.speakers = self._choose(casting, utterances)

    def voice(self, utterance_id: str, level: float | None = None) -> Voices:
        """Voice of an utterance; `level` is that of whoever spoke it, for a speaker whose own is not known.

        Raises:
            UserError: neither is known, and the vocoder needs it.
        """
        name = self.speakers[utterance_id]
        if name in self._vectors:
            if self.vocoder.model.config.pitch == "raw":
                level = self._own_level(name, level)
            return self.vocoder.voice(embedding=self._vectors[name], style=self.style, level=level)
        return self.vocoder.voice(name, style=self.style)

    def _own_level(self, name: str, level: float | None) -> float:
        if name in self.vocoder.speakers:
            return float(self.vocoder.model.levels[self.vocoder.speaker_index(name)])
        if level is not None:
            return level
        raise UserError(
            f"the height of {name!r}, whom the vocoder has not heard, is not known: predicted pitch is for speakers of "
            "its training; give a store of pitch with --f0"
        )

    def _choose(self, casting: Casting, utterances: Sequence[Units]) -> dict[str, str]:
        known = {*self.vocoder.speakers, *self._vectors}
        if casting.name is not None:
            if casting.name not in self._vectors:
                self.vocoder.voice(casting.name)  # raises for a speaker that is not known
            return dict.fromkeys((item.id for item in utterances), casting.name)
        own = casting.own_speakers()
        chosen = {item.id: item.id if item.id in self._vectors else own.get(item.id) or "" for item in utterances}
        foreign = [utterance_id for utterance_id, speaker in chosen.items() if speaker not in known]
        if not foreign:
            return chosen
        if not self.vocoder.speakers:
            raise UserError(
                f"{len(foreign)} of {len(utterances)} utterances have nobody to speak them, first {foreign[0]!r}: the "
                "vocoder reads embeddings of speakers; give those of `textless speaker embed` with --embeddings, and a "
                "speaker of theirs"
            )
        default = self.vocoder.speakers[0]
        if casting.manifest is not None or self._vectors:
            say(
                f"{len(foreign)} of {len(utterances)} utterances have no speaker that the vocoder knows, "
                f"first {foreign[0]!r}; {default} speaks them"
            )
        elif len(self.vocoder.speakers) > 1:
            say(f"all utterances are spoken by {default}, the first of {len(self.vocoder.speakers)} speakers")
        return chosen | dict.fromkeys(foreign, default)


def _speakers(manifest: Path | None) -> dict[str, str]:
    if manifest is None:
        return {}
    return {source.id: source.speaker for source in read_manifest(manifest) if source.speaker}


@dataclass(frozen=True)
class Contours:
    """Pitch of the utterances of a units file, read from a store as it is needed.

    Attributes:
        intonation: reads it; None where the vocoder needs none, or has it from the units.
        speakers: who spoke an utterance, where that is known; others are their own speaker.
        semitones: by which it is raised.
    """

    intonation: Intonation | None
    speakers: Mapping[str, str]
    semitones: float = 0.0
    _levels: dict[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls, vocoder: Vocoder, file: UnitsFile, store: Path | None, speakers: Mapping[str, str], semitones: float
    ) -> "Contours":
        """Open the store and find the speakers' levels.

        Raises:
            UserError: the vocoder needs pitch and there is none, or of another kind.
        """
        form, quantizer = vocoder.model.config.pitch, vocoder.model.f0_quantizer
        if form == "none" and store is not None:
            raise UserError(f"the vocoder has no pitch: it does not read {store}")
        if form == "bins" and quantizer is None and store is not None:
            raise UserError(f"the vocoder reads bins of pitch from the units (stream {STREAM!r}), not {store}")
        if store is None and (form == "raw" or (form == "bins" and STREAM not in file.streams)) and file.utterances:
            raise lacking(vocoder.model, file.utterances[0].id)
        if store is None and semitones:
            raise not_shifted(vocoder.model)
        declared = vocoder.model.pitch
        if form == "bins" and store is None and STREAM in file.streams and declared not in (None, file.streams[STREAM]):
            raise UserError(
                f"the pitch of the units was put into other bins than the vocoder was trained on ({STREAM!r}: "
                f"{file.streams[STREAM].sha256[:12]}, not {declared.sha256[:12]}): add it again with its prosody.json"
            )
        if store is None:
            return cls(None, speakers, semitones)
        contours = cls(Intonation(vocoder.quantizer.frame_rate, FeatureStore(store), quantizer), speakers, semitones)
        contours._find_levels(file.utterances, vocoder)
        return contours

    def _find_levels(self, utterances: Sequence[Units], vocoder: Vocoder) -> None:
        """A speaker of the training has the level found there; others have the mean of the utterances here."""
        model, groups = vocoder.model, dict[str, list[Units]]()
        for item in utterances:
            groups.setdefault(self.owner(item.id), []).append(item)
        if model.config.pitch == "raw":
            trained = {f"speaker {name}": float(model.levels[i]) for i, name in enumerate(vocoder.speakers)}
            self._levels.update((owner, level) for owner, level in trained.items() if owner in groups)
        for owner, items in groups.items():
            if owner not in self._levels:
                self._levels[owner] = level_of(self.hertz(item) for item in items)
        unnamed = sum(item.id not in self.speakers for item in utterances)
        if unnamed:
            say(f"{unnamed} of {len(utterances)} melodies are taken against their own mean: --sources tells who spoke")

    def owner(self, utterance_id: str) -> str:
        """Whose level an utterance has: its speaker's, or its own."""
        return f"speaker {self.speakers[utterance_id]}" if utterance_id in self.speakers else utterance_id

    def level(self, item: Units) -> float | None:
        """Mean log F0 of whoever spoke an utterance; None where it is not known."""
        return self._levels.get(self.owner(item.id))

    def hertz(self, item: Units) -> np.ndarray:
        """Pitch of an utterance in hertz; raises `UserError` if there is none."""
        assert self.intonation is not None
        if item.durations is None:
            raise UserError(f"{item.id} has pitch in the store but no durations: give the units that were encoded")
        found = self.intonation.hertz(item, None)
        if found is None:
            raise UserError(f"{item.id} has no pitch in the store: track it with `textless units prosody pitch`")
        return found

    def pitch(self, item: Units) -> torch.Tensor | None:
        """What the vocoder reads, as long as the units; None where it is not in a store."""
        if self.intonation is None:
            return None
        raised = self.hertz(item) * 2 ** (self.semitones / 12)
        return self.intonation.frames(raised, self.level(item) or 0.0, item.n_frames)
