"""Who speaks an utterance, as a synthesizer reads it: a row of a table, an embedding, or the mean of its frames."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch.nn import functional as F

from textless.audio.manifest import read_manifest
from textless.errors import UserError
from textless.speakers.embeddings import read_embeddings
from unsup_asr.tts.config import Speaker


@dataclass(frozen=True)
class VoiceSource:
    """Voices of utterances.

    Attributes:
        kind: how a synthesizer reads them.
        speakers: names of a table.
        size: numbers of an embedding, or of a frame; 0 without either.
    """

    kind: Speaker
    speakers: tuple[str, ...] = ()
    size: int = 0
    _of: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        kind: Speaker,
        size: int,
        *,
        manifest: Path | None,
        embeddings: Path | None,
        known: tuple[str, ...] | None = None,
    ) -> Self:
        """Read what a kind of voice needs.

        Args:
            kind: see `Speaker`.
            size: numbers of a frame of the speech.
            manifest: names the speakers.
            embeddings: by utterance, or by speaker with a manifest.
            known: speakers of a table that exists already; None: those of the manifest make one.

        Raises:
            UserError: a file that the kind needs is not given, or names no speakers.
        """
        speakers = {} if manifest is None else {u.id: u.speaker for u in read_manifest(manifest) if u.speaker}
        match kind:
            case "none":
                return cls(kind)
            case "mean":
                return cls(kind, size=size)
            case "table":
                if not speakers:
                    raise UserError("speaker = table needs data.manifest with a column `speaker`")
                names = known or tuple(sorted(set(speakers.values())))
                places = {name: torch.tensor(place) for place, name in enumerate(names)}
                return cls(kind, names, 0, {i: places[name] for i, name in speakers.items() if name in places})
            case "embedding":
                if embeddings is None:
                    raise UserError("speaker = embedding needs data.embeddings, a file of `textless speaker embed`")
                found = read_embeddings(embeddings)
                rows = found.rows()
                if found.per == "speaker":
                    rows = {i: rows[name] for i, name in speakers.items() if name in rows}
                return cls(kind, (), found.dim, rows)

    def of(self, utterance_id: str, frames: np.ndarray | None) -> torch.Tensor | None:
        """Voice of an utterance, whose frames are `(T, D)`: `()`, `(E,)` or None.

        Raises:
            UserError: the utterance has no speaker or embedding.
        """
        match self.kind:
            case "none":
                return None
            case "mean":
                assert frames is not None, "units have no mean frame"
                return F.normalize(torch.from_numpy(frames.mean(axis=0, dtype=np.float32)), dim=0)
            case "table" | "embedding":
                if utterance_id not in self._of:
                    raise UserError(f"{utterance_id!r} has no speaker that the synthesizer knows, or no embedding")
                return self._of[utterance_id]
