"""BLEU, self-BLEU and auto-BLEU by their definitions, in plain loops: Papineni et al. 2002, Lakhotia et al. 2021."""

import math
from collections import Counter


def ngrams(text: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def sentence_bleu(references: list[list[str]], text: list[str], order: int, *, brevity_penalty: bool) -> float:
    """Clipped precisions against all references, their geometric mean, no smoothing."""
    score = 1.0
    for n in range(1, order + 1):
        counts = Counter(ngrams(text, n))
        clipped = sum(
            min(count, max((Counter(ngrams(reference, n))[gram] for reference in references), default=0))
            for gram, count in counts.items()
        )
        score *= (clipped / max(1, sum(counts.values()))) ** (1 / order)
    if brevity_penalty and text:
        closest = min((abs(len(reference) - len(text)), len(reference)) for reference in references)[1]
        score *= 1.0 if len(text) > closest else math.exp(1 - closest / len(text))
    return score


def self_bleu(texts: list[list[str]], order: int, *, brevity_penalty: bool = False) -> list[float]:
    return [
        sentence_bleu(texts[:i] + texts[i + 1 :], text, order, brevity_penalty=brevity_penalty)
        for i, text in enumerate(texts)
    ]


def auto_bleu(text: list[str], order: int) -> float:
    """Share of the n-grams that occur wholly to the left or wholly to the right too; geometric mean over n."""
    score = 1.0
    for n in range(1, order + 1):
        found = ngrams(text, n)
        repeated = sum(gram in ngrams(text[:p], n) + ngrams(text[p + n :], n) for p, gram in enumerate(found))
        score *= (repeated / len(found) if found else 0.0) ** (1 / order)
    return score


def repeated_bigrams(text: list[str]) -> float:
    """Share of the bigrams that occur at another place, slamkit's auto-BLEU."""
    found = ngrams(text, 2)
    return sum(gram in found[:p] + found[p + 1 :] for p, gram in enumerate(found)) / len(found) if found else 0.0
