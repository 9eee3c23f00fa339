"""The verb `decode`: features of utterances → transcripts, of phones and, with a lexicon, of words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.corpora.alignment import Segment, write_alignment
from textless.errors import UserError
from textless.features.store import FeatureStore
from textless.files import refuse_overwrite
from textless.progress import say, track
from unsup_asr.decoding.build import DecoderSources, build_decoder
from unsup_asr.decoding.decoder import DecodingOptions, GreedyDecoder, SearchDecoder, Transcript
from unsup_asr.decoding.tuning import Tuning, tune
from unsup_asr.phone_text import PhoneText
from unsup_asr.recognizers import Posteriors, Recognizer, check_features, load_recognizer
from unsup_asr.selection import Judge
from unsup_asr.transcripts import write_transcripts

AT_ONCE = 64  # utterances
TUNED_ON = 200  # utterances
SHOWN = 5


@dataclass(frozen=True)
class DecodingReport:
    """What was decoded, and with what.

    Attributes:
        empty: utterances in which nothing was recognised.
        unfinished: those among them where no sequence of words fits; a wider beam or a larger lexicon may help.
        phones: recognised, without silences.
        options: weights; None for greedy decoding.
        tuning: what was tried to find them.
    """

    utterances: int
    empty: int
    unfinished: int
    phones: int
    words: int
    options: DecodingOptions | None
    tuning: Tuning | None

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        words = f", {self.words} words" if self.words else ""
        weights = "greedily"
        if self.options:
            weights = f"with LM weight {self.options.lm_weight:g} and insertion score {self.options.insertion:g}"
        if self.tuning:
            away = 100 * self.tuning.best.errors
            weights += f", the best of {len(self.tuning.trials)} pairs ({away:.1f} % away from greedy)"
        return f"{self.utterances} utterances, {self.phones} phones{words}, {self.empty} empty, decoded {weights}"


def decode(
    features: Path,
    out: Path,
    model: Path,
    sources: DecoderSources,
    options: DecodingOptions,
    *,
    tune_text: Path | None = None,
    silences: bool = False,
    times: bool = False,
    force: bool = False,
) -> DecodingReport:
    """Write the transcripts of a feature store.

    Args:
        features: a feature store of the recogniser's encoder.
        out: phones; words go to `OUT.words.tsv` beside it, and times to `OUT.times.tsv`.
        model: directory of a recogniser.
        sources: language model and lexicon.
        options: weights of the search.
        tune_text: prepared text to find LM weight and insertion score by; None: as given.
        silences: write them, too.
        times: write where every phone, or word, lies.
        force: replace the files.

    Raises:
        UserError: something is missing or does not fit together, or nothing at all was recognised.
    """
    words_path = out.with_suffix(".words.tsv") if sources.lexicon else None
    times_path = out.with_suffix(".times.tsv") if times else None
    for path in (out, words_path, times_path):
        if path:
            refuse_overwrite(path, force=force)
    store, recognizer = FeatureStore(features), load_recognizer(model)
    check_features(recognizer, store.header, features)
    decoder = build_decoder(recognizer, sources, options)
    tuning = _tune(decoder, recognizer, store, tune_text) if tune_text else None
    transcripts = {
        name: decoder(posteriors)
        for name, posteriors in track(posteriors_of(recognizer, store, list(store)), "decoding", len(store))
    }
    phones = {name: transcript.without(recognizer.silence) for name, transcript in transcripts.items()}
    if not any(map(len, phones.values())):
        raise UserError(f"{model} recognises nothing in {features}: has it been trained on speech of this encoder?")
    empty = [name for name, found in phones.items() if not len(found)]
    unfinished = sum(not np.isfinite(transcript.score) for transcript in transcripts.values())
    if empty:
        say(f"nothing recognised in {len(empty)} of {len(phones)} utterances: {' '.join(empty[:SHOWN])}")
    if unfinished:
        say(f"no words of the lexicon fit {unfinished} of them; a wider --beam may find some")
    written = {name: t.phones for name, t in transcripts.items()} if silences else phones
    write_transcripts(out, {name: [recognizer.phones[p] for p in found] for name, found in written.items()})
    if words_path:
        write_transcripts(words_path, {name: t.words for name, t in transcripts.items()}, "words")
    if times_path:
        has_words = words_path is not None
        aligned = {name: _segments(t, recognizer, words=has_words) for name, t in transcripts.items()}
        write_alignment(times_path, aligned, "word" if has_words else "phone")
    return DecodingReport(
        len(phones),
        len(empty),
        unfinished,
        sum(map(len, phones.values())),
        sum(len(t.words) for t in transcripts.values()),
        None if isinstance(decoder, GreedyDecoder) else decoder.options,
        tuning,
    )


def posteriors_of(
    recognizer: Recognizer, store: Mapping[str, np.ndarray], ids: Sequence[str]
) -> Iterator[tuple[str, Posteriors]]:
    """Yield id and posteriors of utterances, some of which are computed at once."""
    for start in range(0, len(ids), AT_ONCE):
        some = ids[start : start + AT_ONCE]
        frames = [np.asarray(store[name], dtype=np.float32) for name in some]
        yield from zip(some, recognizer.posteriors(frames), strict=True)


def _tune(decoder: GreedyDecoder | SearchDecoder, recognizer: Recognizer, store: FeatureStore, text: Path) -> Tuning:
    if isinstance(decoder, GreedyDecoder):
        raise UserError("--tune finds the weight of a language model: give --lm, or --lexicon and --words-lm")
    ids = list(store)[:: max(1, len(store) // TUNED_ON)]
    posteriors = [found for _, found in posteriors_of(recognizer, store, ids)]
    return tune(decoder, posteriors, Judge(PhoneText.load(text)))


def _segments(transcript: Transcript, recognizer: Recognizer, *, words: bool) -> list[Segment]:
    """Where words, or phones without the silences, lie, in seconds of the speech that was encoded."""
    rate = recognizer.source.frame_rate
    labelled: Iterable[tuple[str, int, int]]
    if words:
        labelled = ((word, *span) for word, span in zip(transcript.words, transcript.word_spans.tolist(), strict=True))
    else:
        found = zip(transcript.phones.tolist(), transcript.starts.tolist(), transcript.ends.tolist(), strict=True)
        labelled = ((recognizer.phones[p], start, end) for p, start, end in found if p != recognizer.silence)
    return [Segment(start / rate, end / rate, label) for label, start, end in labelled]
