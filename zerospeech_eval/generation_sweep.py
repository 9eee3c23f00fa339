"""Judge continuations over a temperature sweep: transcribe, measure every set, and the curve that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.errors import UserError
from textless.progress import say
from zerospeech_eval import tradeoff
from zerospeech_eval.continuations import Reader, Source, Tokens, draw, without_empty
from zerospeech_eval.generation import Average, SetScores, judge
from zerospeech_eval.text_lm import TextLM, load_text_lm
from zerospeech_eval.texts import write_transcripts
from zerospeech_eval.tradeoff import Oracle, Resamples, Tradeoff
from zerospeech_eval.transcribers import Kind, check_symbols, load_transcriber

UNEQUAL = 1.05  # sets whose sizes differ by more do not compare


@dataclass(frozen=True)
class Settings:
    """How to judge.

    Attributes:
        lm: specification of the text language model, see `load_text_lm`.
        transcriber: of the transcriber, see `load_transcriber`; not needed for transcripts.
        kind: what tokens are; by default what the transcriber writes, else words.
        orders: N of self-BLEU and auto-BLEU; VERT is the mean over them.
        average: of perplexity.
        verbatim: keep case and punctuation.
        limit: judge so many texts of each set, drawn at random.
        n_resamples: of the bootstrap.
        seed: of draws.
    """

    lm: str
    transcriber: str | None = None
    kind: Kind | None = None
    orders: Sequence[int] = (2,)
    average: Average = "mean"
    verbatim: bool = False
    limit: int | None = None
    n_resamples: int = 1000
    seed: int = 0


@dataclass(frozen=True)
class Judged:
    """A set and its scores; `n_empty` transcripts were left out."""

    source: Source
    scores: SetScores
    n_empty: int

    def summary(self) -> dict[str, Any]:
        """Everything, and where it came from."""
        where = {"temperature": self.source.temperature, "path": str(self.source.path), "empty": self.n_empty}
        return where | self.scores.summary()


@dataclass(frozen=True)
class SweepResult:
    """Scores of every set, coldest first, of reference texts, and of the curve."""

    kind: Kind
    transcriber: str | None
    lm: str
    settings: Settings
    sets: Sequence[Judged]
    reference: Judged | None
    oracle: Oracle | None
    resamples: Resamples | None
    curve: Tradeoff | None
    notes: Sequence[str]

    def summary(self) -> dict[str, Any]:
        """Everything, for JSON."""
        result: dict[str, Any] = {
            "transcriber": self.transcriber,
            "language_model": self.lm,
            "tokens": self.kind,
            "orders": list(self.settings.orders),
            "perplexity_of_the_curve": self.settings.average,
            "sets": [judged.summary() for judged in self.sets],
            "reference": None if self.reference is None else self.reference.summary(),
        }
        if self.resamples is not None:
            for row, found in enumerate(result["sets"]):
                found["perplexity_interval_95"] = _interval(self.resamples.ppx[row])
                found["vert_percent_interval_95"] = _interval(100 * self.resamples.vert[row])
        if self.curve is not None and self.resamples is not None:
            result["curve"] = tradeoff.summary(self.curve, self.resamples, self.notes)
        return result


def _interval(values: np.ndarray) -> list[float]:
    return [float(value) for value in np.nanpercentile(values, [2.5, 97.5])]


def evaluate(
    sources: Sequence[Source],
    settings: Settings,
    *,
    reference: Path | None = None,
    transcripts: Path | None = None,
    device: str = "auto",
) -> SweepResult:
    """Judge sets of continuations.

    Args:
        sources: coldest first, see `parse_sources`.
        settings: how.
        reference: texts or recordings of people, the oracle.
        transcripts: folder to write what was heard to, a file a set; these can be judged again without a transcriber.
        device: of the transcriber and the language model.

    Raises:
        UserError: nothing is said anywhere, a set has one continuation where they are to be compared, the reference is
            of other tokens, or a file is not what it should be.
    """
    transcriber = None if settings.transcriber is None else load_transcriber(settings.transcriber, device)
    kind = settings.kind or (transcriber.kind if transcriber is not None else "words")
    if transcriber is not None and transcriber.kind != kind and (kind, transcriber.kind) != ("characters", "words"):
        raise UserError(f"{transcriber.name} writes {transcriber.kind}, not {kind}: leave out --tokens")
    lm = load_text_lm(settings.lm, device)
    reader = Reader(kind, transcriber, verbatim=settings.verbatim)
    said = {}
    if reference is not None:
        said = reader.read(reference, prefer_text=True)
        if transcriber is not None and kind == transcriber.kind:
            check_symbols(said.values(), transcriber, str(reference))
    heard = [reader.read(source.path) for source in sources]
    if transcripts is not None:
        names = ["continuations" if s.temperature is None else f"temperature-{s.temperature:g}" for s in sources]
        for name, tokens in [*zip(names, heard, strict=True), *([("reference", said)] if said else [])]:
            texts = {utterance: reader.join(found) for utterance, found in tokens.items()}
            write_transcripts(transcripts / f"{name}.tsv", texts)
    sets = [_judge(source, tokens, reader, lm, settings) for source, tokens in zip(sources, heard, strict=True)]
    oracle_set = None if reference is None else _judge(Source(None, reference), said, reader, lm, settings)
    _compare_sizes([*sets, *([] if oracle_set is None else [oracle_set])])
    transcriber_name = None if transcriber is None else transcriber.name
    found = _curve(sets, oracle_set, settings)
    return SweepResult(kind, transcriber_name, lm.name, settings, sets, oracle_set, *found)


def _judge(source: Source, tokens: Tokens, reader: Reader, lm: TextLM, settings: Settings) -> Judged:
    kept = without_empty(tokens, str(source.path))
    drawn = draw(kept, settings.limit, settings.seed)
    texts = [reader.join(found) for found in drawn.values()]
    return Judged(source, judge(drawn, texts, lm, settings.orders), len(tokens) - len(kept))


def _compare_sizes(judged: Sequence[Judged]) -> None:
    sizes = [len(found.scores.names) for found in judged]
    if max(sizes) > UNEQUAL * min(sizes):
        say(
            f"the sets have {min(sizes)} to {max(sizes)} texts, and self-BLEU grows with their number: compare after "
            f"--limit {min(sizes)}"
        )


def _curve(
    sets: Sequence[Judged], reference: Judged | None, settings: Settings
) -> tuple[Oracle | None, Resamples | None, Tradeoff | None, list[str]]:
    """Oracle, resamples, the curve's numbers, and what keeps them undefined."""
    alone = [found for found in [*sets, *([] if reference is None else [reference])] if found.scores.self_bleu is None]
    if alone and (reference is not None or len(sets) > 1):
        raise UserError(
            f"{alone[0].source.path} has one text, and self-BLEU compares a text with others: give more of them"
        )
    if alone:
        return None, None, None, [f"{alone[0].source.path} has one text: self-BLEU and VERT are undefined"]
    scores = [found.scores for found in sets]
    oracle = None
    if reference is not None:
        oracle = Oracle(float(reference.scores.perplexity(settings.average)), float(reference.scores.vert()))
    resamples = tradeoff.resample(scores, settings.average, oracle, settings.n_resamples, settings.seed)
    if oracle is None:
        return None, resamples, None, []
    vert = np.array([float(found.vert()) for found in scores])
    ppx = np.array([float(found.perplexity(settings.average)) for found in scores])
    return oracle, resamples, tradeoff.measure(vert, ppx, oracle), tradeoff.reach(vert, ppx, oracle)
