"""How many tokens are wrong: error rates with intervals, what is taken for what, and what chance would reach.

Of the few modules here that read labels; training and selection do not import it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from textless.corpora.alignment import SILENCE as ALIGNED_SILENCE
from textless.errors import UserError
from textless.files import require
from textless.progress import say
from unsup_asr.phone_text import SILENCE
from unsup_asr.transcripts import read_transcripts
from zerospeech_eval.names import listed
from zerospeech_eval.texts import layout_of, read_texts
from zerospeech_eval.token_errors import Token, TokenErrors, aligned, edits, token_errors

SILENCES = (SILENCE, ALIGNED_SILENCE)
NOTHING = "–"  # in pairs: inserted or deleted
PERMUTATIONS = 20
Transcripts = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class ScoringOptions:
    """How transcripts are compared.

    Attributes:
        token: what is counted.
        silences: tokens that are removed from both sides.
        folding: tokens of both sides → what they count as, "" for nothing; others stay as they are.
        permutations: how many random renamings of the tokens estimate chance; 0: none.
        seed: of these and the bootstrap.
    """

    token: Token = "phone"  # noqa: S105
    silences: tuple[str, ...] = SILENCES
    folding: Mapping[str, str] | None = None
    permutations: int = PERMUTATIONS
    seed: int = 0


@dataclass(frozen=True)
class Scoring:
    """The result.

    Attributes:
        errors: rate, interval, substitutions, insertions, deletions.
        pairs: what was to be said and what was heard instead, with counts, the most frequent first.
        chance: mean error rate when what was heard is renamed at random; None if it was not estimated.
        missing: utterances with references that have no transcript: all of their tokens are deletions.
        unknown: transcripts without a reference, which were left out.
    """

    errors: TokenErrors
    pairs: tuple[tuple[str, str, int], ...]
    chance: float | None
    missing: tuple[str, ...]
    unknown: tuple[str, ...]

    def summary(self, most: int = 20) -> dict[str, Any]:
        """For JSON, with the most frequent confusions."""
        rows = [{"reference": r, "heard": h, "count": n} for r, h, n in self.pairs[:most]]
        return {
            **self.errors.summary(),
            "chance_percent": None if self.chance is None else 100 * self.chance,
            "without_transcript": list(self.missing),
            "transcripts_without_reference": list(self.unknown),
            "confusions": rows,
        }

    def __str__(self) -> str:
        chance = f"\nchance {100 * self.chance:.2f} % (tokens renamed at random)" if self.chance is not None else ""
        return f"{self.errors}{chance}"

    def table(self, most: int = 20) -> str:
        """The most frequent confusions."""
        width = max((len(name) for pair in self.pairs[:most] for name in pair[:2]), default=1)
        return "\n".join(f"{n:7d}  {r:<{width}} → {h}" for r, h, n in self.pairs[:most])


def score(heard: Transcripts, references: Transcripts, options: ScoringOptions = ScoringOptions()) -> Scoring:
    """Compare transcripts with references, by utterance.

    Raises:
        UserError: they have no utterance in common, or all references or all transcripts are empty.
    """
    missing = tuple(name for name in references if name not in heard)
    unknown = tuple(name for name in heard if name not in references)
    if len(missing) == len(references):
        raise UserError(
            f"none of the {len(references)} references ({listed(references, 3)}) is among the {len(heard)} transcripts "
            f"({listed(heard, 3)}): are they of the same speech?"
        )
    if missing:
        say(f"{len(missing)} of {len(references)} references have no transcript, all deletions: {listed(missing)}")
    if unknown:
        say(f"{len(unknown)} of {len(heard)} transcripts have no reference, left out: {listed(unknown)}")
    said = {name: _counted(tokens, options) for name, tokens in references.items()}
    found = {name: _counted(heard.get(name, ()), options) for name in references}
    if not any(found.values()):
        raise UserError(f"all of the {len(found)} transcripts are empty")
    errors = token_errors(options.token, said, found, options.seed)
    counts = Counter(pair for name in said for pair in differences(said[name], found[name]))
    pairs = tuple((*pair, count) for pair, count in counts.most_common())
    chance = _chance(said, found, options) if options.permutations else None
    return Scoring(errors, pairs, chance, missing, unknown)


def read_hypotheses(path: Path, options: ScoringOptions) -> dict[str, list[str]]:
    """Tokens of transcripts by utterance.

    Raises:
        UserError: the file has no transcripts.
    """
    return {name: _tokens(" ".join(tokens), options) for name, tokens in read_transcripts(path).items()}


def read_references(path: Path, options: ScoringOptions) -> dict[str, list[str]]:
    """Tokens by utterance: of transcripts, `alignments.tsv`, `words.tsv`, or a manifest with texts.

    Raises:
        UserError: the file is none of these.
    """
    with require(path, "references").open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline().rstrip("\r\n").split("\t")
    if first[:1] == ["id"] and len(first) == 2:
        return read_hypotheses(path, options)
    if layout_of(path) == "lines":
        raise UserError(f"{path} has no ids: references are transcripts (id<TAB>phones), an alignment or a manifest")
    return {name: _tokens(text, options) for name, text in read_texts(path).items()}


def _tokens(text: str, options: ScoringOptions) -> list[str]:
    """Words or phones between spaces; characters with a space between words."""
    words = text.split()
    return list(" ".join(words)) if options.token == "character" else words  # noqa: S105


def read_folding(path: Path) -> dict[str, str]:
    """What counts as what: a line each of a token and its new name, or of a token alone that counts as nothing.

    Raises:
        UserError: a line has more than that, or names a token again.
    """
    folding: dict[str, str] = {}
    for number, line in enumerate(require(path, "map of phones").read_text(encoding="utf-8").splitlines(), 1):
        token, *names = line.split() or [""]
        if len(names) > 1 or token in folding:
            raise UserError(f"{path}:{number} should be a phone and what it counts as, once, found {line[:80]!r}")
        if token:
            folding[token] = names[0] if names else ""
    return folding


def differences(reference: Sequence[str], heard: Sequence[str]) -> list[tuple[str, str]]:
    """Substituted, deleted and inserted tokens of a shortest edit, as pairs of what was said and heard."""
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*reference, *heard]))}
    one, other = (np.array([numbers[token] for token in tokens], dtype=np.int64) for tokens in (reference, heard))
    found = aligned(one, other)
    names = [*numbers, NOTHING]  # token_errors.NOTHING is the last
    return [(names[i], names[j]) for i, j in found.tolist() if i != j]


def _counted(tokens: Iterable[str], options: ScoringOptions) -> list[str]:
    """Tokens as they are compared."""
    folding = options.folding or {}
    kept = (token for token in tokens if token not in options.silences)
    folded = (folding.get(token, token) for token in kept)
    return [token for token in folded if token and token not in options.silences]


def _chance(said: Transcripts, found: Transcripts, options: ScoringOptions) -> float:
    """Mean rate over renamings of what was heard among all tokens of both sides."""
    names = sorted({token for side in (said, found) for tokens in side.values() for token in tokens})
    numbers = {token: number for number, token in enumerate(names)}
    random = np.random.default_rng(options.seed)
    coded = [
        tuple(np.array([numbers[token] for token in side[name]], dtype=np.int64) for side in (said, found))
        for name in said
        if said[name]
    ]
    n_tokens = sum(len(reference) for reference, _ in coded)
    renamings = [random.permutation(len(names)) for _ in range(options.permutations)]
    total = sum(sum(edits(reference, renaming[heard])) for renaming in renamings for reference, heard in coded)
    return total / n_tokens / options.permutations
