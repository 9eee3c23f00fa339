"""What decodes: posteriors of a recogniser → a transcript with times."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from textless.errors import UserError
from unsup_asr.decoding.automaton import Automaton, step
from unsup_asr.decoding.beam import NONE, Found, Task, Weights, search
from unsup_asr.decoding.best_path import greedy, spans
from unsup_asr.decoding.language_model import LanguageModel, require_phones
from unsup_asr.decoding.lexicon import Lexicon, phone_lexicon
from unsup_asr.recognizers import Posteriors, Topology


@dataclass(frozen=True)
class Transcript:
    """What was said in an utterance.

    Attributes:
        phones: `(M,)` numbers, silences among them.
        starts: `(M,)` first frame of the encoder of every phone, on the likeliest path through these phones.
        ends: `(M,)` the frame after its last.
        confidences: `(M,)` geometric mean of its probability over its rows.
        words: those that a lexicon allows; none without one.
        word_spans: `(W, 2)` first frame and the frame after the last of every word.
        score: natural log, of what the decoder goes by; minus infinity where no words fit and nothing was written.
    """

    phones: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    confidences: np.ndarray
    words: tuple[str, ...]
    word_spans: np.ndarray
    score: float

    def without(self, silence: int | None) -> np.ndarray:
        """The phones without the silences."""
        return self.phones if silence is None else self.phones[self.phones != silence]


class Decoder(Protocol):
    """Decodes one utterance after the other."""

    @property
    def topology(self) -> Topology:
        """That of the recogniser."""
        ...

    def __call__(self, posteriors: Posteriors) -> Transcript:
        """What was said.

        Raises:
            UserError: a probability is not a number.
        """
        ...


class SearchDecoder(Decoder, Protocol):
    """One that goes by a language model, too; `phones`, `silence` and `words` as of `BeamDecoder`."""

    phones: tuple[str, ...]
    silence: int | None
    words: tuple[str, ...]
    options: "DecodingOptions"

    def set_options(self, options: "DecodingOptions") -> None:
        """Decode with other weights from now on."""
        ...


@dataclass(frozen=True)
class DecodingOptions:
    """How the beam search decodes.

    Attributes:
        lm_weight: of the language model's log-probabilities, against 1 of the recogniser's.
        insertion: added for every phone or, with a lexicon, every word. In an HMM of equal probabilities to stay in a
            phone it is the log odds of leaving it, so there is no other knob for that.
        silence: added for every silence instead.
        beam: hypotheses kept after a row.
        threshold: those are dropped whose score is so much below the best.
        sum_paths: whether all paths of the same phones count together; if not, the likeliest.
    """

    lm_weight: float = 2.0
    insertion: float = 1.0
    silence: float = 0.0
    beam: int = 100
    threshold: float = 25.0
    sum_paths: bool = False

    def __post_init__(self) -> None:
        if self.lm_weight < 0 or self.beam < 1 or self.threshold <= 0:
            raise UserError(
                f"LM weight {self.lm_weight:g}, beam {self.beam} and threshold {self.threshold:g} should be at least "
                "0, at least 1 and above 0"
            )


@dataclass(frozen=True)
class GreedyDecoder:
    """The likeliest path of every utterance."""

    topology: Topology

    def __call__(self, posteriors: Posteriors) -> Transcript:
        """See `Decoder`."""
        check_posteriors(posteriors)
        none = np.empty(0, dtype=np.int64)
        score = float(posteriors.log_probs.max(axis=1, initial=-np.inf).sum())
        return transcript(posteriors, Found(greedy(posteriors.log_probs, self.topology), none, none, score), self)


class BeamDecoder:
    """The best phones, or words, by the recogniser and a language model together.

    Args:
        phones: of the recogniser.
        silence: which of them is the silence.
        topology: of the recogniser.
        language_model: of phones or, with a lexicon, of words.
        lexicon: the words, all of which the language model knows; None: phones.
        options: see there.

    Raises:
        UserError: the language model lacks phones of the recogniser.
    """

    def __init__(
        self,
        phones: tuple[str, ...],
        silence: int | None,
        topology: Topology,
        language_model: LanguageModel,
        lexicon: Lexicon | None = None,
        options: DecodingOptions = DecodingOptions(),
    ) -> None:
        self.phones, self.silence, self.topology = phones, silence, topology
        self.words = lexicon.words if lexicon else ()
        written = lexicon or phone_lexicon(phones)
        tokens = language_model.tokens(written.words) if lexicon else require_phones(language_model, phones)
        if lexicon and (tokens < 0).any():
            raise ValueError("the language model lacks words of the lexicon")
        automaton = Automaton.of(language_model.model)
        is_free = silence is not None and (lexicon is not None or tokens[silence] < 0)
        log_probs = np.array([step(automaton, 0, token)[0] if token >= 0 else -np.inf for token in tokens.tolist()])
        pronunciations = tuple(pair for pair in written.pronunciations if tokens[pair[0]] >= 0)
        self._task = Task(
            len(phones) if topology == "ctc" else NONE,
            silence if silence is not None and is_free else NONE,
            Lexicon(written.words, pronunciations).tree(log_probs, merge_equal=topology != "ctc"),
            automaton,
            tokens,
        )
        self.set_options(options)

    def set_options(self, options: DecodingOptions) -> None:
        """Decode with other weights from now on."""
        self.options = options
        insertions = np.full(len(self._task.tokens), options.insertion)
        if self.silence is not None and not self.words:
            insertions[self.silence] = options.silence
        self._weights = Weights(
            options.lm_weight, insertions, options.silence, options.beam, options.threshold, options.sum_paths
        )

    def __call__(self, posteriors: Posteriors) -> Transcript:
        """See `Decoder`."""
        check_posteriors(posteriors)
        return transcript(posteriors, search(posteriors.log_probs, self._task, self._weights), self)


def transcript(posteriors: Posteriors, found: Found, decoder: GreedyDecoder | SearchDecoder) -> Transcript:
    """Lay what was found on the rows of an utterance."""
    logs = posteriors.log_probs
    rows = spans(logs, found.phones, decoder.topology)
    confidences = [float(np.exp(logs[a:b, p].mean())) for (a, b), p in zip(rows, found.phones, strict=True)]
    starts, ends = posteriors.starts[rows[:, 0]], posteriors.ends[rows[:, 1] - 1]
    words: list[str] = []
    word_spans: list[tuple[int, int]] = []
    if not isinstance(decoder, GreedyDecoder) and decoder.words:
        begin = 0
        for word, end in zip(found.words.tolist(), found.word_ends.tolist(), strict=True):
            while found.phones[begin] == decoder.silence:
                begin += 1
            words.append(decoder.words[word])
            word_spans.append((int(starts[begin]), int(ends[end - 1])))
            begin = end
    return Transcript(
        found.phones,
        starts,
        ends,
        np.array(confidences, dtype=np.float64),
        tuple(words),
        np.array(word_spans, dtype=np.int64).reshape(-1, 2),
        found.score,
    )


def check_posteriors(posteriors: Posteriors) -> None:
    """Refuse what is not a number."""
    if np.isnan(posteriors.log_probs).any():
        raise UserError("the recogniser gives probabilities that are not numbers: it has not been trained to its end")
