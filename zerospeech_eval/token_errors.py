"""Error rates of tokens (phones, characters or words): the fewest edits from what was to be said to what was heard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numba import njit

from textless.errors import UserError
from textless.files import atomic_write
from zerospeech_eval.names import listed

RESAMPLES = 2_000
NOTHING = -1  # beside a token that is deleted or inserted
Token = Literal["phone", "character", "word"]


@dataclass(frozen=True)
class Utterance:
    """What was to be said, what was heard, and the fewest edits from one to the other."""

    id: str
    reference: list[str]
    heard: list[str]
    substitutions: int
    insertions: int
    deletions: int

    @property
    def edits(self) -> int:
        """All of them."""
        return self.substitutions + self.insertions + self.deletions


@dataclass(frozen=True)
class TokenErrors:
    """Errors of a corpus; `low` and `high` are the 95 % bootstrap interval of the rate, over utterances."""

    token: Token
    utterances: Sequence[Utterance]
    n_without_reference: int
    low: float
    high: float

    @property
    def n_reference(self) -> int:
        """Tokens that were to be said."""
        return sum(len(u.reference) for u in self.utterances)

    @property
    def substitutions(self) -> int:
        """Tokens heard as another."""
        return sum(u.substitutions for u in self.utterances)

    @property
    def insertions(self) -> int:
        """Tokens heard that were not there."""
        return sum(u.insertions for u in self.utterances)

    @property
    def deletions(self) -> int:
        """Tokens not heard."""
        return sum(u.deletions for u in self.utterances)

    @property
    def rate(self) -> float:
        """Edits by reference tokens, over the whole corpus; above 1 if more is inserted than was to be said."""
        return sum(u.edits for u in self.utterances) / self.n_reference

    def summary(self) -> dict[str, Any]:
        """Rates in percent."""
        return {
            f"{self.token}_error_rate_percent": 100 * self.rate,
            "interval_95_percent": [100 * self.low, 100 * self.high],
            "interval_is": f"percentile bootstrap over utterances, {RESAMPLES} resamples",
            "substitutions": self.substitutions,
            "insertions": self.insertions,
            "deletions": self.deletions,
            f"reference_{self.token}s": self.n_reference,
            "utterances": len(self.utterances),
            "without_reference": self.n_without_reference,
        }

    def __str__(self) -> str:
        """One line for a reader."""
        return (
            f"{self.token} error rate {100 * self.rate:.2f} % (95 % interval {100 * self.low:.2f} to "
            f"{100 * self.high:.2f}, bootstrap over {len(self.utterances)} utterances): {self.substitutions} "
            f"substitutions, {self.insertions} insertions, {self.deletions} deletions in {self.n_reference} "
            f"{self.token}s"
        )


def token_errors(
    token: Token, references: Mapping[str, Sequence[str]], heard: Mapping[str, Sequence[str]], seed: int = 0
) -> TokenErrors:
    """Compare by id.

    Args:
        token: what the tokens are.
        references: what was to be said; utterances without a token are left out, and counted.
        heard: what the recogniser wrote.
        seed: of the bootstrap.

    Raises:
        UserError: a reference has no transcription, or no reference has a token.
    """
    missing = [name for name in references if name not in heard]
    if missing:
        raise UserError(f"{len(missing)} of {len(references)} utterances have no transcription: {listed(missing)}")
    utterances = [compare(name, list(tokens), list(heard[name])) for name, tokens in references.items() if tokens]
    if not utterances:
        raise UserError(f"no utterance has a reference {token} to compare with")
    return TokenErrors(token, utterances, len(references) - len(utterances), *bootstrap_interval(utterances, seed))


def compare(utterance_id: str, reference: list[str], heard: list[str]) -> Utterance:
    """Count the edits of one utterance."""
    code = {token: index for index, token in enumerate(dict.fromkeys(reference + heard))}
    one, other = (np.array([code[token] for token in tokens], dtype=np.int64) for tokens in (reference, heard))
    return Utterance(utterance_id, reference, heard, *map(int, edits(one, other)))


@njit(cache=True)
def aligned(reference: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Pairs of tokens `(N, 2)` of a shortest edit; `NOTHING` beside what is deleted or inserted.

    Of several shortest edits, one with the most substitutions.
    """
    n, m = len(reference), len(heard)
    distance = np.zeros((n + 1, m + 1), dtype=np.int64)
    distance[:, 0] = np.arange(n + 1)
    distance[0] = np.arange(m + 1)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            replaced = distance[i - 1, j - 1] + (reference[i - 1] != heard[j - 1])
            distance[i, j] = min(replaced, distance[i - 1, j] + 1, distance[i, j - 1] + 1)
    pairs = np.full((n + m, 2), NOTHING)
    i, j, place = n, m, n + m
    while i > 0 or j > 0:
        place -= 1
        if i > 0 and j > 0 and distance[i, j] == distance[i - 1, j - 1] + (reference[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            pairs[place, 0], pairs[place, 1] = reference[i], heard[j]
        elif i > 0 and distance[i, j] == distance[i - 1, j] + 1:
            i -= 1
            pairs[place, 0] = reference[i]
        else:
            j -= 1
            pairs[place, 1] = heard[j]
    return pairs[place:]


@njit(cache=True)
def edits(reference: np.ndarray, heard: np.ndarray) -> tuple[int, int, int]:
    """Substitutions, insertions and deletions of a shortest edit."""
    substitutions, insertions, deletions = 0, 0, 0
    for said, found in aligned(reference, heard):
        if said == NOTHING:
            insertions += 1
        elif found == NOTHING:
            deletions += 1
        else:
            substitutions += said != found
    return substitutions, insertions, deletions


def bootstrap_interval(utterances: Sequence[Utterance], seed: int) -> tuple[float, float]:
    """95 % percentile interval of the rate when utterances are drawn again with replacement."""
    counts = np.array([(u.edits, len(u.reference)) for u in utterances])
    generator = np.random.default_rng(seed)
    rates = []
    for _ in range(RESAMPLES):
        total, tokens = counts[generator.integers(0, len(counts), len(counts))].sum(axis=0)
        rates.append(total / tokens)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def write_details(path: Path, result: TokenErrors) -> None:
    """Write a tab-separated line for every utterance."""
    with atomic_write(path) as file:
        file.write(f"id\t{result.token}s\tsubstitutions\tinsertions\tdeletions\treference\theard\n")
        for u in result.utterances:
            counts = f"{len(u.reference)}\t{u.substitutions}\t{u.insertions}\t{u.deletions}"
            file.write(f"{u.id}\t{counts}\t{' '.join(u.reference)}\t{' '.join(u.heard)}\n")
