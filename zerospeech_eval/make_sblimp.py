"""A test like sBLIMP: right and wrong sentences in several voices.

They come from the embedded English grammar, from a list that a linguist made, or from a text of any language, whose
sentences are spoilt by word order (`textless.corpora.word_orders`). No sentence of the training text is in it.
"""

import csv
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textless.corpora.grammatical_pairs import GrammaticalPair, grammatical_pairs
from textless.corpora.lexicon import english
from textless.corpora.pair_recordings import record_sentences
from textless.corpora.rendering import renderer
from textless.corpora.word_orders import word_order_pairs
from textless.errors import UserError
from textless.files import atomic_directory, refuse_overwrite, require
from textless.progress import say
from zerospeech_eval.pair_sets import draw_voices, duration_advantages, plain, read_sentences, write_report

COLUMNS = ["type", "subtype", "good", "bad"]


@dataclass(frozen=True)
class SblimpConfig:
    """What to make: pairs of a list, of a text's word orders, or of the English grammar."""

    language: str = "en-us"
    sentences: Path | None = None
    text: Path | None = None
    training: tuple[Path, ...] = ()
    pairs: int = 100
    voices: int = 2
    seed: int = 0


def make_sblimp(
    config: SblimpConfig, out: Path, *, processes: int | None = None, force: bool = False
) -> dict[str, object]:
    """Write the test, which appears under `out` only when complete; see `make_swuggy`.

    Raises:
        UserError: no such language, files that cannot be read, no grammar for the language, or not one pair is left.
    """
    refuse_overwrite(out, force=force)
    voices = draw_voices(config.language, config.voices, config.seed)
    training = read_sentences(config.training)
    pairs, n_leaked = _pairs(config, set(training))
    if not pairs:
        raise UserError(f"not one pair is left ({n_leaked} have sentences of the training text)")
    if len(pairs) < config.pairs:
        say(f"{len(pairs)} pairs of the {config.pairs} wanted")
    counts = Counter(word for sentence in training for word in sentence.split())
    tells: dict[str, Sequence[float]] = {}
    if counts:
        tells["frequencies of words"] = [_weight(pair.good, counts) - _weight(pair.bad, counts) for pair in pairs]
    with atomic_directory(out) as root, renderer(processes) as pool:
        recordings = record_sentences(root, pairs, voices, (config.seed, 1), pool)
        tells["duration"] = duration_advantages(recordings)
        return write_report(
            root,
            "sblimp",
            tells,
            language=config.language,
            seed=config.seed,
            voices=[voice.variant for voice in voices],
            pairs=len(pairs),
            types=dict(Counter(f"{pair.type}/{pair.subtype}" for pair in pairs)),
            leaked_pairs_left_out=n_leaked,
        )


def _pairs(config: SblimpConfig, training: set[str]) -> tuple[list[GrammaticalPair], int]:
    """Pairs without a sentence of the training text, and how many had one."""
    rng = random.Random(f"{config.seed} sentences")
    if config.sentences is not None and config.text is not None:
        raise UserError("give --sentences or --text, not both")
    if config.sentences is not None:
        found = read_pairs(config.sentences)
        clean = [pair for pair in found if not {plain(pair.good), plain(pair.bad)} & training]
        rng.shuffle(clean)
        return clean[: config.pairs], len(found) - len(clean)
    if config.text is not None:
        sentences = read_sentences([config.text])
        leaked = len(set(sentences) & training)
        return word_order_pairs(sentences, rng, config.pairs, training), leaked
    if config.language.split("-")[0] != "en":
        raise UserError(f"the embedded grammar is English; for {config.language!r} give --sentences or --text")
    return grammatical_pairs(english(), rng, config.pairs, training), 0


def read_pairs(path: Path) -> list[GrammaticalPair]:
    """Pairs of a tab-separated file with the columns type, subtype, good, bad.

    Raises:
        UserError: naming the columns that lack or the line that is incomplete.
    """
    try:
        with require(path, "list of pairs").open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if list(reader.fieldnames or []) != COLUMNS:
                raise UserError(f"{path}:1 should be {'<TAB>'.join(COLUMNS)}, found {reader.fieldnames}")
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    for number, row in enumerate(rows, 2):
        if not all(row.get(name) for name in COLUMNS) or row["good"] == row["bad"]:
            raise UserError(f"{path}:{number} should have four filled cells, and two different sentences")
    return [GrammaticalPair(**row) for row in rows]


def _weight(sentence: str, counts: Counter[str]) -> float:
    """Logarithm of the product of the words' counts, plus one each."""
    return sum(math.log(counts[word] + 1) for word in plain(sentence).split())
