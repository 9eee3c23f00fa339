"""How good a recogniser is, without a label: its transcripts against the statistics of unpaired text.

Everything here takes phones that were recognised and text that is unpaired. There is no argument that a reference could
be given to.

- *weighted perplexity*, of the released wav2vec-U code: perplexity under a phone LM divided by the square of the share
  of the phones that are used at all. Silences are taken out first. It shows collapse, but does not rank good models.
- *the paper's criterion* (Baevski et al. 2021, section 3.5 and appendix B), in three steps: see `three_steps`.
- *strangeness*: of what a network hears without n-grams, between text (0) and text in random order (1). A recogniser
  whose chain has the n-grams of the text writes sentences of it whatever it hears, and all of the above like them; but
  where speech and text are not of one language, the network by itself says nothing that is like text. Seen were 0.5
  where a third of the phones was wrong, and 0.9 with text of another language; above 0.7, a recogniser is doubtful.
- *divergence*: Jensen-Shannon, of n-grams of transcripts and text; *rate*: phones a second against text's phones a
  sentence cannot be compared, but phones an utterance can, where sentences are of one kind.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np

from textless.errors import UserError
from units.kneser_ney import NgramModel
from unsup_asr.phone_text import PhoneText

SLACK = math.log(1.2)  # of the paper's second step
LM_ORDER = 4
LONGEST_DIVERGENCE = 4
DOUBTFUL = 0.7  # strangeness


@dataclass(frozen=True)
class Quality:
    """What can be said of a set of transcripts.

    Attributes:
        tokens: phones recognised, without silences.
        sentences: transcripts that are not empty.
        log_prob: of all transcripts under the LM, natural, with their ends.
        usage: share of the phones of the text that occur.
        divergence: Jensen-Shannon divergence in bits of n-grams of every order 1, 2, ...
        tokens_per_sentence: of the transcripts, over those of the text: 1 where both are of the same kind.
    """

    tokens: int
    sentences: int
    log_prob: float
    usage: float
    divergence: tuple[float, ...]
    tokens_per_sentence: float

    @property
    def nats(self) -> float:
        """Negative log probability a token and end."""
        return -self.log_prob / max(1, self.tokens + self.sentences)

    @property
    def perplexity(self) -> float:
        """A token and end."""
        return math.exp(min(self.nats, 700.0))

    @property
    def weighted_perplexity(self) -> float:
        """Perplexity / usage²; infinite where nothing was recognised."""
        return self.perplexity / self.usage**2 if self.usage else math.inf

    @property
    def is_collapsed(self) -> bool:
        """Most phones unused, or transcripts of a length that no text has."""
        return self.usage < 0.5 or not 1 / 3 < self.tokens_per_sentence < 3

    @property
    def rate_term(self) -> float:
        """How far the length of transcripts is from that of sentences: |ln| of their ratio."""
        return abs(math.log(self.tokens_per_sentence)) if self.tokens_per_sentence else math.inf

    def record(self) -> dict[str, float]:
        """All numbers, those that follow from others too, for a log or a header."""
        values = asdict(self)
        divergence = {f"divergence_{order}": value for order, value in enumerate(values.pop("divergence"), 1)}
        derived = {"perplexity": self.perplexity, "weighted_perplexity": self.weighted_perplexity}
        return values | divergence | derived

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """What `record` made.

        Raises:
            KeyError: something is missing.
        """
        divergence = tuple(record[f"divergence_{order}"] for order in range(1, LONGEST_DIVERGENCE + 1))
        rest = ("tokens", "sentences", "log_prob", "usage", "tokens_per_sentence")
        return cls(divergence=divergence, **{name: record[name] for name in rest})


class Judge:
    """Judges transcripts by unpaired text."""

    def __init__(self, text: PhoneText) -> None:
        self.text = text
        sentences = [without(s, text.silence) for s in text.sentences]
        if not any(map(len, sentences)):
            raise UserError("the text has no phones to judge by")
        self.n_phones = len(text.phones)
        self.lm = NgramModel.fit(sentences, self.n_phones, LM_ORDER)
        self.n_used = len(np.unique(np.concatenate(sentences)))
        self.mean_length = sum(map(len, sentences)) / len(sentences)
        self._sentences = sentences
        self._ngrams = [ngram_counts(sentences, order, self.n_phones) for order in range(1, LONGEST_DIVERGENCE + 1)]

    @cached_property
    def text_nats(self) -> float:
        """Of the text itself, a phone or end."""
        log_prob = math.fsum(float(row.sum()) for row in self.lm.log_probs(self._sentences))
        return -log_prob / (sum(map(len, self._sentences)) + len(self._sentences))

    @cached_property
    def shuffled_nats(self) -> float:
        """Of sentences as long as those of the text, with its phones in random order; a phone or end."""
        phones = np.random.default_rng(0).permutation(np.concatenate(self._sentences))
        shuffled = np.split(phones, np.cumsum([len(sentence) for sentence in self._sentences])[:-1])
        return -math.fsum(float(row.sum()) for row in self.lm.log_probs(shuffled)) / (len(phones) + len(shuffled))

    def strangeness(self, alone: Quality) -> float:
        """How far what a network hears without n-grams is from text: 0 like text, 1 like its phones at random."""
        if not alone.tokens:
            return math.inf
        return (alone.nats - self.text_nats) / max(1e-9, self.shuffled_nats - self.text_nats)

    def __call__(self, transcripts: Sequence[np.ndarray]) -> Quality:
        """Judge phones `(N,)` of every utterance."""
        said = [without(t, self.text.silence) for t in transcripts]
        said = [t for t in said if len(t)]
        tokens = sum(map(len, said))
        if not said:
            return Quality(0, 0, 0.0, 0.0, (1.0,) * LONGEST_DIVERGENCE, 0.0)
        log_prob = math.fsum(float(row.sum()) for row in self.lm.log_probs(said))
        used = len(np.unique(np.concatenate(said)))
        counts = (ngram_counts(said, order, self.n_phones) for order in range(1, LONGEST_DIVERGENCE + 1))
        divergence = tuple(jensen_shannon(ours, theirs) for ours, theirs in zip(counts, self._ngrams, strict=True))
        per_sentence = tokens / len(transcripts) / self.mean_length
        return Quality(tokens, len(said), log_prob, used / self.n_used, divergence, per_sentence)


@dataclass(frozen=True)
class ThreeSteps:
    """How the paper's criterion goes: indices of the anchor, of those kept beside it, and of the best of these."""

    anchor: int
    kept: tuple[int, ...]
    chosen: int


