"""Several recognisers as one: their transcripts vote (`rover.py`), or their probabilities are averaged.

Votes take anything that writes transcripts. Averaging takes recognisers of one encoder whose rows and phones are the
same, and gives one more recogniser to decode.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import refuse_overwrite
from textless.progress import say, track
from unsup_asr.decoding.build import DecoderSources, build_decoder
from unsup_asr.decoding.decoder import Decoder, DecodingOptions
from unsup_asr.recognizers import Posteriors, Recognizer, Topology, check_features, load_recognizer
from unsup_asr.rover import Hypothesis, Voting, rover, rover_all
from unsup_asr.transcripts import read_transcripts, write_transcripts

Method = Literal["average", "rover"]
DECODED_AT_ONCE = 32  # utterances
DEFAULT = DecodingOptions(lm_weight=0.5, insertion=0.5)
UNSURE = Voting(frequency=0.5)  # half of a vote is the confidence


class AveragedRecognizer:
    """Recognisers of one encoder, phone set and rhythm, whose probabilities are averaged.

    Raises:
        UserError: they differ in one of these.
    """

    def __init__(self, members: Sequence[Recognizer]) -> None:
        first = members[0]
        self.members = list(members)
        self.phones: tuple[str, ...] = first.phones
        self.silence: int | None = first.silence
        self.topology: Topology = first.topology
        self.source = first.source
        for number, member in enumerate(self.members[1:], 2):
            for name, own, other, agrees in (
                ("topology", first.topology, member.topology, member.topology == first.topology),
                ("phones", first.phones, member.phones, member.phones == first.phones),
                ("encoder", first.source, member.source, member.source.is_same_layer(first.source)),
            ):
                if not agrees:
                    raise UserError(
                        f"recogniser {number} cannot be averaged with the first: {name} {_short(other)} is not "
                        f"{_short(own)}; let their transcripts vote instead (asr ensemble --transcripts)"
                    )

    def posteriors(self, features: Sequence[np.ndarray]) -> list[Posteriors]:
        """Logs of the mean probability of every utterance.

        Raises:
            UserError: the rows of the members do not stand for the same frames.
        """
        per_member = [member.posteriors(features) for member in self.members]
        return [self._mean(parts) for parts in zip(*per_member, strict=True)]

    def _mean(self, parts: Sequence[Posteriors]) -> Posteriors:
        first = parts[0]
        for part in parts[1:]:
            if not (np.array_equal(part.starts, first.starts) and np.array_equal(part.ends, first.ends)):
                raise UserError(
                    "the rows of these recognisers stand for different frames and cannot be averaged; let their "
                    "transcripts vote instead (asr ensemble --transcripts)"
                )
        logs = np.logaddexp.reduce([part.log_probs for part in parts]) - np.log(len(parts))
        return Posteriors(logs.astype(np.float32), first.starts, first.ends)


def vote(paths: Sequence[Path], out: Path, weights: Sequence[float] = (), *, force: bool = False) -> None:
    """Write what transcripts agree on.

    Args:
        paths: files of transcripts, the best first.
        out: file of transcripts to write.
        weights: of each file's votes; none: 1 each.
        force: replace `out`.

    Raises:
        UserError: fewer than two files, or weights of another number.
    """
    refuse_overwrite(out, force=force)
    if len(paths) < 2 or (weights and len(weights) != len(paths)):
        raise UserError(
            f"{len(paths)} transcripts and {len(weights)} weights: give two files or more, a weight for each"
        )
    files = [read_transcripts(path) for path in paths]
    found = rover_all(files, weights or [1.0] * len(files))
    partial = sum(any(name not in file for file in files) for name in found)
    write_transcripts(out, found)
    say(
        f"{out}: {len(found)} utterances"
        + (f"; {partial} that some files lack were voted on by the others" * (partial > 0))
    )


def combine(
    features: Path,
    models: Sequence[Path],
    out: Path,
    method: Method = "average",
    *,
    language_model: Path | None = None,
    options: DecodingOptions = DEFAULT,
    voting: Voting = UNSURE,
    force: bool = False,
) -> None:
    """Write what recognisers of one encoder say of its features together.

    Args:
        features: feature store.
        models: directories of recognisers, the best first.
        out: file of transcripts to write.
        method: mean probabilities, decoded once; or a vote of transcripts with confidences.
        language_model: of phones for beam search, an ARPA file or prepared text; None: greedy.
        options: of beam search.
        voting: of `rover`.
        force: replace `out`.

    Raises:
        UserError: fewer than two models, models that cannot be averaged, or features of another encoder.
    """
    refuse_overwrite(out, force=force)
    if len(models) < 2:
        raise UserError(f"{len(models)} models: give two or more")
    members = [load_recognizer(model) for model in models]
    recognizers: list[Recognizer] = [AveragedRecognizer(members)] if method == "average" else members
    store = FeatureStore(features)
    for recognizer in recognizers:
        check_features(recognizer, store.header, features)
    decoders = [build_decoder(recognizer, DecoderSources(lm=language_model), options) for recognizer in recognizers]
    ids = list(store)
    found: dict[str, list[str]] = {}
    for start in track(range(0, len(ids), DECODED_AT_ONCE), "decoding"):
        chosen = ids[start : start + DECODED_AT_ONCE]
        heard = [
            [
                _hypothesis(recognizer, decode, posteriors)
                for posteriors in recognizer.posteriors([store[i] for i in chosen])
            ]
            for recognizer, decode in zip(recognizers, decoders, strict=True)
        ]
        found |= {name: rover(hypotheses, voting) for name, *hypotheses in zip(chosen, *heard, strict=True)}
    write_transcripts(out, found)
    say(f"{out}: {len(found)} utterances by {len(models)} recognisers")


def _hypothesis(recognizer: Recognizer, decode: Decoder, posteriors: Posteriors) -> Hypothesis:
    """Phones without silences, and their confidences."""
    transcript = decode(posteriors)
    spoken = transcript.phones != (-1 if recognizer.silence is None else recognizer.silence)
    phones = [recognizer.phones[phone] for phone in transcript.phones[spoken].tolist()]
    return Hypothesis(phones, transcript.confidences[spoken].tolist())


def _short(value: object) -> str:
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 40 else f"{text[:40]}…"
