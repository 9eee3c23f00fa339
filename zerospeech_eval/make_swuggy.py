"""A test like sWUGGY for any language that espeak-ng speaks: words and nonwords that could be words, in several voices.

Nonwords keep length and kinds of phones, and are balanced against their words in the probability of phones and pairs of
phones and in the number of neighbours (`textless.corpora.nonwords`). None sounds like a word of the lexicon or of the
training text. `pairs.json` says how often each of these measures, or the duration alone, tells word from nonword.
"""

import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from textless.corpora.alignment import SILENCE
from textless.corpora.lexicon import english
from textless.corpora.nonwords import Neighbourhood, PhoneNgrams, Phones, WordPair, kind_by_ipa, word_pairs
from textless.corpora.pair_recordings import record_words
from textless.corpora.rendering import renderer
from textless.corpora.synthesizer import Pronunciation, Voice, pronounce, synthesize
from textless.errors import UserError
from textless.files import atomic_directory, refuse_overwrite, require
from textless.progress import say
from zerospeech_eval.pair_sets import draw_voices, duration_advantages, read_sentences, write_report

SAMPLE = 30  # words that tell whether espeak-ng's spelled phones are those it plays


@dataclass(frozen=True)
class SwuggyConfig:
    """What to make. Without a lexicon the words are those of the training text, or else the embedded English ones."""

    language: str = "en-us"
    lexicon: Path | None = None
    training: tuple[Path, ...] = ()
    pairs: int = 200
    voices: int = 4
    seed: int = 0


def make_swuggy(
    config: SwuggyConfig, out: Path, *, processes: int | None = None, force: bool = False
) -> dict[str, object]:
    """Write the test, which appears under `out` only when complete.

    Args:
        config: what to make.
        out: folder to create.
        processes: none means one for every processor; the result does not depend on it.
        force: replace what is there.

    Returns:
        The content of `pairs.json`.

    Raises:
        UserError: no such language, files that cannot be read, or not one pair can be made.
    """
    refuse_overwrite(out, force=force)
    voices = draw_voices(config.language, config.voices, config.seed)
    frequencies = _frequencies(config)
    said = pronounce(frequencies, config.language)
    pairs, tells = _pairs(config, frequencies, said)
    if not pairs:
        raise UserError(
            f"no pair can be made of {len(said)} words of {config.language}: it takes words of 4 to 11 phones, and "
            "enough of them to know which phones follow each other"
        )
    if len(pairs) < config.pairs:
        say(f"{len(pairs)} pairs of the {config.pairs} wanted; more words would give more")
    with atomic_directory(out) as root, renderer(processes) as pool:
        recordings = record_words(root, pairs, voices, (config.seed, 0), pool)
        tells["duration"] = duration_advantages(recordings)
        return write_report(
            root,
            "swuggy",
            tells,
            language=config.language,
            seed=config.seed,
            voices=[voice.variant for voice in voices],
            pairs=len(pairs),
            words_known=len(said),
            words_without_pronunciation=len(frequencies) - len(said),
        )


def _frequencies(config: SwuggyConfig) -> dict[str, int]:
    """Words and how often the training text has them; without one, as the lexicon says."""
    training = Counter(word for sentence in read_sentences(config.training) for word in sentence.split())
    if config.lexicon is not None:
        words = read_lexicon(config.lexicon)
    elif training:
        return dict(training)
    elif config.language.split("-")[0] == "en":
        words = dict.fromkeys(english().words(), 1)
    else:
        raise UserError(f"give --lexicon or --training: there are no words of {config.language!r} here")
    # With a training text its counts hold; words that it lacks are known, so that no nonword is one of them.
    return {**dict.fromkeys(words, 0), **training} if training else words


def read_lexicon(path: Path) -> dict[str, int]:
    """Words and their counts, of `word` or `word<TAB>count` lines.

    Raises:
        UserError: naming the line that is something else.
    """
    found: dict[str, int] = {}
    try:
        lines = require(path, "lexicon").read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file in UTF-8: {error}") from error
    for number, line in enumerate(lines, 1):
        word, _, count = line.strip().partition("\t")
        if not word:
            continue
        if (count and not count.isdecimal()) or " " in word:
            raise UserError(f"{path}:{number} should be word or word<TAB>count, found {line[:60]!r}")
        found[word.lower()] = int(count or 1)
    if not found:
        raise UserError(f"{path} holds no words")
    return found


def _pairs(
    config: SwuggyConfig, frequencies: Mapping[str, int], said: Mapping[str, Pronunciation]
) -> tuple[list[WordPair], dict[str, Sequence[float]]]:
    """Pairs, and the advantage of every word over its nonword by every measure."""
    pronunciations = {word: found.mnemonics for word, found in said.items()}
    ipa = {name: sound for found in said.values() for name, sound in zip(found.mnemonics, found.phones, strict=True)}
    neighbourhood = Neighbourhood(set(pronunciations.values()))
    plain = Voice(config.language, "")

    def heard(phones: Phones) -> Phones:
        segments = synthesize("|".join(phones), plain, 0, phonemes=True).phones
        return tuple(segment.label for segment in segments if segment.label != SILENCE)

    known = _known(said, heard)
    rng = random.Random(f"{config.seed} words")
    kind = kind_by_ipa(ipa)
    others = (neighbourhood.log_size,)
    pairs = word_pairs(frequencies, pronunciations, config.pairs, rng, heard, known, kind, others)
    counts = PhoneNgrams(frequencies, pronunciations)
    measures = {
        "phones": counts.unigram_log_probability,
        "pairs of phones": counts.bigram_log_probability,
        "neighbours": neighbourhood.log_size,
    }
    tells = {
        name: [measure(pair.word_phones) - measure(pair.nonword_phones) for pair in pairs]
        for name, measure in measures.items()
    }
    return pairs, dict(tells)


def _known(said: Mapping[str, Pronunciation], heard: Callable[[Phones], Phones]) -> Collection[Phones]:
    """How the words sound. In some languages (those with tones) the phones played are named otherwise than spelled."""
    sample = list(said.values())[:SAMPLE]
    agreeing = sum(heard(found.mnemonics) == found.phones for found in sample)
    if 2 * agreeing > len(sample):
        return {found.phones for found in said.values()}
    say("the phones that espeak-ng spells are not those it plays in this language: every word is played once")
    return {heard(found.mnemonics) for found in said.values()}
