"""How fluent and how varied generated speech is, by what a transcriber hears: PPX, self-BLEU, auto-BLEU and VERT.

With log p_i the natural log-probability of text i and t_i its tokens, both by the judging language model,

    mean        Σ_i exp(-log p_i / t_i) / T         GSLM's program (Lakhotia et al. 2021), which prints the median too
    geometric   exp(Σ_i (-log p_i / t_i) / T)       GenPPL of slamkit (Maimon et al. 2025)
    corpus      exp(-Σ_i log p_i / Σ_i t_i)         what perplexity means elsewhere

and VERT = sqrt(self-BLEU × auto-BLEU), both averaged over texts first; with several orders N the mean of their VERTs.
GSLM takes N = 2. A temperature sweep is one curve, see `zerospeech_eval.tradeoff`. Self-BLEU grows with the number of
texts and both BLEUs with their length: compare sets of one size, and of one length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from textless.errors import UserError
from zerospeech_eval.continuations import Tokens
from zerospeech_eval.ngram_overlap import auto_bleu, repeated_share, self_bleu
from zerospeech_eval.text_lm import TextLM

Average = Literal["mean", "geometric", "corpus"]


@dataclass(frozen=True)
class SetScores:
    """What is measured of every text of a set, T of them.

    Shape:
        log_prob, n_tokens, repeated_bigrams: `(T,)`.
        self_bleu, auto_bleu: `(orders, T)`; self-BLEU of a single text is None.
    """

    names: Sequence[str]
    log_prob: np.ndarray
    n_tokens: np.ndarray
    self_bleu: np.ndarray | None
    auto_bleu: np.ndarray
    repeated_bigrams: np.ndarray

    @cached_property
    def _surprise(self) -> np.ndarray:
        return -self.log_prob / self.n_tokens

    def perplexity(self, average: Average, weights: np.ndarray | None = None) -> np.ndarray:
        """Perplexity `(...)`; `weights` `(..., T)` say how often each text counts, by default once."""
        weights = np.ones(len(self.names)) if weights is None else weights
        match average:
            case "mean":
                return weights @ np.exp(self._surprise) / weights.sum(axis=-1)
            case "geometric":
                return np.exp(weights @ self._surprise / weights.sum(axis=-1))
            case "corpus":
                return np.exp(-(weights @ self.log_prob) / (weights @ self.n_tokens))

    def vert(self, weights: np.ndarray | None = None) -> np.ndarray:
        """VERT `(...)`, 0 to 1; weighted like `perplexity`, each text keeping the references it had."""
        if self.self_bleu is None:
            raise UserError("VERT compares continuations with each other, and there is only one: generate more")
        weights = np.ones(len(self.names)) if weights is None else weights
        count = weights.sum(axis=-1)
        pairs = zip(self.self_bleu, self.auto_bleu, strict=True)
        return np.mean([np.sqrt((weights @ across) * (weights @ within)) / count for across, within in pairs], axis=0)

    def summary(self) -> dict[str, Any]:
        """All averages; BLEUs and VERT in percent, null where there is nothing to compare with."""
        alone = self.self_bleu is None
        return {
            "continuations": len(self.names),
            "perplexity": {name: float(self.perplexity(name)) for name in ("mean", "geometric", "corpus")}
            | {"median": float(np.median(np.exp(self._surprise)))},
            "self_bleu_percent": None if self.self_bleu is None else (100 * self.self_bleu.mean(axis=1)).tolist(),
            "auto_bleu_percent": (100 * self.auto_bleu.mean(axis=1)).tolist(),
            "vert_percent": None if alone else 100 * float(self.vert()),
            "repeated_bigrams_percent": 100 * float(self.repeated_bigrams.mean()),
        }


def judge(tokens: Tokens, texts: Sequence[str], lm: TextLM, orders: Sequence[int]) -> SetScores:
    """Measure a set.

    Args:
        tokens: of every utterance, none empty.
        texts: the same, as the language model reads them.
        lm: judges how fluent they are.
        orders: N of self-BLEU and auto-BLEU.

    Raises:
        UserError: the language model predicts no token of a text.
    """
    names, sequences = list(tokens), list(tokens.values())
    likelihoods = lm.score(texts)
    for name, likelihood in zip(names, likelihoods, strict=True):
        if not likelihood.tokens:
            raise UserError(f"{lm.name} predicts no token of {name!r}: it has no begin of sentence; take another model")
    return SetScores(
        names,
        np.array([likelihood.log_prob for likelihood in likelihoods]),
        np.array([likelihood.tokens for likelihood in likelihoods], dtype=np.float64),
        np.array([self_bleu(sequences, order) for order in orders]) if len(names) > 1 else None,
        np.array([auto_bleu(sequences, order) for order in orders]),
        repeated_share(sequences, 2, overlapping=True),
    )
