"""What speech and text look like beside each other, before anything is trained: lengths, rates, n-grams, and a warning.

Speech is clusters of segments, text is phones, and nobody knows which cluster is which phone. What can be compared
without knowing is little:

- *rates*: languages are spoken at 10 to 15 phones a second; a generator whose outputs come at 25 to 28 a second has
  never been seen to converge (Liu et al. 2022, table 6).
- *entropies*: how well a symbol is predicted by the one or two before it. For the reader; clusters are more in number
  than phones and say who speaks, so these differ in the best of cases.
- *agreement*: a table from clusters to phones is matched to one half of the speech (`unsup_asr.matching`) and looked at
  on the other half: do the phones that it says come after each other as in the text? It is the correlation, over all
  pairs of phones, of what speech and text have more of such a pair than chance, averaged over the distances 2 to 4.
  Neighbours do not count: that consonants and vowels take turns is so in every language.

Where it is low something is wrong: another language, clusters that are no phones, or too little speech. Where it is
high speech and text mostly belong together, but clusters far from phones can be made to resemble languages of few
phones. See docs/asr.md for what was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unsup_asr.matching import MatchingOptions, match_clusters
from unsup_asr.phone_text import PhoneText
from unsup_asr.selection import without
from unsup_asr.skipgrams import statistics, stretch
from unsup_asr.speech_segments import SpeechSegments

SLOWEST, FASTEST = 8.0, 20.0  # tokens a second that a recogniser can turn into phones
KERNEL = 6  # of wav2vec-U's discriminator; shorter utterances are padding for the most part
FITS = 0.3  # agreement below which there is a warning
NEAREST, FARTHEST = 2, 4  # places between phones
MATCHING = MatchingOptions(
    restarts=4, steps=800, position_weight=0.1, stretch=0.1, first_rate=0.1, last_rate=0.001
)  # by which FITS was found


@dataclass(frozen=True)
class Side:
    """Speech or text as sequences of symbols. Entropies in bits, of a symbol given none, one and two before it."""

    sequences: int
    tokens: int
    symbols: int
    tokens_per_sequence: float
    entropies: tuple[float, float, float]

    def __str__(self) -> str:
        entropies = ", ".join(f"{value:.2f}" for value in self.entropies)
        return (
            f"{self.sequences} sequences of {self.tokens_per_sequence:.1f} tokens, {self.symbols} symbols, "
            f"entropies {entropies} bits"
        )


@dataclass(frozen=True)
class Comparison:
    """Both sides, and what is wrong with them.

    Attributes:
        speech: clusters, equal neighbours together.
        text: phones without silences.
        seconds: of speech.
        segments_per_second: as they were cut.
        tokens_per_second: after pooling.
        short_utterances: of fewer tokens than the discriminator looks at together.
        agreement: see above; None where it was not asked for.
        warnings: a sentence each.
    """

    speech: Side
    text: Side
    seconds: float
    segments_per_second: float
    tokens_per_second: float
    short_utterances: int
    agreement: float | None
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"speech: {self.seconds / 3600:.3f} h, {self.tokens_per_second:.2f} tokens a second; {self.speech}",
            f"text: {self.text}",
        ]
        if self.agreement is not None:
            lines.append(f"agreement of clusters and phones: {self.agreement:.3f}")
        return "\n".join([*lines, *(f"WARNING: {warning}" for warning in self.warnings)])


def compare(speech: SpeechSegments, text: PhoneText, *, pool: int = 1, match: bool = True) -> Comparison:
    """Compare prepared speech and prepared text.

    Args:
        speech: training speech.
        text: unpaired text.
        pool: neighbouring segments that training reads as one.
        match: find the agreement, which takes some seconds.
    """
    cut = [speech[utterance_id] for utterance_id in speech]
    clusters = [segments.clusters.astype(np.int64) for segments in cut]
    sentences = [without(sentence, text.silence) for sentence in text.sentences]
    seconds = sum(int(segments.frames.sum()) for segments in cut) / speech.frame_rate
    n_segments = sum(map(len, clusters))
    n_tokens = sum(-(-len(row) // pool) for row in clusters)
    per_second = n_tokens / max(seconds, 1e-9)
    short = sum(-(-len(row) // pool) < KERNEL for row in clusters)
    agreement = agreement_of(clusters, speech.n_clusters, text.sentences, len(text.phones)) if match else None
    speech_side, text_side = _side(clusters, speech.n_clusters), _side(sentences, len(text.phones))
    return Comparison(
        speech_side,
        text_side,
        seconds,
        n_segments / max(seconds, 1e-9),
        per_second,
        short,
        agreement,
        tuple(_warnings(per_second, short, len(cut), agreement, speech_side, text_side)),
    )


def agreement_of(
    clusters: Sequence[np.ndarray], n_clusters: int, sentences: Sequence[np.ndarray], n_phones: int, seed: int = 0
) -> float:
    """How well the best table from clusters to phones, found on every second utterance, explains the others.

    Args:
        clusters: `(N,)` of every utterance.
        n_clusters: K.
        sentences: `(N,)` phones of every sentence.
        n_phones: V.
        seed: of the beginnings.

    Returns:
        Correlation, 1 for the same pairs in the same proportions, about 0 for nothing in common.
    """
    fitted, held_out = clusters[0::2], clusters[1::2]
    if not sum(map(len, held_out)) or not sum(map(len, sentences)):
        return 0.0
    options = MATCHING.model_copy(update={"seed": seed})
    table = match_clusters(fitted, n_clusters, sentences, n_phones, options).table
    heard = statistics(held_out, n_clusters, lags=FARTHEST, parts=1).joint
    written = statistics(stretch(sentences, options.stretch, seed), n_phones, lags=FARTHEST, parts=1).joint
    said = np.einsum("lab,av,bw->lvw", heard, table, table, optimize=True)
    pairs = zip(said[NEAREST - 1 :], written[NEAREST - 1 :], strict=True)
    return float(np.mean([_correlation(ours, theirs) for ours, theirs in pairs]))


def _correlation(said: np.ndarray, written: np.ndarray) -> float:
    """Of what two joint distributions `(V, V)` have beyond chance; rare pairs count as much as frequent ones."""
    scale = np.sqrt(np.outer(written.sum(axis=1), written.sum(axis=0)))
    beyond = (joint - np.outer(joint.sum(axis=1), joint.sum(axis=0)) for joint in (said, written))
    ours, theirs = (np.divide(excess, scale, where=scale > 0, out=np.zeros_like(excess)) for excess in beyond)
    norm = np.sqrt((ours**2).sum() * (theirs**2).sum())
    return float((ours * theirs).sum() / norm) if norm else 0.0


def _side(sequences: Sequence[np.ndarray], k: int) -> Side:
    merged = [row[np.concatenate([[True], row[1:] != row[:-1]])] if len(row) else row for row in sequences]
    tokens = sum(map(len, merged))
    used = np.unique(np.concatenate(merged)) if tokens else np.empty(0)
    blocks = [0.0, *(_block_entropy(merged, k, order) for order in (1, 2, 3))]
    first, second, third = np.diff(blocks).tolist()
    return Side(len(merged), tokens, len(used), tokens / max(1, len(merged)), (first, second, third))


def _block_entropy(sequences: Sequence[np.ndarray], k: int, order: int) -> float:
    """Entropy in bits of n-grams, with Miller and Madow's correction for how many there are of how many tokens."""
    keys = [
        sum(row[i : len(row) - order + 1 + i].astype(np.int64) * k ** (order - 1 - i) for i in range(order))
        for row in sequences
        if len(row) >= order
    ]
    if not keys:
        return 0.0
    counts = np.unique(np.concatenate(keys), return_counts=True)[1]
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum() + (len(counts) - 1) / (2 * np.log(2) * counts.sum()))


def _warnings(
    per_second: float, short: int, utterances: int, agreement: float | None, speech: Side, text: Side
) -> list[str]:
    found = []
    if not SLOWEST <= per_second <= FASTEST:
        found.append(
            f"{per_second:.1f} tokens a second: speech has 10 to 15 phones; change --segments-per-second or the "
            "pooling, and see that the silences are gone"
        )
    if agreement is not None and agreement < FITS:
        found.append(
            f"no table from clusters to phones makes speech sound like the text (agreement {agreement:.2f}, "
            f"{FITS:g} and more where they fit): the text may be of another language or kind, the features too far "
            "from phones, or the speech too short"
        )
    if text.tokens < speech.tokens:
        found.append(f"there is less text ({text.tokens} phones) than speech ({speech.tokens} tokens): more is better")
    if short:
        found.append(f"{short} of {utterances} utterances have less than {KERNEL} tokens: they teach nothing")
    return found