def three_steps(qualities: Sequence[Quality]) -> ThreeSteps:
    """Choose among recognisers of the same utterances, by the paper's criterion.

    1. The anchor P̂ has the lowest NLL(P) - log U(P), with U the usage.
    2. Kept are those with NLL(P) < NLL(P̂) + log(U(P) / U(P̂)) + log 1.2.
    3. Of these the one with the largest Σ log p(P), not normalised by length: of models that speak the language equally
       well, the one that says least too much.
    """
    alive = [i for i, q in enumerate(qualities) if q.usage > 0]
    if not alive:
        raise ValueError("no recogniser has recognised anything")
    anchor = min(alive, key=lambda i: qualities[i].nats - math.log(qualities[i].usage))

    def is_kept(i: int) -> bool:
        gained = math.log(qualities[i].usage / qualities[anchor].usage)
        return qualities[i].nats < qualities[anchor].nats + gained + SLACK

    kept = tuple(i for i in alive if is_kept(i))
    return ThreeSteps(anchor, kept, max(kept, key=lambda i: qualities[i].log_prob))


def choose(qualities: Sequence[Quality]) -> int:
    """The index of the best of several recognisers of the same utterances, see `three_steps`."""
    return three_steps(qualities).chosen


def in_text_phones(transcripts: Sequence[np.ndarray], phones: Sequence[str], text: PhoneText) -> list[np.ndarray]:
    """Numbers of the phones of a recogniser → those of the text.

    Raises:
        UserError: the recogniser has phones that the text does not have.
    """
    numbers = {phone: number for number, phone in enumerate(text.phones)}
    strange = [phone for phone in phones if phone not in numbers]
    if strange:
        raise UserError(
            f"{len(strange)} of the {len(phones)} phones of the recogniser ({' '.join(strange[:8])}) are not in the "
            f"text, which has {' '.join(text.phones[:8])}; use the text that it was trained on"
        )
    table = np.array([numbers[phone] for phone in phones], dtype=np.int64)
    return [table[transcript] for transcript in transcripts]


def without(phones: np.ndarray, silence: int | None) -> np.ndarray:
    """Phones `(N,)` without the silences."""
    return phones if silence is None else phones[phones != silence]


def ngram_counts(sequences: Sequence[np.ndarray], order: int, k: int) -> dict[int, int]:
    """How often each n-gram occurs inside of the sequences; n-grams as numbers of base k."""
    keys = [
        sum(sequence[i : len(sequence) - order + 1 + i].astype(np.int64) * k ** (order - 1 - i) for i in range(order))
        for sequence in sequences
        if len(sequence) >= order
    ]
    if not keys:
        return {}
    found, counts = np.unique(np.concatenate(keys), return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def jensen_shannon(first: dict[int, int], second: dict[int, int]) -> float:
    """Divergence in bits of two distributions given by counts: 0 equal, 1 with nothing in common."""
    if not first or not second:
        return 1.0
    keys = np.array(sorted(first.keys() | second.keys()))
    p, q = (np.array([counts.get(key, 0) for key in keys.tolist()], dtype=float) for counts in (first, second))
    p, q = p / p.sum(), q / q.sum()
    mean = (p + q) / 2
    return float((_relative_entropy(p, mean) + _relative_entropy(q, mean)) / 2)


def _relative_entropy(p: np.ndarray, q: np.ndarray) -> float:
    present = p > 0
    return float((p[present] * np.log2(p[present] / q[present])).sum())
