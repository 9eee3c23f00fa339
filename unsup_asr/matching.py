"""From clusters of segments to phones without adversaries: a table that makes the statistics of speech those of text.

Every cluster c of K sounds as phone v of V with probability O[c, v]. If C_l are the skip-grams of clusters at lag l and
T_l those of phones in text, O should satisfy Oᵀ C_l O = T_l; so should positions, P_c O = P_t. The table is the softmax
of free numbers, and the sum of absolute differences falls by gradient descent from several random beginnings at once;
the one that ends lowest is taken. It takes seconds, and reads no label (see `unsup_asr.skipgrams` for the source).
On planted languages of 20 and 40 phones every beginning ends in the right table with 1,600 steps from a rate of 0.1,
and two of three from 0.2; with 800 from 0.05 half of them do, and with 400 none. The defaults are what was best with
the clusters of small encoders, whose statistics are noisier: there the table is coarse whatever one does, and a rate
that stays high, text that is stretched more and a light hand with positions gained 8 points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from textless.config import Config
from unsup_asr.skipgrams import Statistics, statistics, stretch


class MatchingOptions(Config):
    """How tables are searched.

    Attributes:
        lags: longest distance of skip-grams.
        parts: of a sentence, for positions.
        position_weight: against 1 for all skip-grams. At 1 it ruins the match: speech is cut differently from text.
        stretch: share of phones of the text that are doubled, as they are among segments.
        restarts: random beginnings.
        steps: of Adam, with rates that fall from `first_rate` to `last_rate` geometrically.
        seed: of the beginnings and the stretching.
    """

    lags: int = Field(default=7, ge=1)
    parts: int = Field(default=30, ge=1)
    position_weight: float = Field(default=0.05, ge=0)
    stretch: float = Field(default=0.15, ge=0, le=1)
    restarts: int = Field(default=3, ge=1)
    steps: int = Field(default=1600, ge=1)
    first_rate: float = Field(default=0.2, gt=0)
    last_rate: float = Field(default=0.01, gt=0)
    spread: float = Field(default=0.1, ge=0)  # standard deviation of the beginnings
    seed: int = 0


@dataclass(frozen=True)
class Matching:
    """The tables found, best first: `tables` `(R, K, V)` probabilities of phones, `losses` `(R,)`."""

    tables: np.ndarray
    losses: np.ndarray

    @property
    def table(self) -> np.ndarray:
        """`(K, V)` of the lowest loss."""
        return self.tables[0]


def match_clusters(
    clusters: Sequence[np.ndarray],
    n_clusters: int,
    sentences: Sequence[np.ndarray],
    n_phones: int,
    options: MatchingOptions,
) -> Matching:
    """Find what the clusters sound as.

    Args:
        clusters: `(N,)` cluster of every segment of every utterance.
        n_clusters: K.
        sentences: `(N,)` phones of every sentence of the text, of no recording in particular.
        n_phones: V.
        options: see there.
    """
    sizes = {"lags": options.lags, "parts": options.parts}
    speech = statistics(clusters, n_clusters, **sizes)
    text = statistics(stretch(sentences, options.stretch, options.seed), n_phones, **sizes)
    generator = torch.Generator().manual_seed(options.seed)
    shape = (options.restarts, n_clusters, n_phones)
    scores = (options.spread * torch.randn(shape, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([scores], lr=options.first_rate)
    distance = Distance(speech, text, options.position_weight)
    for step in range(options.steps):
        fallen = (options.last_rate / options.first_rate) ** (step / options.steps)
        optimizer.param_groups[0]["lr"] = options.first_rate * fallen
        optimizer.zero_grad()
        distance(scores.softmax(-1)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        tables = scores.softmax(-1)
        losses = distance(tables)
    order = losses.argsort()
    return Matching(tables[order].numpy(), losses[order].numpy())


class Distance:
    """How far the statistics that tables give to speech are from those of text."""

    def __init__(self, speech: Statistics, text: Statistics, position_weight: float) -> None:
        self.joint, self.positions, self.text_joint, self.text_positions = (
            torch.from_numpy(array).float() for array in (speech.joint, speech.positions, text.joint, text.positions)
        )
        self.position_weight = position_weight

    def __call__(self, tables: torch.Tensor) -> torch.Tensor:
        """Tables `(R, K, V)` → `(R,)`."""
        half = torch.einsum("lab,rbw->rlaw", self.joint, tables)
        joint = torch.einsum("rav,rlaw->rlvw", tables, half)  # Oᵀ C O
        positions = torch.einsum("pa,rav->rpv", self.positions, tables)
        skipgrams = (joint - self.text_joint).abs().sum((1, 2, 3))
        return skipgrams + self.position_weight * (positions - self.text_positions).abs().sum((1, 2))
