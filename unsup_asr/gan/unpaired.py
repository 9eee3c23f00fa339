"""What adversarial training reads: speech as rows of features and text as phones, neither knowing of the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.progress import say
from unsup_asr.auxiliary_targets import AuxiliaryTargets
from unsup_asr.gan.config import DataConfig
from unsup_asr.gan.front_end import FrontEnd, pooled
from unsup_asr.phone_text import PhoneText
from unsup_asr.selection import without
from unsup_asr.speech_segments import HEADER, SpeechSegments


@dataclass(frozen=True)
class Unpaired:
    """Unpaired data.

    Attributes:
        speech: rows `(N, d)` of utterances.
        valid: of those that recognisers are judged on.
        text: phones.
        front_end: how rows were made.
        clusters: of the rows of `speech`, `(N,)`, for the auxiliary loss; None without one.
    """

    speech: Sequence[np.ndarray]
    valid: Sequence[np.ndarray]
    text: PhoneText
    front_end: FrontEnd
    clusters: Sequence[np.ndarray] | None = None


def load_unpaired(config: DataConfig) -> Unpaired:
    """Read prepared folders.

    Raises:
        UserError: one of them is none, or nothing is in it; speech to judge on that another encoder made; clusters of
            other frames.
    """
    front_end = FrontEnd.of(config.speech, config.pool)
    speech = _rows(config.speech, config.pool)
    valid = speech
    if config.valid_speech is not None:
        other = FrontEnd.of(config.valid_speech, config.pool)
        if (other.encoder_sha256, other.dim) != (front_end.encoder_sha256, front_end.dim):
            raise UserError(
                f"{config.valid_speech} was made by {other.encoder} ({other.dim} numbers), but {config.speech} by "
                f"{front_end.encoder} ({front_end.dim}); prepare it like the training speech"
            )
        valid = _rows(config.valid_speech, config.pool)
    text = PhoneText.load(config.text)
    sentences = [sentence for sentence in text.sentences if len(sentence)]
    if not config.silence and text.silence is not None:
        sentences = [spoken for sentence in sentences if len(spoken := without(sentence, text.silence))]
        text = PhoneText(text.phones[:-1], sentences)
    if config.join_text:
        sentences = [sentence[np.append(True, sentence[1:] != sentence[:-1])] for sentence in sentences]
    if not speech or not valid or not sentences:
        raise UserError(
            f"nothing to train on: {len(speech)} utterances in {config.speech}, {len(valid)} to judge on, "
            f"{len(sentences)} sentences in {config.text}"
        )
    clusters = None if config.auxiliary is None else _clusters(config.auxiliary, speech)
    return Unpaired(list(speech.values()), list(valid.values()), PhoneText(text.phones, sentences), front_end, clusters)


def _rows(prepared: Path, pool: int) -> dict[str, np.ndarray]:
    """Rows of every utterance that has any."""
    if (prepared / HEADER).is_file():
        segments = SpeechSegments(prepared)
        rows = {i: pooled(segments[i].means, pool) for i in segments}
    else:
        store = FeatureStore(prepared)
        rows = {i: pooled(np.asarray(store[i], dtype=np.float32), pool) for i in store}
    empty = sum(not len(features) for features in rows.values())
    if empty:
        say(f"{empty} of {len(rows)} utterances of {prepared} have no frames: left out")
    return {i: features for i, features in rows.items() if len(features)}


def _clusters(directory: Path, speech: dict[str, np.ndarray]) -> list[np.ndarray]:
    targets = AuxiliaryTargets(directory)
    known = set(targets)
    for utterance_id, rows in speech.items():
        found = len(targets[utterance_id]) if utterance_id in known else 0
        if found != len(rows):
            raise UserError(
                f"{directory} has {found} clusters of {utterance_id}, which has {len(rows)} frames: the auxiliary loss "
                "is for speech that is read frame by frame (data.speech a feature store, data.pool = 1)"
            )
    return [targets[utterance_id] for utterance_id in speech]
